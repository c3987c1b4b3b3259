// Who is here, at which record, in which field, and typing: told to others, and gone in time.

import { randomUUID } from 'node:crypto';
import path from 'node:path';
import type { Locator } from '@playwright/test';
import { title, turn } from '../support/acts';
import { psql } from '../support/database';
import { openOnLine } from '../support/line';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';

/** The promise. */
const GONE_WITHIN = 10_000;

/** In the organization's head: who else is in it. */
const hereNow = (screen: Screen): Locator => screen.page.locator('.here-now > summary');
/** In the head of a record's page: who else is at it. */
const atRecord = (screen: Screen): Locator => screen.main.locator('.here').getByRole('img');
/** At the title's edge: who else is in it. */
const inTitle = (screen: Screen): Locator => screen.main.locator('.record-title > .field-mark');

test('who comes is seen in the head, in the list, at the record and in its field, and who goes is not', async ({ company, open }) => {
  await company.order('Rotor discs');
  const other = await company.order('Wear rings');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  await expect(hereNow(ada)).toHaveCount(0);

  const ben = await open(company.ben, company.path('orders'));
  await ben.live();
  await expect(hereNow(ada)).toHaveAccessibleName('1 other person is here');
  await expect(hereNow(ben)).toHaveAccessibleName('1 other person is here');
  await hereNow(ada).press('Enter');
  await expect(ada.page.locator('.here-now').getByRole('listitem')).toHaveText([/Ben Bell/]);
  await ada.page.keyboard.press('Escape');

  await ben.row('Rotor discs').getByRole('link').click();
  await expect(ada.row('Rotor discs').getByRole('img', { name: 'Ben Bell is here' })).toBeVisible();
  await expect(ada.row('Wear rings').getByRole('img', { name: 'Ben Bell is here' })).toHaveCount(0);

  await ada.row('Rotor discs').getByRole('link').click();
  await expect(atRecord(ada)).toHaveAccessibleName('Ben Bell is here too');
  await expect(atRecord(ben)).toHaveAccessibleName('Ada Ambrose is here too');
  await expect(inTitle(ada)).toHaveCount(0);
  await title(ben).focus();
  await expect(inTitle(ada)).toHaveText('Ben is in this field');
  await title(ben).pressSequentially('!');
  await expect(inTitle(ada)).toHaveText('Ben is typing here');
  await expect(ada.main.locator('.here')).toContainText('Ben is typing');
  // Nobody presses a key for a while.
  await expect(inTitle(ada)).toHaveText('Ben is in this field');
  await title(ben).press('Escape');
  await expect(inTitle(ada)).toHaveCount(0);
  await ben.main.getByLabel('Due').focus();
  await expect(ada.main.locator('[data-field="due date"] > .field-mark')).toHaveText('Ben is in this field');

  await ben.page.goto(company.path(`orders/${other.id}`));
  await ben.live();
  await expect(atRecord(ada)).toHaveCount(0);
  await expect(hereNow(ada)).toHaveAccessibleName('1 other person is here');
  await ben.page.close();
  await expect(hereNow(ada)).toHaveCount(0);
});

test('a line of an order says who is in it', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  await company.line(order, 'Disc, cast', 2);
  await company.line(order, 'Disc, forged', 1);
  const [ada, ben] = [await open(company.ada, company.path(`orders/${order.id}`)), await open(company.ben, company.path(`orders/${order.id}`))];
  await ada.live();
  await ben.live();
  await ben.page.getByLabel('Quantity of line 2').focus();
  const cells = ada.main.locator('td:has(> .field-mark)');
  await expect(cells).toHaveCount(1);
  await expect(cells.getByRole('textbox')).toHaveAccessibleName('Quantity of line 2');
});

