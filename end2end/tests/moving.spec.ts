// A server stops, as at each deployment, and its pages go to another one.

import { status, title } from '../support/acts';
import { Servers } from '../support/balancer';
import { psql } from '../support/database';
import { expect, test } from '../support/test';

test('a page whose server stops goes to another one: nothing is shown of it, lost, or read again', async ({ company, open }) => {
  const order = await company.order('Couplings');
  const servers = await Servers.start(2);
  try {
    const ada = await open(company.ada, `${servers.url}${company.path(`orders/${order.id}`)}`);
    await ada.live();
    // All that the page says of its connection from here on.
    await ada.page.evaluate(() => {
      const said: string[] = [];
      Object.assign(window, { said });
      const note = () => said.push(document.documentElement.dataset.connection ?? '', ...shown());
      const shown = () => [...document.querySelectorAll('[role=status], [role=alert]')].map((it) => it.textContent ?? '');
      new MutationObserver(note).observe(document.documentElement, {
        subtree: true,
        childList: true,
        characterData: true,
        attributeFilter: ['data-connection'],
      });
    });
    const said = () => ada.page.evaluate(() => (window as unknown as { said: string[] }).said);
    ada.forgetCalls();

    servers.choose(1);
    await servers.end(0);
    await expect.poll(said).toContain('moving');
    await ada.live();
    expect(ada.made(), 'nothing had changed, so nothing is read').toEqual([]);

    await psql(`update sales_orders set title = 'Couplings, flexible' where id = :'order';`, { order: order.id });
    await expect(title(ada)).toHaveValue('Couplings, flexible');
    await status(ada).selectOption({ label: 'Released' });
    // Shown at once, saved a moment later.
    await expect.poll(() => psql(`select status from sales_orders where id = :'order';`, { order: order.id })).toBe('released');
    await ada.live();
    const words = (await said()).join(' ');
    expect(words).not.toMatch(/connecting|offline/i);
    // Before the last server that it could go to.
    await ada.page.close();
  } finally {
    await servers.stop();
  }
});
