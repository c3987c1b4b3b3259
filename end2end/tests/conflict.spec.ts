// Where two people change one field, the person decides at the field; and what was typed is never lost.

import { randomUUID } from 'node:crypto';
import type { Locator } from '@playwright/test';
import { rename, title } from '../support/acts';
import type { Company } from '../support/company';
import { psql, rows } from '../support/database';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';

const conflict = (screen: Screen, field: string): Locator =>
  screen.main.getByRole('group', { name: `Conflict over the ${field}` });

const notSaved = (screen: Screen): Locator => screen.main.getByRole('region', { name: 'Not saved' });

/** Does something without a network while the world goes on, and comes back. */
async function apart(screen: Screen, here: () => Promise<void>, elsewhere: () => Promise<unknown>): Promise<void> {
  screen.excuse(/ERR_INTERNET_DISCONNECTED/, /status of 40[349]/);
  const browser = screen.page.context();
  await browser.setOffline(true);
  await expect(screen.html).toHaveAttribute('data-connection', 'offline');
  await here();
  await elsewhere();
  await browser.setOffline(false);
  await expect(screen.html).toHaveAttribute('data-connection', 'live', { timeout: 20_000 });
}

function renameOrder(company: Company, id: string, from: string, to: string): Promise<unknown> {
  return company.ben.does('orders/update', {
    organization: company.id,
    id,
    mutation_id: randomUUID(),
    changes: { title: { from, to } },
  });
}

async function titleOf(order: string): Promise<string> {
  const [row] = await rows<{ title: string }>(`select title from sales_orders where id = :'order'`, { order });
  return row.title;
}

test('both values stand at the field with who and when, and the keyboard decides', async ({ company, open }) => {
  const order = await company.order('Hinges');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  await apart(
    ada,
    () => rename(ada, 'Hinges of Ada'),
    () => renameOrder(company, order.id, 'Hinges', 'Hinges of Ben'),
  );
  const choice = conflict(ada, 'title');
  await expect(choice).toContainText('Hinges of Ada');
  await expect(choice).toContainText(`${company.ben.name}’s title`);
  await expect(choice).toContainText('Hinges of Ben');
  await expect(choice.locator('time')).toHaveText('just now');
  await expect(title(ada), 'the truth').toHaveValue('Hinges of Ben');

  await title(ada).focus();
  await ada.page.keyboard.press('Tab');
  await expect(choice.getByRole('button', { name: 'Keep mine' })).toBeFocused();
  await ada.page.keyboard.press('Enter');
  await expect(choice).toHaveCount(0);
  await expect(title(ada)).toHaveValue('Hinges of Ada');
  await expect(title(ada), 'where the question was').toBeFocused();
  await expect.poll(() => titleOf(order.id)).toBe('Hinges of Ada');
});

test('one takes theirs, or edits and sends that', async ({ company, open }) => {
  const order = await company.order('Hinges');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  await apart(
    ada,
    () => rename(ada, 'Hinges of Ada'),
    () => renameOrder(company, order.id, 'Hinges', 'Hinges of Ben'),
  );
  await conflict(ada, 'title').getByRole('button', { name: 'Take theirs' }).click();
  await expect(conflict(ada, 'title')).toHaveCount(0);
  await expect(title(ada)).toHaveValue('Hinges of Ben');

  await apart(
    ada,
    () => rename(ada, 'Hinges, steel'),
    () => renameOrder(company, order.id, 'Hinges of Ben', 'Hinges, brass'),
  );
  await conflict(ada, 'title').getByRole('button', { name: 'Edit' }).click();
  const text = conflict(ada, 'title').getByRole('textbox', { name: 'Your text' });
  await expect(text).toBeFocused();
  await expect(text).toHaveValue('Hinges, steel');
  await text.fill('Hinges, steel and brass');
  await ada.page.keyboard.press('Enter');
  await expect(title(ada)).toHaveValue('Hinges, steel and brass');
  await expect(conflict(ada, 'title')).toHaveCount(0);
  await expect.poll(() => titleOf(order.id)).toBe('Hinges, steel and brass');
});

test('the lines of an order and the name of a project are decided at their fields too', async ({ company, open }) => {
  const order = await company.order('Hinges');
  const line = await company.line(order, 'Screw', 4);
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  const quantity = ada.page.getByRole('textbox', { name: 'Quantity of line 1' });
  await apart(
    ada,
    async () => {
      await quantity.fill('6');
      await quantity.press('Enter');
    },
    () =>
      company.ben.does('orders/update_line', {
        organization: company.id,
        order_id: order.id,
        id: line,
        mutation_id: randomUUID(),
        changes: { quantity: { from: 4, to: 8 } },
      }),
  );
  await expect(quantity).toHaveValue('8');
  const choice = conflict(ada, 'quantity');
  await choice.getByRole('button', { name: 'Edit' }).click();
  await choice.getByRole('textbox', { name: 'Your text' }).fill('a dozen');
  await choice.getByRole('button', { name: 'Save' }).click();
  await expect(choice.getByRole('alert')).toBeVisible();
  await choice.getByRole('textbox', { name: 'Your text' }).fill('12');
  await choice.getByRole('button', { name: 'Save' }).click();
  await expect(choice).toHaveCount(0);
  await expect(quantity).toHaveValue('12');

  const project = await company.project('Refit');
  await ada.page.goto(company.path(`projects/${project}`));
  await ada.live();
  const name = ada.page.getByRole('textbox', { name: 'Name' });
  await apart(
    ada,
    async () => {
      await name.fill('Refit of Ada');
      await name.press('Enter');
    },
    () => psql(`update projects set name = 'Refit, altered' where id = :'project';`, { project }),
  );
  await expect(conflict(ada, 'name')).toContainText('Refit, altered');
  await conflict(ada, 'name').getByRole('button', { name: 'Keep mine' }).click();
  await expect(name).toHaveValue('Refit of Ada');
});