test('two tabs are one person, where they turned to last, and nobody sees themselves', async ({ company, open }) => {
  const [first, second] = [await company.order('Rotor discs'), await company.order('Wear rings')];
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  const ben = await open(company.ben, company.path(`orders/${first.id}`));
  await ben.live();
  const benToo = await open(company.ben, company.path(`orders/${second.id}`), { beside: ben });
  await benToo.connected();
  await expect(ada.row('Wear rings').getByRole('img')).toHaveAccessibleName('Ben Bell is here');
  await expect(ada.row('Rotor discs').getByRole('img')).toHaveCount(0);
  await expect(hereNow(ada)).toHaveAccessibleName('1 other person is here');
  for (const tab of [ben, benToo]) {
    await expect(hereNow(tab)).toHaveAccessibleName('1 other person is here');
    await expect(atRecord(tab)).toHaveCount(0);
  }
  expect(benToo.sockets).toBe(0);

  // The tab that has the connection is hidden; what the other says goes through it all the same.
  await turn(ben, 'hidden');
  await title(benToo).focus();
  await ada.page.goto(company.path(`orders/${second.id}`));
  await ada.live();
  await expect(inTitle(ada)).toHaveText('Ben is in this field');
  await turn(ben, 'visible');
  await expect(inTitle(ada)).toHaveCount(0);
  // The one that leads goes: the other connects, and is there.
  await ben.page.close();
  await expect(inTitle(ada)).toHaveText('Ben is in this field');
  await turn(benToo, 'hidden');
  await expect(hereNow(ada)).toHaveCount(0);
  await expect(hereNow(benToo)).toHaveCount(0);
  await turn(benToo, 'visible');
  await expect(hereNow(ada)).toHaveAccessibleName('1 other person is here');
  await expect(hereNow(benToo)).toHaveAccessibleName('1 other person is here');
});

test('whose connection dies without a word is gone within ten seconds', async ({ company, open }) => {
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  const { screen: ben, line } = await openOnLine(open, company.ben, company.path('orders'));
  await ben.connected();
  await expect(hereNow(ada)).toHaveAccessibleName('1 other person is here');
  line.die();
  const died = Date.now();
  await expect(hereNow(ada)).toHaveCount(0, { timeout: GONE_WITHIN });
  expect(Date.now() - died).toBeLessThan(GONE_WITHIN);
});

test('a tab that crashes leaves no ghost', async ({ company, open }) => {
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  const ben = await open(company.ben, company.path('orders'));
  await ben.live();
  await expect(hereNow(ada)).toHaveAccessibleName('1 other person is here');
  await ben.dies();
  await expect(hereNow(ada)).toHaveCount(0, { timeout: GONE_WITHIN });
});

test('offline nobody is shown, and for others one is gone', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  const ben = await open(company.ben, company.path(`orders/${order.id}`));
  await ben.live();
  await expect(atRecord(ada)).toHaveAccessibleName('Ben Bell is here too');
  ada.excuse(/ERR_INTERNET_DISCONNECTED/);
  await ada.page.context().setOffline(true);
  await expect(atRecord(ada)).toHaveCount(0);
  await expect(hereNow(ada)).toHaveCount(0);
  await expect(atRecord(ben)).toHaveCount(0, { timeout: GONE_WITHIN });
  await ada.page.context().setOffline(false);
  await expect(atRecord(ada)).toHaveAccessibleName('Ben Bell is here too');
  await expect(atRecord(ben)).toHaveAccessibleName('Ada Ambrose is here too');
});

test('without a WebSocket nobody is shown, and all else works', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  const { screen: ben } = await openOnLine(open, company.ben, company.path('orders'), { fault: 'blocked' });
  await expect(ben.html).toHaveAttribute('data-connection', 'polling', { timeout: 20_000 });
  await psql(`update sales_orders set title = 'Rotor discs, thin' where id = :'order';`, { order: order.id });
  await expect(ben.row('Rotor discs, thin')).toBeVisible({ timeout: 15_000 });
  await expect(hereNow(ben)).toHaveCount(0);
  await expect(hereNow(ada)).toHaveCount(0);
});

