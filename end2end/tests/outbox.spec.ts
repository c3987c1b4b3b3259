// What one does is not lost: offline, over the browser's end, and where the server says no.

import { createOrder, rename, title } from '../support/acts';
import { psql, rows } from '../support/database';
import { expect, test } from '../support/test';

test('offline one opens, reads, edits and creates, closes the browser, and all is saved once when the network is back', async ({
  company,
  open,
}) => {
  const order = await company.order('Collars');
  const first = await open(company.ada, company.path('orders'), { serviceWorkers: 'allow' });
  await first.live();
  await first.startsOffline();
  await first.row('Collars').getByRole('link').click();
  await expect(title(first)).toHaveValue('Collars');
  await first.live();
  await first.keeps(order.id);

  const browser = first.page.context();
  first.excuse(/ERR_INTERNET_DISCONNECTED|ERR_FAILED/);
  await browser.setOffline(true);
  await rename(first, 'Collars of steel');
  await expect(first.page.getByRole('button', { name: 'Sync: 1 not saved yet' })).toBeVisible();
  await first.dies();

  const second = await open(company.ada, company.path('orders'), { beside: first });
  second.excuse(/ERR_INTERNET_DISCONNECTED|ERR_FAILED|Failed to fetch/);
  await second.hydrated();
  await expect(second.row('Collars of steel'), 'what was read and what was typed').toBeVisible();
  await createOrder(second, 'Made in a tunnel', 'Cedar Tools');
  await expect(second.row('Made in a tunnel')).toBeVisible();
  await second.dies();

  const third = await open(company.ada, company.path(`orders/${order.id}`), { beside: first });
  third.excuse(/ERR_INTERNET_DISCONNECTED|ERR_FAILED|Failed to fetch/);
  await third.hydrated();
  await expect(title(third)).toHaveValue('Collars of steel');
  expect(await rows(`select title from sales_orders where organization_id = :'it'`, { it: company.id })).toEqual([
    { title: 'Collars' },
  ]);

  await browser.setOffline(false);
  await expect(third.page.getByRole('button', { name: 'Sync: everything is saved' })).toBeVisible({ timeout: 20_000 });
  const saved = await rows(`select title from sales_orders where organization_id = :'it' order by title`, { it: company.id });
  expect(saved).toEqual([{ title: 'Collars of steel' }, { title: 'Made in a tunnel' }]);
});

const CHANGES = 500;

test('many changes that wait are sent in order and once each, although the tab is killed meanwhile', async ({
  company,
  open,
}) => {
  test.setTimeout(240_000);
  const order = await company.order('Version 0');
  const first = await open(company.ada, company.path(`orders/${order.id}`));
  await first.live();
  const browser = first.page.context();
  first.excuse(/ERR_INTERNET_DISCONNECTED/);
  await browser.setOffline(true);
  await expect(first.html).toHaveAttribute('data-connection', 'offline');
  await title(first).evaluate(async (input: HTMLInputElement, changes) => {
    for (let version = 1; version <= changes; version += 1) {
      input.value = `Version ${version}`;
      input.dispatchEvent(new Event('input', { bubbles: true }));
      input.focus();
      input.blur();
      await new Promise((done) => setTimeout(done, 0));
    }
  }, CHANGES);
  await expect(title(first)).toHaveValue(`Version ${CHANGES}`);
  await expect(first.page.getByRole('button', { name: `Sync: ${CHANGES} not saved yet` })).toBeVisible();

  const count = async (): Promise<number> => {
    const events = await rows(
      `select id from realtime_table_events where record_id = :'order' and event_type = 'UPDATE'`,
      { order: order.id },
    );
    return events.length;
  };
  // The first request arrives and its answer does not; no other leaves before the tab is gone.
  let requests = 0;
  let arrive = (): void => {};
  const arrived = new Promise<void>((done) => (arrive = done));
  await first.page.route('**/api/batch', async (route) => {
    requests += 1;
    if (requests === 1) await route.fetch();
    arrive();
  });
  await browser.setOffline(false);
  await arrived;
  await first.dies();
  expect(await count(), 'killed in the middle').toBeGreaterThan(10);
  expect(await count(), 'killed in the middle').toBeLessThan(CHANGES);

  const second = await open(company.ada, company.path('orders'), { beside: first });
  await expect(second.row(`Version ${CHANGES}`)).toBeVisible();
  await expect(second.page.getByRole('button', { name: 'Sync: everything is saved' })).toBeVisible({ timeout: 150_000 });
  expect(await count()).toBe(CHANGES);
  expect(await rows(`select title from sales_orders where id = :'order'`, { order: order.id })).toEqual([{ title: `Version ${CHANGES}` }]);
});

test('what the server refuses waits with its reason until it is tried again or dropped', async ({ company, open }) => {
  const order = await company.order('Latches');
  const ben = await open(company.ben, company.path(`orders/${order.id}`));
  await ben.live();
  ben.excuse(/status of 403/, /ERR_INTERNET_DISCONNECTED/);
  await ben.page.context().setOffline(true);
  await rename(ben, 'Latches of Ben');
  const role = (name: string) =>
    psql(`update memberships set role = '${name}' where organization_id = :'it' and person_id = :'who';`, {
      it: company.id,
      who: company.ben.id,
    });
  await role('viewer');
  await ben.page.context().setOffline(false);

  await expect(ben.page.getByRole('button', { name: 'Sync: 1 need you' })).toBeVisible({ timeout: 20_000 });
  await expect(title(ben), 'the truth').toHaveValue('Latches');
  const panel = await ben.syncPanel();
  await expect(panel).toContainText('Rename to “Latches of Ben”');
  await expect(panel).toContainText('You may not change orders here.');

  await role('planner');
  await panel.getByRole('button', { name: 'Try again' }).click();
  await expect(title(ben)).toHaveValue('Latches of Ben');
  await expect(panel).toContainText('Everything that you did is saved.');
  const [saved] = await rows(`select title from sales_orders where id = :'order'`, { order: order.id });
  expect(saved).toEqual({ title: 'Latches of Ben' });
});

test('of two people on one field the later one sees both values and decides', async ({ company, open }) => {
  const order = await company.order('Hinges');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  const ben = await open(company.ben, company.path(`orders/${order.id}`));
  await Promise.all([ada.live(), ben.live()]);
  ada.excuse(/status of 409/, /ERR_INTERNET_DISCONNECTED/);
  await ada.page.context().setOffline(true);
  await rename(ada, 'Hinges of Ada');
  await rename(ben, 'Hinges of Ben');
  await expect.poll(() => rows(`select title from sales_orders where id = :'order'`, { order: order.id })).toEqual([
    { title: 'Hinges of Ben' },
  ]);
  await ada.page.context().setOffline(false);

  await expect(ada.page.getByRole('button', { name: 'Sync: 1 need you' })).toBeVisible({ timeout: 20_000 });
  await expect(title(ada)).toHaveValue('Hinges of Ben');
  const panel = await ada.syncPanel();
  await expect(panel).toContainText('Your title');
  await expect(panel).toContainText('Hinges of Ada');
  await expect(panel).toContainText(`${company.ben.name}’s title`);
  await panel.getByRole('button', { name: 'Keep mine' }).click();
  await expect(title(ada)).toHaveValue('Hinges of Ada');
  await expect(title(ben)).toHaveValue('Hinges of Ada');
  await expect(panel).toContainText('Everything that you did is saved.');
});