test('what was typed over a record that somebody deletes is given back, and goes on when it is restored', async ({
  company,
  open,
}) => {
  const order = await company.order('Hinges');
  await company.line(order, 'Screw', 4);
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  await apart(
    ada,
    async () => {
      await rename(ada, 'Hinges that I named');
      // Being typed, and not left yet.
      await ada.page.getByRole('form', { name: 'Add a line' }).getByLabel('Description').fill('Half a line');
      const description = ada.page.getByRole('textbox', { name: 'Description of line 1' });
      await description.press('End');
      await description.pressSequentially('s, stainless');
    },
    () => psql(`delete from sales_orders where id = :'order';`, { order: order.id }),
  );
  await expect(ada.page.getByRole('alert').filter({ hasText: 'has been deleted' })).toBeVisible();
  const texts = () =>
    notSaved(ada)
      .getByRole('textbox', { name: 'What you typed' })
      .evaluateAll((inputs) => inputs.map((input) => (input as HTMLInputElement).value).sort());
  await expect.poll(texts).toEqual(['Half a line', 'Hinges that I named', 'Screws, stainless']);
  await ada.page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  const item = notSaved(ada).getByRole('listitem').filter({ hasText: 'New line' });
  await item.getByRole('button', { name: 'Copy' }).click();
  await expect(item.getByRole('button', { name: 'Copied' })).toBeVisible();
  expect(await ada.page.evaluate(() => navigator.clipboard.readText())).toBe('Half a line');

  await ada.page.getByRole('button', { name: 'Restore' }).click();
  await expect(title(ada)).toHaveValue('Hinges');
  await notSaved(ada)
    .getByRole('listitem')
    .filter({ hasText: 'Rename to “Hinges that I named”' })
    .getByRole('button', { name: 'Try again' })
    .click();
  await expect(title(ada)).toHaveValue('Hinges that I named');
  await expect.poll(() => titleOf(order.id)).toBe('Hinges that I named');
});

test('what was typed is given back also by a page that finds the record gone', async ({ company, open }) => {
  const order = await company.order('Hinges');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  await apart(
    ada,
    () => rename(ada, 'Hinges that I named'),
    () => psql(`delete from sales_orders where id = :'order';`, { order: order.id }),
  );
  await expect(notSaved(ada)).toBeVisible();
  await ada.page.reload();
  await ada.connected();
  await expect(notSaved(ada).getByRole('textbox', { name: 'What you typed' })).toHaveValue('Hinges that I named');
  await notSaved(ada).getByRole('button', { name: 'Drop' }).click();
  await expect(notSaved(ada)).toHaveCount(0);
});

test('in the sync panel a refused change is edited before it is sent again', async ({ company, open }) => {
  const order = await company.order('Hinges');
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  await apart(
    ada,
    () => rename(ada, 'Hinges of Ada'),
    () => renameOrder(company, order.id, 'Hinges', 'Hinges of Ben'),
  );
  const panel = await ada.syncPanel();
  await panel.getByRole('button', { name: 'Edit' }).click();
  await panel.getByRole('textbox', { name: 'Your text' }).fill('Hinges of both');
  await ada.page.keyboard.press('Escape');
  await expect(panel, 'Escape ends the editing alone').toBeVisible();
  await panel.getByRole('button', { name: 'Edit' }).click();
  await panel.getByRole('textbox', { name: 'Your text' }).fill('Hinges of both');
  await panel.getByRole('button', { name: 'Save' }).click();
  await expect(panel).toContainText('Everything that you did is saved.');
  await expect(title(ada)).toHaveValue('Hinges of both');
  await expect.poll(() => titleOf(order.id)).toBe('Hinges of both');
});

test('the sync panel tells the latency in words, how fresh all is, and how much is watched', async ({ company, open }) => {
  await company.order('Hinges');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  const panel = await ada.syncPanel();
  await expect(panel).toContainText(/Up to date\s*as of (now|\d+ s ago)/);
  await expect(panel).toContainText(/Watched here\s*[2-9] queries/);
  // Measured with the first frame, and five seconds later once more.
  await expect(panel.getByRole('img', { name: /^Latency over the last \d+ seconds: now \d+ ms/ })).toBeVisible({ timeout: 15_000 });
});
