// What others changed while one was away is told in one line, once, and nothing of what one did oneself.

import { randomUUID } from 'node:crypto';
import type { Locator } from '@playwright/test';
import { rename, title, turn } from '../support/acts';
import type { Company, Order, Person } from '../support/company';
import { psql } from '../support/database';
import { openOnLine } from '../support/line';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';

const line = (screen: Screen): Locator => screen.page.getByRole('region', { name: 'While you were away' });

function renames(who: Person, company: Company, order: Order, to: string): Promise<unknown> {
  const changes = { title: { from: order.title, to } };
  return who.does('orders/update', { organization: company.id, id: order.id, mutation_id: randomUUID(), changes });
}

test('after a cut one line says what others changed, with the list, and takes no focus', async ({ company, open }) => {
  const [gears, pumps, seals] = [await company.order('Gears'), await company.order('Pumps'), await company.order('Seals')];
  const { screen: ada, line: wire } = await openOnLine(open, company.ada, company.path('orders'));
  await ada.live();
  await expect(line(ada)).toHaveCount(0);
  await wire.cut();
  await expect(ada.html).toHaveAttribute('data-connection', 'reconnecting');
  await renames(company.ben, company, gears, 'Gears of Ben');
  await renames(company.ben, company, pumps, 'Pumps of Ben');
  await renames(company.ada, company, seals, 'Seals of Ada');
  const made = randomUUID();
  await company.ben.does('orders/create', {
    organization: company.id,
    mutation_id: randomUUID(),
    id: made,
    title: 'Made by Ben',
    customer_id: company.customers[0].id,
  });
  await ada.page.getByRole('button', { name: 'New order' }).focus();
  wire.mend();

  await expect(line(ada)).toContainText('3 changes while you were away', { timeout: 20_000 });
  await expect(ada.page.getByRole('button', { name: 'New order' })).toBeFocused();
  await expect(line(ada).getByRole('link')).toHaveCount(0);
  await line(ada).getByRole('button', { name: 'Show' }).click();
  const items = line(ada).getByRole('listitem');
  await expect(items).toHaveText([/Made by Ben.*made by Ben Bell/, /Pumps of Ben.*changed by Ben Bell/, /Gears of Ben.*changed by Ben Bell/]);
  await expect(line(ada)).not.toContainText('Seals');
  await items.getByRole('link', { name: /Gears of Ben/ }).click();
  await expect(title(ada)).toHaveValue('Gears of Ben');
  await line(ada).getByRole('button', { name: 'Dismiss' }).click();
  await expect(line(ada)).toHaveCount(0);

  // What happens before one's eyes is no news.
  await renames(company.ben, company, { ...gears, title: 'Gears of Ben' }, 'Gears again');
  await expect(title(ada)).toHaveValue('Gears again');
  await expect(line(ada)).toHaveCount(0);
});

test('what one did oneself meanwhile is not told, and what somebody changed beside it is', async ({ company, open }) => {
  const [gears, pumps] = [await company.order('Gears'), await company.order('Pumps')];
  const ada = await open(company.ada, company.path(`orders/${pumps.id}`));
  await ada.live();
  ada.excuse(/ERR_INTERNET_DISCONNECTED/);
  await ada.page.goto(company.path(`orders/${gears.id}`));
  await ada.live();
  await ada.page.context().setOffline(true);
  await expect(ada.html).toHaveAttribute('data-connection', 'offline');
  await rename(ada, 'Gears of Ada');
  await psql(`update sales_orders set due_on = '2031-05-05' where id = :'order';`, { order: gears.id });
  await ada.page.context().setOffline(false);
  await expect(ada.page.getByRole('button', { name: 'Sync: everything is saved' })).toBeVisible({ timeout: 20_000 });
  await expect(line(ada)).toContainText('1 change while you were away');
  await line(ada).getByRole('button', { name: 'Show' }).click();
  await expect(line(ada).getByRole('listitem')).toHaveText([/Gears of Ada.*changed by somebody else/]);
  await line(ada).getByRole('button', { name: 'Dismiss' }).click();

  await ada.page.context().setOffline(true);
  await expect(ada.html).toHaveAttribute('data-connection', 'offline');
  await rename(ada, 'Gears of Ada alone');
  await ada.page.context().setOffline(false);
  await expect(ada.page.getByRole('button', { name: 'Sync: everything is saved' })).toBeVisible({ timeout: 20_000 });
  await ada.live();
  await expect(line(ada)).toHaveCount(0);
});

test('a page that starts with what the device kept tells what others changed since', async ({ company, open }) => {
  const order = await company.order('Collars');
  const first = await open(company.ada, company.path('orders'), { serviceWorkers: 'allow' });
  await first.live();
  await first.startsOffline();
  const browser = first.page.context();
  first.excuse(/ERR_INTERNET_DISCONNECTED|ERR_FAILED/);
  await browser.setOffline(true);
  await first.page.close();
  await renames(company.ben, company, order, 'Collars of Ben');

  const second = await open(company.ada, company.path('orders'), { beside: first });
  second.excuse(/ERR_INTERNET_DISCONNECTED|ERR_FAILED|Failed to fetch/);
  await second.hydrated();
  await expect(second.row('Collars')).toBeVisible();
  await expect(line(second)).toHaveCount(0);
  await browser.setOffline(false);
  await expect(line(second)).toContainText('1 change while you were away', { timeout: 20_000 });
  await expect(second.row('Collars of Ben')).toBeVisible();
});

test('who turns from one tab to another is not away, and of a long absence one tab alone tells', async ({ company, open }) => {
  const order = await company.order('Gears');
  const first = await open(company.ada, company.path('orders'));
  await first.live();
  const second = await open(company.ada, company.path('orders'), { beside: first });
  await second.connected();
  const start = Date.now();
  const hour = 60 * 60 * 1000;
  const later = async (hours: number): Promise<void> => {
    for (const tab of [first, second]) await tab.page.clock.setFixedTime(start + hours * hour);
  };
  await later(0);
  await turn(first, 'hidden');
  await renames(company.ben, company, order, 'Gears of Ben');
  for (const tab of [first, second]) await expect(tab.row('Gears of Ben')).toBeVisible();
  await later(1);
  await turn(first, 'visible');
  await turn(second, 'hidden');
  await expect(line(first), 'the other tab was looked at').toHaveCount(0);

  await turn(first, 'hidden');
  await renames(company.ben, company, { ...order, title: 'Gears of Ben' }, 'Gears overnight');
  for (const tab of [first, second]) await expect(tab.row('Gears overnight')).toBeVisible();
  await later(9);
  await turn(first, 'visible');
  await expect(line(first)).toContainText('1 change while you were away');
  await turn(second, 'visible');
  await second.connected();
  await expect(line(second), 'told in the first').toHaveCount(0);
});
