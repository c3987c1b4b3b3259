// How fast what was done offline is saved: from the moment at which the browser says that it is online to "everything
// is saved" on the screen.

import type { Page } from '@playwright/test';
import { title } from '../support/acts';
import type { Company, Order } from '../support/company';
import { rows } from '../support/database';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';
import { found } from './figures';

const CHANGES = 500;

test('500 renames of one record', async ({ company, open }) => {
  const order = await company.order('Version 0');
  const screen = await open(company.ada, company.path(`orders/${order.id}`));
  await screen.live();
  await goOffline(screen);
  await rename(screen, 'Version', CHANGES);
  await drain(screen, company, '500 renames of one record, its page open');
});

test('500 renames over 100 records', async ({ company, open }) => {
  const orders: Order[] = [];
  for (let n = 0; n < 100; n += 1) orders.push(await company.order(`Order ${n}`));
  const screen = await open(company.ada, company.path('orders'));
  await screen.live();
  for (const order of orders) await visit(screen, company, order);
  await screen.live();
  await goOffline(screen);
  for (const order of orders) {
    await visit(screen, company, order);
    await rename(screen, order.title, CHANGES / orders.length);
  }
  await screen.page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Orders' }).click();
  await expect(screen.row(`Order 99 ${CHANGES / orders.length}`)).toBeVisible();
  await drain(screen, company, '500 renames over 100 records, the list open');
});

async function goOffline(screen: Screen): Promise<void> {
  screen.excuse(/ERR_INTERNET_DISCONNECTED/);
  await screen.page.context().setOffline(true);
  await expect(screen.html).toHaveAttribute('data-connection', 'offline');
}

/** Turns to the order's page as a link does, without loading a document. */
async function visit(screen: Screen, company: Company, order: Order): Promise<void> {
  await screen.page.evaluate((path) => {
    const link = document.createElement('a');
    link.href = path;
    document.body.append(link);
    link.click();
    link.remove();
  }, company.path(`orders/${order.id}`));
  await expect(title(screen)).toHaveValue(order.title);
}

async function rename(screen: Screen, name: string, times: number): Promise<void> {
  await title(screen).evaluate(
    async (input: HTMLInputElement, { name, times }) => {
      for (let n = 1; n <= times; n += 1) {
        input.value = `${name} ${n}`;
        input.dispatchEvent(new Event('input', { bubbles: true }));
        input.focus();
        input.blur();
        await new Promise((done) => setTimeout(done, 0));
      }
    },
    { name, times },
  );
  await expect(title(screen)).toHaveValue(`${name} ${times}`);
}

async function drain(screen: Screen, company: Company, what: string): Promise<void> {
  await expect(screen.page.getByRole('button', { name: `Sync: ${CHANGES} not saved yet` })).toBeVisible();
  screen.forgetCalls();
  const saved = whenSaved(screen.page);
  await screen.page.context().setOffline(false);
  const milliseconds = await saved;
  const events = await rows(
    `select id from realtime_table_events where organization_id = :'it' and table_name = 'sales_orders' and event_type = 'UPDATE'`,
    { it: company.id },
  );
  expect(events.length, 'each change once').toBe(CHANGES);
  const calls = new Map<string, number>();
  for (const call of screen.made()) calls.set(call, (calls.get(call) ?? 0) + 1);
  const requests = [...calls].map(([call, times]) => `${times} ${call}`).join(', ');
  found({
    what,
    target: '200/s',
    measured: `${((CHANGES / milliseconds) * 1000).toFixed(0)}/s (${(milliseconds / 1000).toFixed(1)} s; ${requests})`,
  });
}

/** Milliseconds from the page's `online` to the sync button's word that everything is saved. */
function whenSaved(page: Page): Promise<number> {
  return page.evaluate(
    () =>
      new Promise<number>((done) => {
        window.addEventListener(
          'online',
          () => {
            const begun = performance.now();
            const isSaved = () => document.querySelector('[aria-label="Sync: everything is saved"]') !== null;
            const watch = new MutationObserver(() => {
              if (!isSaved()) return;
              watch.disconnect();
              done(performance.now() - begun);
            });
            watch.observe(document, { subtree: true, childList: true, attributes: true });
          },
          { once: true },
        );
      }),
  );
}
