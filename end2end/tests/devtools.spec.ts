// The developers' tools: there for whoever asks for them, in a release too, and for nobody else.

import path from 'node:path';
import type { Locator } from '@playwright/test';
import { rename, title } from '../support/acts';
import { psql, rows } from '../support/database';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';

const tools = (screen: Screen): Locator => screen.page.getByRole('region', { name: 'Developer tools' });

/** The files of wasm that the page has loaded. */
function wasm(screen: Screen): string[] {
  const files: string[] = [];
  screen.page.on('request', (request) => {
    if (request.url().endsWith('.wasm')) files.push(new URL(request.url()).pathname);
  });
  return files;
}

async function xidOf(order: string): Promise<number> {
  const found = await rows<{ xid: string }>(
    `select xid::text from realtime_table_events where record_id = :'order' order by created_at desc limit 1`,
    { order },
  );
  return Number(found[0].xid);
}

test('nobody has them who has not asked, the chord brings them with their code, and the browser remembers', async ({
  company,
  open,
}) => {
  await company.order('Gears');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  await expect(ada.page.getByRole('button', { name: 'Developer tools' })).toHaveCount(0);
  const loaded = wasm(ada);
  await ada.page.keyboard.press('Control+Shift+L');
  await expect(tools(ada)).toBeVisible();
  expect(loaded, 'the code of the tools').toHaveLength(1);
  await ada.page.keyboard.press('Control+Shift+L');
  await expect(tools(ada)).toBeHidden();

  await ada.page.reload();
  await ada.live();
  await expect(tools(ada)).toHaveCount(0);
  await ada.page.getByRole('button', { name: 'Developer tools' }).click();
  await expect(tools(ada)).toBeVisible();
  await tools(ada).getByRole('button', { name: 'Turn off' }).click();
  await expect(ada.page.getByRole('button', { name: 'Developer tools' })).toHaveCount(0);
  await ada.page.reload();
  await ada.live();
  await expect(ada.page.getByRole('button', { name: 'Developer tools' })).toHaveCount(0);
});

test('every key is told with its state, and why it was read: from the commit to the picture', async ({ company, open }) => {
  const order = await company.order('Gears');
  const ada = await open(company.ada, company.path(`orders/${order.id}?devtools=1`));
  await ada.live();
  const row = tools(ada).getByRole('row').filter({ hasText: 'sales_orders …' });
  await expect(row.locator('[data-cell=state]')).toHaveText('vouched for');
  await expect(row.locator('[data-cell=observers]')).toHaveText('1');
  await expect(row.locator('[data-cell=size]')).toHaveText(/^\d+ B$|kB$/);
  await expect(tools(ada).getByRole('row')).toHaveCount(4);

  await psql(`update sales_orders set title = 'Gears, cut' where id = :'order';`, { order: order.id });
  await expect(title(ada)).toHaveValue('Gears, cut');
  const xid = await xidOf(order.id);
  await expect(row.locator('[data-cell=reason]')).toHaveText(`stale by ${xid}`);
  await expect(row.locator('[data-cell=age]')).toHaveText(/^\d+ s$/);
  await row.getByRole('button').click();
  const chain = tools(ada).getByRole('region', { name: 'Why did this refetch?' }).getByRole('listitem');
  await expect(chain.locator('strong')).toHaveText(['commit', 'event', 'fetch', 'answer', 'render']);
  await expect(chain.first()).toContainText(`transaction ${xid}`);
  await expect(chain.last().locator('time')).toHaveText(/^\+\d+ ms$/);

  // A change of one's own needs no fetch: its answer brings the value.
  await rename(ada, 'Gears, ground');
  await expect.poll(async () => (await rows(`select 1 from sales_orders where title = 'Gears, ground' and id = :'order'`, { order: order.id })).length).toBe(1);
  const log = tools(ada).getByRole('region', { name: 'Log' });
  await expect(log.getByRole('listitem').filter({ hasText: 'commit' }).first()).toContainText(`by transaction ${await xidOf(order.id)}`);
  await expect(row.locator('[data-cell=fetches]')).toHaveText('1');
});

for (const colorScheme of ['light', 'dark'] as const) {
  for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 780 }]) {
    test(`what the engine shows fits ${viewport.width} pixels, ${colorScheme}`, async ({ company, open }) => {
      const order = await company.order('Gearbox housing for the stern thruster of MV Halcyon');
      await company.line(order, 'Shaft seal 60 × 80 × 10, FKM', 8);
      const ada = await open(company.ada, company.path(`orders/${order.id}`), { viewport, colorScheme });
      await ada.live();
      ada.excuse(/ERR_INTERNET_DISCONNECTED/, /status of 40[49]/);
      const shoot = async (name: string) => {
        const { scroll, client } = await ada.page.evaluate(() => ({
          scroll: document.documentElement.scrollWidth,
          client: document.documentElement.clientWidth,
        }));
        expect.soft(scroll, `${name} scrolls sideways`).toBeLessThanOrEqual(client);
        const file = path.join(__dirname, '../test-results/screens', `${name}-${viewport.width}-${colorScheme}.png`);
        await ada.page.screenshot({ path: file, animations: 'disabled' });
      };
      const apart = async (elsewhere: string) => {
        const browser = ada.page.context();
        await browser.setOffline(true);
        await expect(ada.html).toHaveAttribute('data-connection', 'offline');
        await rename(ada, 'Gearbox housing of bronze');
        const quantity = ada.page.getByRole('textbox', { name: 'Quantity of line 1' });
        await quantity.fill('9');
        await quantity.press('Enter');
        await psql(elsewhere, { order: order.id, ben: company.ben.id, name: company.ben.name });
        await browser.setOffline(false);
        await expect(ada.html).toHaveAttribute('data-connection', 'live', { timeout: 20_000 });
      };
      await apart(
        `update sales_orders set title = 'Gearbox housing of cast iron' where id = :'order';
         update sales_order_lines set quantity = 12 where order_id = :'order';`,
      );
      await expect(ada.main.getByRole('group')).toHaveCount(2);
      const away = ada.page.getByRole('region', { name: 'While you were away' });
      await away.getByRole('button', { name: 'Show' }).click();
      const dismiss = ada.page.getByRole('region', { name: 'Notifications' }).getByRole('button', { name: 'Dismiss' });
      await expect(dismiss).toHaveCount(2);
      await shoot('toasts');
      for (let left = 2; left > 0; left -= 1) await dismiss.first().click();
      await shoot('conflict');
      const panel = await ada.syncPanel();
      await panel.getByRole('button', { name: 'Edit' }).first().click();
      await expect(panel.getByRole('img')).toBeVisible({ timeout: 15_000 });
      await shoot('sync');
      await panel.press('Escape');
      await ada.page.keyboard.press('Escape');
      await ada.page.keyboard.press('Control+Shift+L');
      const row = tools(ada).getByRole('row').filter({ hasText: 'sales_orders …' });
      await row.getByRole('button').click();
      await psql(`update sales_orders set due_on = '2031-05-05' where id = :'order';`, { order: order.id });
      await expect(tools(ada).getByRole('region', { name: 'Why did this refetch?' }).getByRole('listitem')).toHaveCount(5);
      await shoot('devtools');
      await ada.page.keyboard.press('Control+Shift+L');
      await psql(`delete from sales_orders where id = :'order';`, { order: order.id });
      await expect(ada.page.getByRole('alert').filter({ hasText: 'has been deleted' })).toBeVisible();
      await shoot('gone');
    });
  }
}
