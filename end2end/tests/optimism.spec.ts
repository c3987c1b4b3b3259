// What one does shows at once, is confirmed by the server, and is taken back where the server refuses.

import { randomUUID } from 'node:crypto';
import { addLine, createOrder, deleteOrder, rename, status, title, turnTo } from '../support/acts';
import type { Order, Written } from '../support/company';
import { psql, rows } from '../support/database';
import { expect, hold, test } from '../support/test';

test('a new order stands in the list, as pending, before the server has answered', async ({ company, open }) => {
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  const held = await hold(ada.page, 'orders/create');

  await createOrder(ada, 'Sprockets', 'Cedar Tools');
  await held.arrived;
  await expect(ada.row('Sprockets')).toHaveAttribute('data-pending');
  await expect(ada.row('Sprockets')).toContainText('new');
  await expect(ada.row('Sprockets')).toContainText('Cedar Tools');

  held.release();
  await expect(ada.row('Sprockets')).not.toHaveAttribute('data-pending');
  await expect(ada.row('Sprockets')).toContainText('SO-0001');
  await expect(ada.row('Sprockets')).toHaveCount(1);
});

test('a new title and status show everywhere before the server has answered', async ({ company, open }) => {
  const order = await company.order('Chain links');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  const held = await hold(ada.page, 'orders/update');

  await rename(ada, 'Chain links, galvanised');
  await held.arrived;
  await status(ada).selectOption({ label: 'Released' });
  await expect(ada.page.getByRole('heading', { level: 1 })).toContainText('Chain links, galvanised');
  await turnTo(ada, 'Orders');
  const row = ada.row('Chain links, galvanised');
  await expect(row).toContainText('Released');
  await expect(row).toHaveAttribute('data-pending');
  const [stored] = await rows<{ title: string }>(`select title from sales_orders where id = :'order'`, { order: order.id });
  expect(stored.title, 'the server knows nothing of it yet').toBe('Chain links');

  held.release();
  await expect(row).not.toHaveAttribute('data-pending');
  await expect(row).toContainText('Released');
  const [now] = await rows(`select title, status from sales_orders where id = :'order'`, { order: order.id });
  expect(now).toEqual({ title: 'Chain links, galvanised', status: 'released' });
});

test('lines come, change and go before the server has answered', async ({ company, open }) => {
  const order = await company.order('Brackets');
  await company.line(order, 'Bracket, left', 2);
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  const [added, changed, removed] = await Promise.all([
    hold(ada.page, 'orders/add_line'),
    hold(ada.page, 'orders/update_line'),
    hold(ada.page, 'orders/remove_line'),
  ]);

  await addLine(ada, 'Bracket, right', '4');
  await expect(ada.page.getByRole('textbox', { name: 'Description of line 2' })).toHaveValue('Bracket, right');
  await ada.page.getByRole('textbox', { name: 'Quantity of line 2' }).fill('5');
  await ada.page.getByRole('textbox', { name: 'Quantity of line 2' }).press('Enter');
  await ada.page.getByRole('button', { name: 'Remove line 1' }).click();
  await expect(ada.page.getByRole('textbox', { name: /Description/ })).toHaveCount(1 + 1); // and the empty one below
  await expect(ada.page.getByRole('textbox', { name: 'Description of line 1' })).toHaveCount(0);

  for (const held of [added, changed, removed]) held.release();
  const lines = () =>
    rows(`select description, quantity from sales_order_lines where order_id = :'order'`, { order: order.id });
  await expect.poll(lines).toEqual([{ description: 'Bracket, right', quantity: 5 }]);
  await expect(ada.page.getByRole('textbox', { name: /^Quantity of line/ })).toHaveValue('5');
});

test('a deleted order is gone before the server has answered', async ({ company, open }) => {
  const order = await company.order('Scrap');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  const held = await hold(ada.page, 'orders/delete');

  await deleteOrder(ada);
  await held.arrived;
  await expect(ada.page.getByRole('heading', { level: 1, name: 'Orders' })).toBeVisible();
  await expect(ada.row('Scrap')).toHaveCount(0);
  held.release();
  const left = () => rows(`select 1 from sales_orders where id = :'order'`, { order: order.id });
  await expect.poll(left).toEqual([]);
  await expect(ada.row('Scrap')).toHaveCount(0);
});

