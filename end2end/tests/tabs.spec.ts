// Several tabs of one person are one to the server.

import { openAccount } from '../support/acts';
import { psql } from '../support/database';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';

const count = (tabs: Screen[], what: (tab: Screen) => number): number => tabs.reduce((sum, tab) => sum + what(tab), 0);

test('five tabs have one connection, watch no key twice, and fetch a change once', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const first = await open(company.ada, company.path('orders'));
  await first.live();
  const tabs = [first];
  for (let other = 0; other < 4; other += 1) {
    const tab = await open(company.ada, company.path('orders'), { beside: first });
    await tab.connected();
    tabs.push(tab);
  }
  tabs.forEach((tab) => tab.forgetCalls());
  await psql(`update sales_orders set title = 'Rotor discs, thin' where id = :'order';`, { order: order.id });
  for (const tab of tabs) await expect(tab.row('Rotor discs, thin')).toBeVisible();

  expect(count(tabs, (tab) => tab.sockets)).toBe(1);
  expect(tabs.flatMap((tab) => tab.reads())).toEqual(['GET orders/list']);
  const keys = first.watched().map(({ table, list, record }) => JSON.stringify([table, list, record]));
  expect(new Set(keys).size).toBe(keys.length);
});

test('a leading tab that is closed is followed by another, and nothing is missed', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const first = await open(company.ada, company.path('orders'));
  await first.live();
  const second = await open(company.ada, company.path('orders'), { beside: first });
  await second.connected();
  expect(second.sockets).toBe(0);

  await first.page.close();
  await psql(`update sales_orders set title = 'Rotor discs, thin' where id = :'order';`, { order: order.id });
  await expect(second.row('Rotor discs, thin')).toBeVisible({ timeout: 1_000 });
  expect(second.sockets).toBe(1);
});

test('what one tab does shows in the other before the server has it', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const first = await open(company.ada, company.path(`orders/${order.id}`));
  await first.live();
  const second = await open(company.ada, company.path('orders'), { beside: first });
  await second.connected();
  first.excuse(/ERR_INTERNET_DISCONNECTED/);
  second.excuse(/ERR_INTERNET_DISCONNECTED/);
  await first.page.context().setOffline(true);
  await first.page.getByRole('textbox', { name: 'Title' }).fill('Rotor discs, thin');
  await first.page.getByRole('textbox', { name: 'Title' }).press('Enter');
  await expect(second.row('Rotor discs, thin')).toBeVisible();
  await first.page.context().setOffline(false);
  await expect(second.page.getByRole('button', { name: 'Sync: everything is saved' })).toBeVisible({ timeout: 20_000 });
});

test('signing out leaves nothing of the person in any tab', async ({ company, open }) => {
  await company.order('Rotor discs');
  const first = await open(company.ada, company.path('orders'));
  await first.live();
  const second = await open(company.ada, company.path('orders'), { beside: first });
  await second.connected();
  const kept = () => first.page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name));
  expect((await kept()).filter((name) => name?.startsWith('millstream'))).toHaveLength(1);

  await openAccount(first);
  await first.page.getByRole('button', { name: 'Sign out' }).click();
  await expect(first.page).toHaveURL(/\/sign-in/);
  await expect(second.page).toHaveURL(/\/sign-in/);
  await expect.poll(kept).toEqual([]);
  expect(await first.page.evaluate(() => localStorage.getItem('millstream.me'))).toBeNull();
});
