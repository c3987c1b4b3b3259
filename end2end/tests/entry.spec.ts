// Signing up, in and out, founding, inviting and joining, as people do it.

import { openAccount, signIn, signUp } from '../support/acts';
import { anEmail, ownAddress, PASSWORD } from '../support/company';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';

test('a person signs up, founds an organization and invites another, and they see each other', async ({ open }) => {
  const extraHTTPHeaders = ownAddress();
  const ada = await open(null, '/', { extraHTTPHeaders });
  await ada.hydrated();
  await expect(ada.page).toHaveURL('/sign-in');
  await ada.page.getByRole('link', { name: 'Create an account' }).click();
  await signUp(ada, 'Ada Ash', anEmail('Ada Ash'), PASSWORD);
  await expect(ada.page.getByRole('heading', { level: 1, name: 'Make your first organization' })).toBeVisible();
  await ada.hydrated();
  await ada.page.getByLabel('Name').fill('Ash & Co');
  await ada.page.getByRole('button', { name: 'Create organization' }).click();
  await expect(ada.page).toHaveURL(/\/o\/[0-9a-f-]{36}\/orders$/);
  await expect(ada.main).toContainText('No orders here');
  await ada.live();

  await ada.page.getByRole('link', { name: 'Members' }).click();
  await expect(ada.row('Ada Ash')).toBeVisible();
  await ada.page.getByRole('combobox', { name: 'Role', exact: true }).selectOption({ label: 'Sales' });
  await ada.page.getByRole('button', { name: 'Make a link' }).click();
  const link = await ada.page.getByLabel('Link for the role Sales').inputValue();
  expect(new URL(link).origin).toBe(new URL(ada.page.url()).origin);

  const bea = await open(null, link, { extraHTTPHeaders });
  await bea.hydrated();
  await expect(bea.page.getByRole('heading', { level: 1, name: 'Join Ash & Co' })).toBeVisible();
  await expect(bea.main).toContainText('Ada Ash invites you, as sales.');
  await bea.page.getByRole('link', { name: 'Create an account' }).click();
  await signUp(bea, 'Bea Birch', anEmail('Bea Birch'), PASSWORD);
  await bea.page.getByRole('button', { name: 'Join Ash & Co' }).click();
  await expect(bea.page.getByRole('button', { name: 'New order' })).toBeVisible();
  await expect(ada.row('Bea Birch')).toBeVisible();
  await bea.page.getByRole('link', { name: 'Members' }).click();
  await expect(bea.row('Ada Ash')).toContainText('Owner');
  await expect(bea.row('Bea Birch')).toContainText('Sales');

  // The link is good once.
  const third = await open(null, link);
  await expect(third.main).toContainText('This invitation has already been used.');
});

test('whoever only signs in does not load the pages that come after, and nobody the developers’ tools', async ({ company, open }) => {
  const wasm = async (screen: Screen): Promise<string[]> => {
    await screen.hydrated();
    return screen.page.evaluate(() =>
      performance
        .getEntriesByType('resource')
        .map((resource) => new URL(resource.name).pathname)
        .filter((path) => path.endsWith('.wasm'))
        .map((path) => path.replace(/^\/pkg\/|_\d+\.wasm$|\.wasm$/g, ''))
        .sort(),
    );
  };
  const nobody = await open(null, '/sign-in');
  expect(new Set(await wasm(nobody))).toEqual(new Set(['millstream']));
  const ada = await open(company.ada, company.path('orders'));
  // The chunk is what the pages would share with the tools.
  expect(new Set(await wasm(ada))).toEqual(new Set(['chunk', 'millstream', 'split_lazy_page']));
});

