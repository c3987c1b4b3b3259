// The live connection is cut and comes back.

import { createOrder, status, title } from '../support/acts';
import { psql, rows } from '../support/database';
import { openOnLine } from '../support/line';
import { expect, test } from '../support/test';

test('after five seconds without a connection the screen is right again, and only what changed was fetched', async ({
  company,
  open,
}) => {
  const order = await company.order('Couplings');
  await company.line(order, 'Coupling, rigid', 2);
  const other = await company.order('Clutches');
  const { screen: ada, line } = await openOnLine(open, company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  ada.forgetCalls();

  await line.cut();
  const cutAt = Date.now();
  await expect(ada.html).toHaveAttribute('data-connection', 'reconnecting');
  await expect(ada.page.getByRole('status').filter({ hasText: 'Reconnecting' })).toBeVisible();
  await psql(
    `update sales_orders set title = 'Couplings, flexible', status = 'released' where id = :'order';
     update sales_order_lines set quantity = 20 where order_id = :'order';
     insert into sales_order_lines (id, order_id, position, description, quantity) values (gen_random_uuid(), :'order', 2, 'Insert', 4);
     update sales_orders set title = 'Clutches, dry' where id = :'other';`,
    { order: order.id, other: other.id },
  );
  // The page keeps knocking; it is let in with the first attempt after five seconds.
  await expect.poll(() => Date.now() - cutAt, { timeout: 10_000 }).toBeGreaterThanOrEqual(5_000);
  expect(line.attempts, 'attempts while the line was cut').toBeGreaterThan(2);
  expect(ada.made(), 'reads while nothing could vouch for them').toEqual([]);
  line.mend();

  await expect(ada.html).toHaveAttribute('data-connection', 'live', { timeout: 20_000 });
  await expect(title(ada)).toHaveValue('Couplings, flexible');
  await expect(status(ada)).toHaveValue('released');
  const shown = () =>
    ada.page
      .getByRole('textbox', { name: /^Quantity of line/ })
      .evaluateAll((inputs) => inputs.map((input) => Number((input as HTMLInputElement).value)));
  await expect.poll(shown).toEqual([20, 4]);
  await ada.live();
  expect(ada.made(), 'of the order, the members and the customers only the order was stale').toEqual(['GET orders/get']);

  // And it is live again.
  await psql(`update sales_orders set title = 'Couplings, done' where id = :'order';`, { order: order.id });
  await expect(title(ada)).toHaveValue('Couplings, done');
});

test('a connection that was cut while nothing happened comes back without a fetch', async ({ company, open }) => {
  const order = await company.order('Bushings');
  const { screen: ada, line } = await openOnLine(open, company.ada, company.path('orders'));
  await ada.live();
  ada.forgetCalls();
  await line.cut();
  await expect(ada.html).toHaveAttribute('data-connection', 'reconnecting');
  line.mend();
  await ada.live();

  // A later change is the first that is fetched.
  await psql(`update sales_orders set title = 'Bushings, bronze' where id = :'order';`, { order: order.id });
  await expect(ada.row('Bushings, bronze')).toBeVisible();
  expect(ada.made()).toEqual(['GET orders/list']);
});

test('what one does without a live connection is shown, sent and confirmed all the same', async ({ company, open }) => {
  await company.order('There already');
  const { screen: ada, line } = await openOnLine(open, company.ada, company.path('orders'));
  await ada.live();
  await line.cut();
  await expect(ada.html).toHaveAttribute('data-connection', 'reconnecting');
  await createOrder(ada, 'Made in the dark', 'Cedar Tools');
  await expect(ada.row('Made in the dark')).not.toHaveAttribute('data-pending');
  await expect(ada.row('Made in the dark')).toContainText('SO-0002');
  line.mend();
  await ada.live();
  await expect(ada.row('Made in the dark')).toHaveCount(1);
  expect(await rows(`select 1 from sales_orders where organization_id = :'it'`, { it: company.id })).toHaveLength(2);
});

test('without a network the page says so, and what one changes is sent when it is back', async ({ company, open }) => {
  const order = await company.order('Collars');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  await ada.row('Collars').getByRole('link').click();
  await expect(title(ada)).toHaveValue('Collars');
  ada.excuse(/ERR_INTERNET_DISCONNECTED/);

  await ada.page.context().setOffline(true);
  await expect(ada.html).toHaveAttribute('data-connection', 'offline');
  await status(ada).selectOption({ label: 'Released' });
  await ada.page.goBack();
  await expect(ada.main.getByRole('status')).toContainText('You are offline.');
  await expect(ada.row('Collars')).toContainText('Released');
  await expect(ada.row('Collars')).toHaveAttribute('data-pending');

  await ada.page.context().setOffline(false);
  await expect(ada.html).toHaveAttribute('data-connection', 'live');
  await expect(ada.row('Collars')).not.toHaveAttribute('data-pending', { timeout: 20_000 });
  const [stored] = await rows(`select status from sales_orders where id = :'order'`, { order: order.id });
  expect(stored).toEqual({ status: 'released' });
});