test('an outsider is seen at their order, and sees nobody', async ({ company, people, open }) => {
  const order = await company.order('Rotor discs');
  const buyer = await people.signUp('Bo Buyer');
  await psql(
    `insert into memberships (organization_id, person_id, role, customer_id) values (:'it', :'buyer', 'buyer', :'customer');`,
    { it: company.id, buyer: buyer.id, customer: company.customers[0].id },
  );
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  const bo = await open(buyer, company.path(`orders/${order.id}`));
  await bo.live();
  await expect(atRecord(ada)).toHaveAccessibleName('Bo Buyer is here too');
  await title(ada).focus();
  const ben = await open(company.ben, company.path(`orders/${order.id}`));
  await ben.live();
  await expect(inTitle(ben)).toHaveText('Ada is in this field');
  await expect(hereNow(ben)).toHaveAccessibleName('2 other people are here');
  await expect(hereNow(bo)).toHaveCount(0);
  await expect(bo.main.locator('.here, .field-mark')).toHaveCount(0);
  expect(bo.heard.filter((frame) => frame.type === 'presence')).toEqual([]);
});

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [1280, 360]) {
    test(`presence fits ${width} pixels, ${colorScheme}`, async ({ company, open }) => {
      const order = await company.order('Gearbox housing for the stern thruster of MV Halcyon', 'in_production');
      await company.order('Pump shaft, 40 pcs');
      await company.line(order, 'Housing, cast iron GJL-250, machined', 2);
      const project = await company.project('Refit of MV Halcyon');
      await psql(`insert into project_members (id, project_id, person_id) values (:'id', :'project', :'ben');`, { id: randomUUID(), project, ben: company.ben.id });
      const others = [company.ben];
      for (const name of ['Cleo Carver', 'Dan Dyer', 'Eve Ellis', 'Finn Fowler']) others.push(await company.hire(name, 'planner'));
      const guests: Screen[] = [];
      for (const other of others) {
        const guest = await open(other, company.path(other === others[4] ? `projects/${project}` : `orders/${order.id}`));
        await guest.live();
        guests.push(guest);
      }
      const viewport = { width, height: width === 360 ? 780 : 800 };
      const ada = await open(company.ada, company.path('orders'), { viewport, colorScheme, reducedMotion: 'reduce' });
      const shoot = async (name: string) => {
        const { scroll, client } = await ada.page.evaluate(() => ({
          scroll: document.documentElement.scrollWidth,
          client: document.documentElement.clientWidth,
        }));
        expect.soft(scroll, `${name} scrolls sideways`).toBeLessThanOrEqual(client);
        const file = path.join(__dirname, '../test-results/screens', `presence-${name}-${width}-${colorScheme}.png`);
        await ada.page.screenshot({ path: file });
      };
      await ada.live();
      await expect(hereNow(ada)).toHaveAccessibleName('5 other people are here');
      await expect(ada.row('Gearbox').getByRole('img')).toHaveAccessibleName('Ben Bell, Cleo Carver, Dan Dyer and 1 more are here');
      await expect(ada.row('Gearbox').locator('.face').first()).toBeInViewport();
      await shoot('list');
      await hereNow(ada).click();
      await expect(ada.page.locator('.here-now').getByRole('listitem')).toHaveCount(5);
      await shoot('menu');
      await ada.page.keyboard.press('Escape');
      await ada.row('Gearbox').getByRole('link').click();
      await title(guests[0]).focus();
      await guests[1].page.getByLabel('Description of line 1').focus();
      await guests[2].main.getByLabel('Status').focus();
      await expect(ada.main.locator('.field-mark')).toHaveCount(3);
      await title(guests[0]).pressSequentially('!');
      await expect(inTitle(ada)).toHaveText('Ben is typing here');
      await shoot('record');
      await ada.page.goto(company.path('projects'));
      await ada.live();
      await expect(ada.row('Refit').locator('.face')).toHaveCount(1);
      await shoot('projects');
      await ada.row('Refit').getByRole('link').click();
      await expect(atRecord(ada)).toHaveAccessibleName('Finn Fowler is here too');
      await shoot('project');
    });
  }
}