test('a changed role is there at once, on both screens', async ({ company, open }) => {
  const ada = await open(company.ada, company.path('members'));
  const ben = await open(company.ben, company.path('orders'));
  await ada.live();
  await ben.live();
  await expect(ben.page.getByRole('button', { name: 'New order' })).toBeVisible();
  await ada.page.getByLabel(`Role of ${company.ben.name}`).selectOption({ label: 'Viewer' });
  await expect(ben.page.getByRole('button', { name: 'New order' })).toHaveCount(0);
  await ada.page.getByLabel(`Role of ${company.ben.name}`).selectOption({ label: 'Admin' });
  await expect(ben.page.getByRole('button', { name: 'New order' })).toBeVisible();
  await ben.page.getByRole('link', { name: 'Members' }).click();
  await expect(ben.page.getByRole('button', { name: 'Make a link' })).toBeVisible();
});

test('signing out ends the session on every screen, and signing in leads back to where one was', async ({ company, open }) => {
  const order = await company.order('Where I was');
  const ada = await open(company.ada, company.path('orders'), { extraHTTPHeaders: ownAddress() });
  const other = await open(company.ada, company.path('projects'));
  await ada.live();
  await other.live();
  other.excuse(/status of 401/);
  await openAccount(ada);
  await ada.page.getByRole('button', { name: 'Sign out' }).click();
  await expect(ada.page).toHaveURL('/sign-in');
  await expect(other.page).toHaveURL(/\/sign-in\?next=/);

  await ada.page.goto(company.path(`orders/${order.id}`));
  await expect(ada.page).toHaveURL(`/sign-in?next=${company.path(`orders/${order.id}`)}`);
  await ada.hydrated();
  ada.excuse(/status of 401/);
  await signIn(ada, company.ada.email, 'not the password');
  await expect(ada.page.getByRole('alert')).toHaveText('This email and password do not belong together.');
  await signIn(ada, company.ada.email, PASSWORD);
  await expect(ada.page).toHaveURL(company.path(`orders/${order.id}`));
  await expect(ada.page.getByRole('textbox', { name: 'Title' })).toHaveValue('Where I was');
});

test('signing in leads to no other site', async ({ company, open }) => {
  for (const next of ['//evil.example/', 'https://evil.example/', '/\\evil.example/']) {
    const ada = await open(null, `/sign-in?next=${encodeURIComponent(next)}`, { extraHTTPHeaders: ownAddress() });
    await ada.hydrated();
    await signIn(ada, company.ada.email, PASSWORD);
    await expect(ada.page).toHaveURL(company.path('orders'));
  }
});

test('without JavaScript one signs in, sees the orders, and filters them', async ({ company, open }) => {
  await company.order('A draft');
  const shipped = await company.order('On its way', 'shipped');
  await company.line(shipped, 'Crate', 4);
  const ada = await open(null, company.path('orders'), { javaScriptEnabled: false, extraHTTPHeaders: ownAddress() });
  await expect(ada.page).toHaveURL(`/sign-in?next=${company.path('orders')}`);
  await signIn(ada, company.ada.email, 'not the password');
  await expect(ada.page.getByRole('alert')).toHaveText('This email and password do not belong together.');
  await signIn(ada, company.ada.email, PASSWORD);
  await expect(ada.page).toHaveURL(company.path('orders'));
  await expect(ada.row('A draft')).toBeVisible();
  await expect(ada.row('On its way')).toContainText('Shipped');

  await ada.page.getByLabel('Status').selectOption({ label: 'Shipped' });
  await ada.page.getByRole('button', { name: 'Apply' }).click();
  await expect(ada.page).toHaveURL(/status=shipped/);
  await expect(ada.row('On its way')).toBeVisible();
  await expect(ada.row('A draft')).toHaveCount(0);
  await expect(ada.page.getByLabel('Status')).toHaveValue('shipped');

  await ada.row('On its way').getByRole('link').click();
  await expect(ada.page.getByRole('textbox', { name: 'Description of line 1' })).toHaveValue('Crate');
  await ada.page.getByRole('link', { name: 'Members' }).click();
  await expect(ada.row('Ben Bell')).toBeVisible();
  await openAccount(ada);
  await ada.page.getByRole('button', { name: 'Sign out' }).click();
  await expect(ada.page).toHaveURL('/sign-in');
});
