// What one did can be taken back.

import { addLine, deleteOrder, rename, title } from '../support/acts';
import { psql } from '../support/database';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';

test('a deleted order comes back whole in both windows', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  const ben = await open(company.ben, company.path('orders'));
  await Promise.all([ada.live(), ben.live()]);
  await deleteOrder(ada);
  await expect(ben.row('Rotor discs')).toHaveCount(0);
  await ada.page.getByRole('region', { name: 'Notifications' }).getByRole('button', { name: 'Undo' }).click();
  await expect(ada.row('Rotor discs')).toContainText('SO-0001');
  await expect(ben.row('Rotor discs')).toContainText('SO-0001');
});

test('z takes the last change back and Shift+z does it again', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  const ben = await open(company.ben, company.path(`orders/${order.id}`));
  await Promise.all([ada.live(), ben.live()]);
  await rename(ada, 'Rotor discs, thin');
  await expect(title(ben)).toHaveValue('Rotor discs, thin');
  await ada.page.keyboard.press('z');
  await expect(title(ada)).toHaveValue('Rotor discs');
  await expect(title(ben)).toHaveValue('Rotor discs');
  await ada.page.keyboard.press('Shift+Z');
  await expect(title(ada)).toHaveValue('Rotor discs, thin');
  await expect(title(ben)).toHaveValue('Rotor discs, thin');
  await ada.page.keyboard.press('Control+z');
  await expect(title(ben)).toHaveValue('Rotor discs');
});

test('a removed line comes back where it stood', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  const ben = await open(company.ben, company.path(`orders/${order.id}`));
  await Promise.all([ada.live(), ben.live()]);
  for (const [description, quantity] of [['Disc', '2'], ['Hub', '1'], ['Bolt', '12']]) await addLine(ada, description, quantity);
  const descriptions = (screen: Screen) => () =>
    screen.page.getByRole('textbox', { name: /^Description of line/ }).evaluateAll((all) => all.map((input) => (input as HTMLInputElement).value));
  await expect.poll(descriptions(ben)).toEqual(['Disc', 'Hub', 'Bolt']);
  await ada.page.getByRole('button', { name: 'Remove line 2' }).click();
  await expect.poll(descriptions(ben)).toEqual(['Disc', 'Bolt']);
  await ada.page.getByRole('region', { name: 'Notifications' }).getByRole('button', { name: 'Undo' }).click();
  await expect.poll(descriptions(ada)).toEqual(['Disc', 'Hub', 'Bolt']);
  await expect.poll(descriptions(ben)).toEqual(['Disc', 'Hub', 'Bolt']);
});

test('what somebody else has changed since is not taken back, and the page says why', async ({ company, open }) => {
  const order = await company.order('Rotor discs');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  ada.excuse(/status of 409/);
  await rename(ada, 'Rotor discs, thin');
  await expect(ada.page.getByRole('button', { name: 'Sync: everything is saved' })).toBeVisible();
  await psql(`update sales_orders set title = 'Brake discs' where id = :'order';`, { order: order.id });
  await expect(title(ada)).toHaveValue('Brake discs');
  await ada.page.keyboard.press('z');
  await expect(ada.toast('Not saved: Rename to “Rotor discs”. Somebody else changed the title first.')).toBeVisible();
  await expect(title(ada)).toHaveValue('Brake discs');
});

test('many orders deleted at once come back at once, in both windows', async ({ company, open }) => {
  const titles = ['Axles', 'Bearings', 'Collars', 'Discs'];
  for (const one of titles) await company.order(one);
  const ada = await open(company.ada, company.path('orders'));
  const ben = await open(company.ben, company.path('orders'));
  await Promise.all([ada.live(), ben.live()]);
  for (const one of ['Axles', 'Bearings', 'Discs']) await ada.page.getByLabel(`Select ${one}`).check();
  const selection = ada.page.getByRole('region', { name: 'Selection' });
  await expect(selection).toContainText('3 selected');
  await selection.getByRole('button', { name: 'Delete' }).click();
  await expect(selection).toHaveCount(0);
  const shown = async (): Promise<string[]> => ben.page.locator('[data-cell=title]').allInnerTexts();
  await expect.poll(shown).toEqual(['Collars']);
  await expect(ada.toast('Delete 3 orders.')).toBeVisible();

  await ada.page.keyboard.press('z');
  await expect.poll(shown).toEqual(['Discs', 'Collars', 'Bearings', 'Axles']);
  for (const one of titles) await expect(ada.row(one)).toContainText(/SO-\d+/);
});
