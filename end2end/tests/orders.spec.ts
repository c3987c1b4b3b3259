// The list of orders: filters, sort and pages in the address, and the order's page under the keyboard.

import { scrollUntil, title } from '../support/acts';
import type { Company } from '../support/company';
import { psql } from '../support/database';
import type { Screen } from '../support/screen';
import { expect, type Open, test } from '../support/test';

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

test('a list grows as one scrolls, and shows every order once, in order', async ({ company, open }) => {
  await fill(company);
  const expected = (
    await psql(`select title from sales_orders where organization_id = :'it' order by created_at desc, id desc;`, { it: company.id })
  ).split('\n');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  await expect(ada.page.getByRole('heading', { level: 1 })).toHaveText('Orders 120');
  await expect.poll(() => titles(ada)).toEqual(expected.slice(0, 50));
  await expect(ada.main).toContainText('50 of 120 shown');
  ada.forgetCalls();
  await scrollUntil(ada, /^120 shown$/);
  expect(await titles(ada)).toEqual(expected);
  expect(ada.reads(), 'each page is read once, what was there not again').toEqual(['GET orders/list', 'GET orders/list']);
  await expect(ada.page.getByRole('link', { name: 'Show more' })).toHaveCount(0);
});

test('from a page in the middle a list grows both ways, by keyboard too', async ({ company, open }) => {
  await fill(company);
  const expected = (
    await psql(`select title from sales_orders where organization_id = :'it' order by created_at desc, id desc;`, { it: company.id })
  ).split('\n');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  const address = await ada.page.getByRole('link', { name: 'Show more' }).getAttribute('href');
  await ada.page.goto(address ?? '');
  await ada.live();
  await expect.poll(() => titles(ada)).toEqual(expected.slice(50, 100));
  await ada.page.getByRole('link', { name: 'Show previous' }).press('Enter');
  await expect.poll(() => titles(ada)).toEqual(expected.slice(0, 100));
  await expect(ada.page.getByRole('link', { name: 'Show previous' })).toHaveCount(0);
  await ada.page.getByRole('link', { name: 'Show more' }).press('Enter');
  await expect.poll(() => titles(ada)).toEqual(expected);
  // What is made now stands before the first of them, on the page that has become the first.
  await company.order('The latest');
  await expect.poll(() => titles(ada)).toEqual(['The latest', ...expected]);
});

test('of ten thousand orders those near the view are in the document, and those in view are live', async ({ company, open }) => {
  await psql(
    `insert into sales_orders (id, organization_id, title, customer_id, created_at)
     select gen_random_uuid(), :'it', 'Part ' || lpad(n::text, 5, '0'), :'customer', timestamptz '2026-01-01' + n * interval '1 second'
     from generate_series(1, 10000) n;`,
    { it: company.id, customer: company.customers[0].id },
  );
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  await scrollUntil(ada, /^500 of 10000 shown$/);
  await ada.page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight / 2));
  await expect.poll(async () => (await titles(ada)).length, { message: 'rows in the document' }).toBeLessThan(150);
  // The page has come to rest where it is, and so have its watches.
  const inView = () =>
    ada.page.evaluate(() =>
      [...document.querySelectorAll('tr[data-id]')].find((row) => row.getBoundingClientRect().top > 200)?.querySelector('a')?.textContent?.trim(),
    );
  const before = (await inView()) ?? '';
  expect(before).toMatch(/^Part 09[6-9]/);
  await ada.live();
  ada.forgetCalls();
  await psql(`update sales_orders set title = 'In view' where organization_id = :'it' and title = :'title';`, { it: company.id, title: before });
  await expect(ada.row('In view')).toBeVisible();
  const reads = ada.reads().filter((call) => call === 'GET orders/list').length;
  expect(reads, 'of ten pages, those in and around the view are read again').toBeLessThanOrEqual(4);
  // What changed out of view is right when it comes back into it.
  await psql(`update sales_orders set title = 'At the top' where organization_id = :'it' and title = 'Part 10000';`, { it: company.id });
  await ada.page.evaluate(() => window.scrollTo(0, 0));
  await expect(ada.row('At the top')).toBeVisible();
  await expect(ada.row('Part 09999')).toBeVisible();
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
  await ada.page.goto((await ada.page.getByRole('link', { name: 'Show more' }).getAttribute('href')) ?? '');
  await expect(ada.page).toHaveURL(/status=draft&after=/);
  await ada.live();
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
    await expect.poll(() => titles(ada)).toEqual(expected.slice(0, 50));
    await scrollUntil(ada, /^120 shown$/);
    expect(await titles(ada)).toEqual(expected);
  });
}

/** A list whose pages are all open, with the titles in it. */
async function wholeList(company: Company, open: Open): Promise<{ ada: Screen; all: string[] }> {
  await fill(company);
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  await scrollUntil(ada, /^120 shown$/);
  await ada.live();
  const all = await titles(ada);
  return { ada, all };
}

test('going back to a long list finds it as it was left', async ({ company, open }) => {
  const { ada, all } = await wholeList(company, open);
  const link = ada.row(all[90]).getByRole('link');
  await link.scrollIntoViewIfNeeded();
  const top = async () => (await link.boundingBox())?.y;
  const before = await top();
  ada.forgetCalls();
  await link.click();
  await expect(title(ada)).toHaveValue(all[90]);
  await ada.page.goBack();
  await expect(ada.page.getByText('120 shown')).toBeVisible();
  await expect.poll(top).toBe(before);
  expect(ada.reads().filter((read) => read === 'GET orders/list')).toEqual([]);
});

test('a change moves the later pages too, live', async ({ company, open }) => {
  const { ada, all } = await wholeList(company, open);
  await psql(`delete from sales_orders where organization_id = :'it' and title = :'title';`, { it: company.id, title: all[110] });
  await expect(ada.row(all[110])).toHaveCount(0);
  await expect.poll(() => titles(ada)).toEqual(all.filter((_, at) => at !== 110));
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
