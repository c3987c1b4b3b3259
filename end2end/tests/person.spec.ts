// One browser, one person after another; and one person with very much to look at.

import { rename, scrollUntil, title } from '../support/acts';
import { psql, rows } from '../support/database';
import { expect, test } from '../support/test';

test('who signs in after somebody else on the same browser sees and sends nothing of theirs', async ({ company, people, open }) => {
  const order = await company.order('Of Ada');
  const first = await open(company.ada, company.path(`orders/${order.id}`));
  await first.live();
  const browser = first.page.context();
  first.excuse(/ERR_INTERNET_DISCONNECTED/);
  await browser.setOffline(true);
  await rename(first, 'Only Ada may send this');
  await expect(first.page.getByRole('button', { name: 'Sync: 1 not saved yet' })).toBeVisible();
  await first.dies();

  const elsewhere = await people.found('Elsewhere');
  const zoe = elsewhere.ada;
  const adas = await browser.cookies();
  await browser.clearCookies();
  await browser.addCookies((await zoe.request.storageState()).cookies);
  await browser.setOffline(false);
  const second = await open(null, elsewhere.path('orders'), { beside: first });
  await second.live();
  await expect(second.page.getByRole('button', { name: 'Sync: everything is saved' })).toBeVisible();
  await second.page.goto(company.path('orders'));
  second.excuse(/status of 404/);
  await expect(second.main).toContainText('There is nothing to see here');
  await second.page.goto(elsewhere.path('orders'));
  await second.live();
  expect(await second.page.content()).not.toContain('Ada may send');
  expect(new Set(second.watched().map((key) => key.organization))).toEqual(new Set([elsewhere.id]));
  expect(second.made().filter((call) => call.startsWith('POST'))).toEqual([]);
  expect(await rows(`select title from sales_orders where id = :'order'`, { order: order.id })).toEqual([{ title: 'Of Ada' }]);
  await second.dies();

  // And nothing of hers is lost.
  await browser.clearCookies();
  await browser.addCookies(adas);
  const third = await open(null, company.path(`orders/${order.id}`), { beside: first });
  await expect(title(third)).toHaveValue('Only Ada may send this');
  await expect(third.page.getByRole('button', { name: 'Sync: everything is saved' })).toBeVisible();
  expect(await rows(`select title from sales_orders where id = :'order'`, { order: order.id })).toEqual([
    { title: 'Only Ada may send this' },
  ]);
});

test('of a hundred and fifty records that somebody goes through, none is watched twice at a time, and none at the end', async ({
  company,
  open,
}) => {
  test.setTimeout(120_000);
  await psql(
    `insert into sales_orders (id, organization_id, title, customer_id, created_at)
     select gen_random_uuid(), :'it', 'Part ' || lpad(n::text, 3, '0'), :'customer', timestamptz '2026-01-01' + n * interval '1 second'
     from generate_series(1, 150) n;`,
    { it: company.id, customer: company.customers[0].id },
  );
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  await scrollUntil(ada, /^150 shown$/);
  const links = await ada.page.getByRole('row').getByRole('link').evaluateAll((all) => all.map((link) => link.getAttribute('href') ?? ''));
  // In the page, as a click would, and back again: the list that one comes back to has only its first page.
  for (const [at, href] of links.entries()) {
    await ada.page.evaluate((href) => {
      const link = document.createElement('a');
      link.href = href;
      document.body.append(link);
      link.click();
      link.remove();
    }, href);
    await expect(title(ada)).toHaveValue(`Part ${String(150 - at).padStart(3, '0')}`);
  }
  await ada.page.getByRole('link', { name: 'Members' }).click();
  await expect(ada.page.getByRole('heading', { level: 1 })).toContainText('Members');
  await ada.live();

  // The connection's frames in the order in which they were sent: what is watched when.
  const watched = new Map<string, number>();
  let most = 0;
  for (const frame of ada.sent) {
    for (const key of frame.keys ?? []) {
      const name = JSON.stringify([key.table, key.list, key.record]);
      expect(watched.has(name), `${name} is watched already`).toBe(false);
      watched.set(name, key.number);
    }
    most = Math.max(most, watched.size);
    for (const number of frame.numbers ?? []) {
      for (const [name, its] of watched) if (its === number) watched.delete(name);
    }
  }
  expect(ada.watched().filter((key) => key.record).length, 'records were watched').toBeGreaterThan(100);
  expect(most, 'at a time').toBeLessThan(12);
  expect([...watched.keys()].filter((name) => name.includes('sales_orders')), 'left behind').toEqual([]);
  expect(ada.loads, 'documents loaded').toBe(1);
});
