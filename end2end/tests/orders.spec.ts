// The list of orders: filters, sort and pages in the address, and the order's page under the keyboard.

import { title } from '../support/acts';
import type { Company } from '../support/company';
import { psql } from '../support/database';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';

/** 120 orders, half of them of one moment, so that only their ids tell them apart. */
async function fill(company: Company): Promise<void> {
  await psql(
    `insert into sales_orders (id, organization_id, title, customer_id, status, created_at)
     select gen_random_uuid(), :'it', 'Part ' || lpad(n::text, 3, '0'), :'customer',
       case when n % 3 = 0 then 'shipped' else 'draft' end,
       timestamptz '2026-01-01' + case when n > 60 then n * interval '1 minute' else interval '0' end
     from generate_series(1, 120) n;`,
    { it: company.id, customer: company.customers[0].id },
  );
}

function titles(screen: Screen): Promise<string[]> {
  return screen.page.getByRole('row').getByRole('link').allTextContents();
}

test('pages show every order once, in order, and each has its address', async ({ company, open }) => {
  await fill(company);
  const expected = (
    await psql(`select title from sales_orders where organization_id = :'it' order by created_at desc, id desc;`, { it: company.id })
  ).split('\n');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  const next = ada.page.getByRole('link', { name: 'Next' });
  const previous = ada.page.getByRole('link', { name: 'Previous' });
  const shows = (from: number, to: number) => expect.poll(() => titles(ada)).toEqual(expected.slice(from, to));

  await expect(ada.page.getByRole('heading', { level: 1 })).toHaveText('Orders 120');
  await shows(0, 50);
  await expect(previous).toHaveCount(0);
  await next.click();
  await shows(50, 100);
  await expect(ada.page).toHaveURL(/[?&]after=/);
  await ada.page.reload();
  await shows(50, 100);
  await ada.live();
  await next.click();
  await shows(100, 120);
  await expect(next).toHaveCount(0);
  await previous.click();
  await shows(50, 100);
  await expect(ada.page).toHaveURL(/[?&]before=/);
  await previous.click();
  await shows(0, 50);
  await ada.page.goBack();
  await shows(50, 100);
});

test('filters and sort live in the address', async ({ company, open }) => {
  await fill(company);
  await company.order('Of Birch', 'shipped', company.customers[1]);
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  const filter = ada.page.getByRole('form', { name: 'Filter orders' });
  const count = ada.page.getByRole('heading', { level: 1 });

  await filter.getByLabel('Status').selectOption({ label: 'Shipped' });
  await expect(count).toHaveText('Orders 41');
  await expect(ada.page).toHaveURL(/\?status=shipped$/);
  await filter.getByLabel('Customer').selectOption({ label: 'Birch Marine' });
  await expect.poll(() => titles(ada)).toEqual(['Of Birch']);
  await ada.page.goBack();
  await expect(count).toHaveText('Orders 41');
  await expect(filter.getByLabel('Customer')).toHaveValue('');
  await filter.getByLabel('Sort').selectOption({ label: 'Due date' });
  await expect(ada.page).toHaveURL(/\?status=shipped&sort=due$/);
  await ada.page.reload();
  await expect(filter.getByLabel('Status')).toHaveValue('shipped');
  await expect(filter.getByLabel('Sort')).toHaveValue('due');
  await expect(count).toHaveText('Orders 41');

  // From the second page, a filter leads to the first of its own.
  await ada.page.goto(company.path('orders?status=draft'));
  await ada.live();
  await ada.page.getByRole('link', { name: 'Next' }).click();
  await expect(ada.page).toHaveURL(/status=draft&after=/);
  await filter.getByLabel('Status').selectOption({ label: 'Any' });
  await expect(ada.page).toHaveURL(company.path('orders'));
});

