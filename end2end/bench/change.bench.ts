// From the click of one person to the screen of another, in two browsers that look at the same list.

import { status } from '../support/acts';
import { test } from '../support/test';
import { found, quantile } from './figures';

const STATUSES = [
  ['released', 'Released'],
  ['in_production', 'In production'],
  ['shipped', 'Shipped'],
  ['draft', 'Draft'],
];
const TURNS = 100;

test('a change on the other’s screen', async ({ company, open }) => {
  const order = await company.order('Turbine rings');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  const ben = await open(company.ben, company.path('orders'));
  await Promise.all([ada.live(), ben.live()]);
  const times: number[] = [];
  for (let turn = 0; turn < TURNS; turn += 1) {
    const [value, label] = STATUSES[turn % STATUSES.length];
    // Both pages read the same machine's clock; the observer stands before the click.
    const seen = await ben.row('Turbine rings').evaluateHandle((row, label) => {
      const badge = row.querySelector('[data-cell=status]');
      const shown = new Promise<number>((done) => {
        const observer = new MutationObserver(() => {
          if (badge?.textContent?.trim() !== label) return;
          observer.disconnect();
          requestAnimationFrame(() => done(performance.timeOrigin + performance.now()));
        });
        observer.observe(row, { subtree: true, childList: true, characterData: true });
      });
      return { shown };
    }, label);
    const answered = ada.page.waitForResponse('**/api/orders/update');
    const clicked = await status(ada).evaluate((select: HTMLSelectElement, value) => {
      const now = performance.timeOrigin + performance.now();
      select.value = value;
      select.dispatchEvent(new Event('change', { bubbles: true }));
      return now;
    }, value);
    times.push((await seen.evaluate(({ shown }) => shown)) - clicked);
    await answered;
  }
  found({
    what: 'a click to the frame that shows it on another’s screen',
    target: '100 ms',
    measured: `median ${quantile(times, 0.5).toFixed(0)} ms, p95 ${quantile(times, 0.95).toFixed(0)} ms, slowest ${Math.max(...times).toFixed(0)} ms of ${TURNS}`,
  });
});
