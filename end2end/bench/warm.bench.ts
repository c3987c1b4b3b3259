// A start without the network from a device that keeps much: how soon the first rows are painted.

import type { Page } from '@playwright/test';
import { psql } from '../support/database';
import { expect, test } from '../support/test';
import { found, quantile } from './figures';

const KEPT = 10_000;
const STARTS = 7;

/** Milliseconds since the navigation. */
interface Times {
  /** When the page first opened IndexedDB. */
  opened?: number;
  /** When the frame with the first row of the list was made. */
  painted?: number;
}

test('a warm start', async ({ company, open }) => {
  const insert = `insert into sales_orders (id, organization_id, title, status, customer_id)
    select gen_random_uuid(), :'it', 'Part ' || lpad(n::text, 3, '0'), 'draft', :'customer' from generate_series(1, 40) n;`;
  await psql(insert, { it: company.id, customer: company.customers[0].id });
  const order = await company.order('Collars');
  const first = await open(company.ada, company.path('orders'), { serviceWorkers: 'allow' });
  await first.live();
  await first.startsOffline();
  await first.row('Collars').getByRole('link').click();
  await first.live();
  const count = await first.page.evaluate(fill, { name: `millstream ${company.ada.id}`, like: order.id, wanted: KEPT });
  expect(count).toBeGreaterThanOrEqual(KEPT);
  await first.page.close();

  await first.page.context().setOffline(true);
  const before = async (page: Page): Promise<void> => {
    await page.addInitScript(watch);
  };
  const [fromOpening, fromNavigation]: number[][] = [[], []];
  let kept = 0;
  for (let start = 0; start < STARTS; start += 1) {
    const page = await open(company.ada, company.path('orders'), { beside: first, before });
    page.excuse(/ERR_INTERNET_DISCONNECTED|ERR_FAILED|Failed to fetch/);
    await expect(page.row('Part 040')).toBeVisible();
    const times = await page.page.evaluate(() => (window as unknown as { times: Times }).times);
    kept = await page.page.evaluate(fill, { name: `millstream ${company.ada.id}`, like: order.id, wanted: 0 });
    await page.page.close();
    // The first start throws away what is more than is kept.
    if (start === 0) continue;
    fromNavigation.push(times.painted ?? NaN);
    fromOpening.push((times.painted ?? NaN) - (times.opened ?? NaN));
  }
  const told = (times: number[]) => `median ${quantile(times, 0.5).toFixed(0)} ms, slowest ${Math.max(...times).toFixed(0)} ms of ${times.length}`;
  const of = `${kept.toLocaleString('en')} values kept of ${KEPT.toLocaleString('en')}`;
  found({ what: `warm start: from opening IndexedDB to the painted list, ${of}`, target: '150 ms', measured: told(fromOpening) });
  found({ what: 'warm start: from the navigation to the painted list, wasm included', target: '', measured: told(fromNavigation) });
});

/** Writes copies of the kept value of this record under other ids, up to so many; gives how many values there are. */
async function fill({ name, like, wanted }: { name: string; like: string; wanted: number }): Promise<number> {
  const done = <T>(request: IDBRequest<T>) =>
    new Promise<T>((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const database = await done(indexedDB.open(name));
  const transaction = database.transaction(['values', 'stamps'], 'readwrite');
  const ended = new Promise<void>((resolve) => (transaction.oncomplete = () => resolve()));
  const [values, stamps] = [transaction.objectStore('values'), transaction.objectStore('stamps')];
  const keys = (await done(values.getAllKeys())) as string[];
  const key = keys.find((key) => key.includes(like));
  let count = keys.length;
  if (key && count < wanted) {
    const value = (await done(values.get(key))) as string;
    const stamp = (await done(stamps.get(key))) as string;
    for (; count < wanted; count += 1) {
      const id = crypto.randomUUID();
      values.put(value.replaceAll(like, id), key.replaceAll(like, id));
      stamps.put(stamp, key.replaceAll(like, id));
    }
  }
  await ended;
  database.close();
  return count;
}

/** Notes when IndexedDB is opened and when the first row is painted. */
function watch(): void {
  const times: Times = {};
  Object.assign(window, { times });
  const open = IDBFactory.prototype.open;
  IDBFactory.prototype.open = function (...names) {
    times.opened ??= performance.now();
    return open.apply(this, names);
  };
  const observer = new MutationObserver(() => {
    if (!document.querySelector('tr[data-id]')) return;
    observer.disconnect();
    requestAnimationFrame(() => (times.painted = performance.now()));
  });
  observer.observe(document, { subtree: true, childList: true });
}