for (const [sort, key] of [
  ['updated', 'updated_at desc, id desc'],
  ['due', `coalesce(due_on, 'infinity'), id`],
]) {
  test(`pages sorted by ${sort} show every order once, in order`, async ({ company, open }) => {
    await fill(company);
    await psql(`update sales_orders set due_on = date '2030-01-01' + right(title, 1)::int where organization_id = :'it' and status = 'draft';`, {
      it: company.id,
    });
    const expected = (await psql(`select title from sales_orders where organization_id = :'it' order by ${key};`, { it: company.id })).split('\n');
    const ada = await open(company.ada, company.path(`orders?sort=${sort}`));
    await ada.live();
    const next = ada.page.getByRole('link', { name: 'Next' });
    const shows = (from: number, to: number) => expect.poll(() => titles(ada)).toEqual(expected.slice(from, to));
    await shows(0, 50);
    await next.click();
    await shows(50, 100);
    await next.click();
    await shows(100, 120);
    await ada.page.getByRole('link', { name: 'Previous' }).click();
    await shows(50, 100);
  });
}

test('a change moves the later pages too, live', async ({ company, open }) => {
  await fill(company);
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  await ada.page.getByRole('link', { name: 'Next' }).click();
  await expect(ada.page).toHaveURL(/after=/);
  await expect.poll(async () => (await titles(ada)).length).toBe(50);
  await ada.live();
  const [first] = await titles(ada);
  await psql(`delete from sales_orders where organization_id = :'it' and title = :'title';`, { it: company.id, title: first });
  await expect(ada.row(first)).toHaveCount(0);
  await expect.poll(async () => (await titles(ada)).length).toBe(50);
  await expect(ada.page.getByRole('heading', { level: 1 })).toHaveText('Orders 119');
});

test('Enter saves a title, Escape drops what was typed, and an empty title is none', async ({ company, open }) => {
  const order = await company.order('Gaskets');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  ada.forgetCalls();

  await title(ada).fill('Not this');
  await title(ada).press('Escape');
  await expect(title(ada)).toHaveValue('Gaskets');
  await expect(title(ada)).not.toBeFocused();
  await title(ada).fill('   ');
  await title(ada).press('Enter');
  await expect(title(ada)).toHaveValue('Gaskets');
  await title(ada).fill('Gaskets, paper');
  await title(ada).press('Enter');
  await expect(title(ada)).not.toBeFocused();
  await expect(ada.page).toHaveTitle(/Gaskets, paper · Millstream/);
  await expect(title(ada)).toHaveValue('Gaskets, paper');
  await expect.poll(() => psql(`select title from sales_orders where id = :'order';`, { order: order.id })).toBe('Gaskets, paper');
  expect(ada.made()).toEqual(['POST orders/update']);
});

test('leaving a title saves it', async ({ company, open }) => {
  const order = await company.order('Shims');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  await title(ada).fill('Shims, brass');
  await title(ada).press('Tab');
  await expect.poll(() => psql(`select title from sales_orders where id = :'order';`, { order: order.id })).toBe('Shims, brass');
});

test('a new order needs a title and a customer', async ({ company, open }) => {
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  ada.forgetCalls();
  await ada.page.getByRole('button', { name: 'New order' }).click();
  const dialog = ada.page.getByRole('dialog', { name: 'New order' });
  await expect(dialog.getByLabel('Title')).toBeFocused();
  await dialog.getByRole('button', { name: 'Create order' }).click();
  await expect(dialog.getByRole('alert')).toHaveText('Choose a customer.');
  await dialog.getByLabel('Customer').selectOption({ label: 'Cedar Tools' });
  await dialog.getByRole('button', { name: 'Create order' }).click();
  await expect(dialog.getByRole('alert')).toHaveText('Give it a title.');
  await ada.page.keyboard.press('Escape');
  await expect(dialog).toBeHidden();
  await ada.page.getByRole('button', { name: 'New order' }).click();
  await expect(dialog).toBeVisible();
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await expect(dialog).toBeHidden();
  expect(ada.made()).toEqual([]);
});