test('no pending row stays on a list whose filter it does not match', async ({ company, open }) => {
  await company.order('Already shipped', 'shipped');
  const ada = await open(company.ada, company.path('orders?status=shipped'));
  await ada.live();
  const held = await hold(ada.page, 'orders/create');
  await createOrder(ada, 'Not shipped yet', 'Cedar Tools');
  await held.arrived;
  await expect(ada.row('Already shipped')).toBeVisible();
  await expect(ada.row('Not shipped yet')).toHaveCount(0);
  held.release();
  await expect.poll(() => rows(`select title from sales_orders where organization_id = :'it' and status = 'draft'`, { it: company.id })).toHaveLength(1);
  await expect(ada.row('Not shipped yet')).toHaveCount(0);
});

test('an order that one moves on leaves the list of its old status at once and for good', async ({ company, open }) => {
  await company.order('Stays a draft');
  await company.order('Moves on');
  const ada = await open(company.ada, company.path('orders?status=draft'));
  await ada.live();
  await ada.row('Moves on').getByRole('link').click();
  const held = await hold(ada.page, 'orders/update');
  await status(ada).selectOption({ label: 'Released' });
  await held.arrived;
  await ada.page.goBack();
  await expect(ada.row('Stays a draft')).toBeVisible();
  await expect(ada.row('Moves on')).toHaveCount(0);

  held.release();
  // A later change to the list comes only after the earlier one.
  await expect.poll(() => rows(`select 1 from sales_orders where organization_id = :'it' and status = 'released'`, { it: company.id })).toHaveLength(1);
  await psql(`update sales_orders set title = 'Still a draft' where organization_id = :'it' and status = 'draft';`, { it: company.id });
  await expect(ada.row('Still a draft')).toBeVisible();
  await expect(ada.row('Moves on')).toHaveCount(0);
  await expect(ada.page.getByRole('heading', { level: 1 })).toHaveText('Orders 1');
});

test('an order that one created is no ghost where somebody else moved it on', async ({ company, open }) => {
  const ada = await open(company.ada, company.path('orders?status=draft'));
  await ada.live();
  await createOrder(ada, 'Short draft', 'Cedar Tools');
  await expect(ada.row('SO-0001')).toBeVisible();
  await psql(`update sales_orders set status = 'shipped' where organization_id = :'it';`, { it: company.id });
  await expect(ada.row('Short draft')).toHaveCount(0);
  await expect(ada.main).toContainText('No orders here');
});

test('the echo of one’s own change causes no fetch', async ({ company, open }) => {
  const order = await company.order('Keyways');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  ada.forgetCalls();

  const answered = ada.page.waitForResponse('**/api/orders/update');
  await rename(ada, 'Keyways, broached');
  const written = (await (await answered).json()) as Written<Order>;
  expect(written.xid).not.toBeNull();
  await ada.passed(written.xid ?? 0);

  // What a fetch looks like: somebody else's change is one. It is the only one, so the echo was none.
  await psql(`update sales_orders set status = 'shipped' where id = :'order';`, { order: order.id });
  await expect(status(ada)).toHaveValue('shipped');
  expect(ada.made()).toEqual(['POST orders/update', 'GET orders/get']);
});

test('a change that somebody else made impossible is taken back, and the page says why', async ({ company, open }) => {
  const order = await company.order('Hinges');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  ada.excuse(/status of 409/);
  const held = await hold(ada.page, 'orders/update');

  await rename(ada, 'Hinges of Ada');
  await held.arrived;
  await psql(`update sales_orders set title = 'Hinges of the database' where id = :'order';`, { order: order.id });
  await expect(title(ada)).toHaveValue('Hinges of Ada');
  held.release();

  await expect(ada.toast('Not saved: Rename to “Hinges of Ada”. Somebody else changed the title first.')).toBeVisible();
  await expect(title(ada)).toHaveValue('Hinges of the database');
  await ada.page.getByRole('button', { name: 'Dismiss' }).click();
  await expect(ada.toast(/./)).toHaveCount(0);
});

