// A page that slept, was frozen, or whose person comes back to it.

import { status, title } from '../support/acts';
import { psql, rows } from '../support/database';
import { openOnLine } from '../support/line';
import { PASSWORD } from '../support/company';
import { expect, test } from '../support/test';

test('after an hour’s sleep a connection that died unnoticed is replaced at once, and only what changed is read', async ({
  company,
  open,
}) => {
  const order = await company.order('Couplings');
  const { screen: ada, line } = await openOnLine(open, company.ada, company.path('orders'), { before: (page) => page.clock.install() });
  await ada.live();
  ada.forgetCalls();
  line.die();
  await psql(`update sales_orders set title = 'Couplings, rigid' where id = :'order';`, { order: order.id });
  await ada.page.clock.fastForward('01:00:00');
  await expect(ada.row('Couplings, rigid')).toBeVisible({ timeout: 10_000 });
  await ada.live();
  expect(line.attempts).toBe(2);
  expect(ada.made()).toEqual(['GET orders/list']);
});

test('who comes back to a page whose connection stands causes no read and no second connection', async ({ company, open }) => {
  await company.order('Couplings');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  ada.forgetCalls();
  const pings = () => ada.sent.filter((frame) => frame.type === 'ping').length;
  const before = pings();
  await ada.page.evaluate(() => window.dispatchEvent(new Event('focus')));
  await expect.poll(pings).toBeGreaterThan(before);
  const pongs = () => ada.heard.filter((frame) => frame.type === 'pong').length;
  await expect.poll(pongs).toBeGreaterThan(before);
  expect(ada.made()).toEqual([]);
  expect(ada.sockets).toBe(1);
});

test('who comes back to a page whose connection has died unnoticed has another in a few seconds', async ({ company, open }) => {
  const order = await company.order('Couplings');
  const { screen: ada, line } = await openOnLine(open, company.ada, company.path('orders'));
  await ada.live();
  line.die();
  await psql(`update sales_orders set title = 'Couplings, rigid' where id = :'order';`, { order: order.id });
  await ada.page.evaluate(() => window.dispatchEvent(new Event('focus')));
  await expect(ada.row('Couplings, rigid')).toBeVisible({ timeout: 8_000 });
});

test('a session that expired meanwhile leads to signing in, and what was done is sent after that', async ({ company, open }) => {
  const order = await company.order('Collars');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  ada.excuse(/ERR_INTERNET_DISCONNECTED/, /401/, /HTTP Authentication failed/);
  await ada.page.context().setOffline(true);
  await expect(ada.html).toHaveAttribute('data-connection', 'offline');
  await status(ada).selectOption({ label: 'Released' });
  await psql(`update sessions set expires_at = now() where person_id = :'who';`, { who: company.ada.id });
  await ada.page.context().setOffline(false);
  await expect(ada.page).toHaveURL(/\/sign-in/, { timeout: 20_000 });
  const stored = () => rows(`select status from sales_orders where id = :'order'`, { order: order.id });
  expect(await stored()).toEqual([{ status: 'draft' }]);

  await ada.page.getByLabel('Email').fill(company.ada.email);
  await ada.page.getByLabel('Password').fill(PASSWORD);
  await ada.page.getByRole('button', { name: 'Sign in' }).click();
  await expect.poll(stored, { timeout: 20_000 }).toEqual([{ status: 'released' }]);
});

test('a leading tab that is frozen is replaced by one that is looked at, and follows when it wakes', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const first = await open(company.ada, company.path('orders'));
  await first.live();
  const second = await open(company.ada, company.path(`orders/${order.id}`), { beside: first });
  await second.connected();
  expect(second.sockets).toBe(0);
  // Chromium freezes no page that is looked at, and to Playwright all are. One that is halted does as little, and keeps its locks.
  const devtools = await first.page.context().newCDPSession(first.page);
  await devtools.send('Debugger.enable');
  const halted = new Promise((done) => devtools.once('Debugger.paused', done));
  await devtools.send('Debugger.pause');
  await halted;

  await psql(`update sales_orders set title = 'Rotor discs, thin' where id = :'order';`, { order: order.id });
  await expect(title(second)).toHaveValue('Rotor discs, thin', { timeout: 25_000 });
  expect(second.sockets).toBe(1);
  // What is done meanwhile does not wait for the frozen one either.
  await status(second).selectOption({ label: 'Released' });
  await expect
    .poll(() => rows(`select status from sales_orders where id = :'order'`, { order: order.id }))
    .toEqual([{ status: 'released' }]);

  await devtools.send('Debugger.resume');
  await devtools.send('Debugger.disable');
  await expect(first.row('Rotor discs, thin')).toContainText('Released');
  await psql(`update sales_orders set title = 'Rotor discs, thick' where id = :'order';`, { order: order.id });
  await expect(first.row('Rotor discs, thick')).toBeVisible();
  await expect(title(second)).toHaveValue('Rotor discs, thick');
  expect([first.sockets, second.sockets]).toEqual([1, 1]);
});
