// Where no WebSocket gets through, the page asks by HTTP.

import { title } from '../support/acts';
import { psql } from '../support/database';
import type { Person } from '../support/company';
import { type Line, openOnLine } from '../support/line';
import type { Screen } from '../support/screen';
import { expect, type Open, test } from '../support/test';

/** A page whose network lets no socket through, and time that can be moved. */
async function blocked(open: Open, person: Person, path: string): Promise<{ screen: Screen; line: Line }> {
  const { screen, line } = await openOnLine(open, person, path, { fault: 'blocked', before: (page) => page.clock.install() });
  await screen.hydrated();
  return { screen, line };
}

test('two people whose networks let no WebSocket through see each other’s changes, and are live when they do', async ({
  company,
  open,
}) => {
  const order = await company.order('Couplings');
  const ada = await blocked(open, company.ada, company.path(`orders/${order.id}`));
  const ben = await blocked(open, company.ben, company.path('orders'));
  for (const { screen } of [ada, ben]) await expect(screen.html).toHaveAttribute('data-connection', 'polling');
  const panel = await ben.screen.syncPanel();
  await expect(panel.getByText('this network lets no WebSocket through')).toBeVisible();
  await ben.screen.page.keyboard.press('Escape');

  await title(ada.screen).fill('Couplings, rigid');
  await title(ada.screen).press('Enter');
  await expect(ben.screen.row('Couplings, rigid')).toBeVisible({ timeout: 8_000 });
  await psql(`update sales_orders set title = 'Couplings, flexible' where id = :'order';`, { order: order.id });
  await expect(title(ada.screen)).toHaveValue('Couplings, flexible', { timeout: 8_000 });
  await expect(ada.screen.page.getByRole('button', { name: 'Sync: everything is saved' })).toBeVisible();

  // While nothing changes it is asked, and nothing is read.
  for (const { screen, line } of [ada, ben]) {
    await expect(screen.row('Couplings, flexible').or(title(screen))).toBeVisible({ timeout: 8_000 });
    const asked = line.questions;
    await expect.poll(() => line.questions, { timeout: 12_000 }).toBeGreaterThan(asked + 1);
    screen.forgetCalls();
    await expect.poll(() => line.questions, { timeout: 12_000 }).toBeGreaterThan(asked + 2);
    expect(screen.made()).toEqual([]);
  }

  for (const { screen, line } of [ada, ben]) {
    line.mend();
    await screen.page.clock.fastForward(61_000);
    await expect(screen.html).toHaveAttribute('data-connection', 'live', { timeout: 15_000 });
    await screen.live();
    const asked = line.questions;
    await psql(`update sales_orders set title = title || '!' where id = :'order';`, { order: order.id });
    await expect(screen.row('Couplings, flexible!').or(title(screen))).toBeVisible();
    expect(line.questions, 'a page that is live asks nothing').toBe(asked);
  }
  await expect(title(ada.screen)).toHaveValue('Couplings, flexible!!');
});

test('a page whose sockets are cut in its midst goes on by HTTP and misses nothing', async ({ company, open }) => {
  const order = await company.order('Couplings');
  const { screen: ada, line } = await openOnLine(open, company.ada, company.path('orders'));
  await ada.live();
  ada.forgetCalls();
  await line.block();
  await psql(`update sales_orders set title = 'Couplings, rigid' where id = :'order';`, { order: order.id });
  await expect(ada.row('Couplings, rigid')).toBeVisible({ timeout: 15_000 });
  await expect(ada.html).toHaveAttribute('data-connection', 'polling');
  expect(ada.made()).toEqual(['GET orders/list']);
});

test('who is removed is told with the next answer, and nothing of the organization stays', async ({ company, open }) => {
  await company.order('Secret gears');
  const { screen } = await blocked(open, company.ben, company.path('orders'));
  await expect(screen.html).toHaveAttribute('data-connection', 'polling');
  await expect(screen.row('Secret gears')).toBeVisible();
  await psql(`delete from memberships where organization_id = :'it' and person_id = :'who';`, {
    it: company.id,
    who: company.ben.id,
  });
  await expect(screen.page.getByText('This organization does not exist, or you may not see it.')).toBeVisible({
    timeout: 8_000,
  });
  await expect(screen.page.getByText('Secret gears')).toHaveCount(0);
});

test('a tab beside the one that asks is told what it is told', async ({ company, open }) => {
  const order = await company.order('Couplings');
  const { screen, line } = await blocked(open, company.ada, company.path('orders'));
  await expect(screen.html).toHaveAttribute('data-connection', 'polling');
  const other = await open(company.ada, company.path(`orders/${order.id}`), { beside: screen });
  await expect(other.html).toHaveAttribute('data-connection', 'polling');
  await psql(`update sales_orders set title = 'Couplings, rigid' where id = :'order';`, { order: order.id });
  await expect(title(other)).toHaveValue('Couplings, rigid', { timeout: 8_000 });
  await expect(screen.row('Couplings, rigid')).toBeVisible();
  expect(other.sockets).toBe(0);
  expect(line.attempts).toBeLessThan(8);
});