test('a change by a right that is gone meanwhile is taken back, and the page says so', async ({ company, open }) => {
  const order = await company.order('Latches');
  const ben = await open(company.ben, company.path(`orders/${order.id}`));
  await ben.live();
  ben.excuse(/status of 403/);
  const held = await hold(ben.page, 'orders/update');

  await rename(ben, 'Latches of Ben');
  await held.arrived;
  await psql(`update memberships set role = 'viewer' where organization_id = :'it' and person_id = :'who';`, {
    it: company.id,
    who: company.ben.id,
  });
  await expect(title(ben)).not.toBeEditable();
  held.release();

  await expect(ben.toast('Not saved: Rename to “Latches of Ben”. You may not change orders here.')).toBeVisible();
  await expect(title(ben)).toHaveValue('Latches');
  await expect(ben.page.getByRole('button', { name: 'Delete', exact: true })).toHaveCount(0);
});

test('an order that could not be made leaves the list again', async ({ company, open }) => {
  await company.order('Was here before');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  ada.excuse(/status of 422/);
  const held = await hold(ada.page, 'orders/create');
  await createOrder(ada, 'For a customer that goes', 'Cedar Tools');
  await held.arrived;
  await expect(ada.row('For a customer that goes')).toBeVisible();
  await psql(`delete from customers where id = :'customer';`, { customer: company.customers[2].id });
  held.release();
  await expect(ada.toast(/^Not saved: New order “For a customer that goes”/)).toBeVisible();
  await expect(ada.row('For a customer that goes')).toHaveCount(0);
  await expect(ada.row('Was here before')).toBeVisible();
});

test('what is typed stays while another field changes below it, and both changes are kept', async ({ company, open }) => {
  const order = await company.order('Washers');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  const ben = await open(company.ben, company.path(`orders/${order.id}`));
  await ada.live();
  await ben.live();

  await title(ben).press('End');
  await title(ben).pressSequentially(', spring');
  await status(ada).selectOption({ label: 'Shipped' });
  await expect(status(ben)).toHaveValue('shipped');
  await expect(title(ben)).toHaveValue('Washers, spring');
  await expect(title(ben)).toBeFocused();

  await title(ben).pressSequentially(' steel');
  await title(ben).press('Enter');
  await expect(title(ada)).toHaveValue('Washers, spring steel');
  const [stored] = await rows(`select title, status from sales_orders where id = :'order'`, { order: order.id });
  expect(stored).toEqual({ title: 'Washers, spring steel', status: 'shipped' });
});

test('the same mutation sent twice at once is carried out once and answered the same', async ({ company }) => {
  const { ada, id: organization } = company;
  const order = await company.order('Rivets');
  const mutation_id = randomUUID();
  const line = { organization, mutation_id, order_id: order.id, id: randomUUID(), description: 'Rivet', quantity: 100 };

  const answers = await Promise.all([ada.post('orders/add_line', line), ada.post('orders/add_line', line)]);
  expect(answers.map((answer) => answer.status())).toEqual([200, 200]);
  const [first, second] = (await Promise.all(answers.map((answer) => answer.json()))) as Written<Order>[];
  expect(second).toEqual(first);
  expect(first.data.lines).toHaveLength(1);
  const lines = await rows(`select id from sales_order_lines where order_id = :'order'`, { order: order.id });
  expect(lines).toEqual([{ id: line.id }]);
  const events = await rows(`select id from realtime_table_events where mutation_id = :'m'`, { m: mutation_id });
  expect(events).toHaveLength(1);

  const other = await ada.post('orders/add_line', { ...line, quantity: 101 });
  expect(other.status()).toBe(409);
  expect((await other.json()).error).toMatchObject({ kind: 'conflict', fields: { mutation_id: expect.any(String) } });
  expect(await rows(`select quantity from sales_order_lines where order_id = :'order'`, { order: order.id })).toEqual([{ quantity: 100 }]);
});
