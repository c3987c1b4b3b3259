// What people do on the screens, in one line each.

import { expect, type Locator } from '@playwright/test';
import type { Screen } from './screen';

export async function createOrder(screen: Screen, title: string, customer: string): Promise<void> {
  await screen.page.getByRole('button', { name: 'New order' }).click();
  const dialog = screen.page.getByRole('dialog', { name: 'New order' });
  await dialog.getByLabel('Title').fill(title);
  await dialog.getByLabel('Customer').selectOption({ label: customer });
  await dialog.getByRole('button', { name: 'Create order' }).click();
}

/** The title of an order's page, which is edited where it stands. */
export function title(screen: Screen): Locator {
  return screen.page.getByRole('textbox', { name: 'Title' });
}

export async function rename(screen: Screen, to: string): Promise<void> {
  await title(screen).fill(to);
  await title(screen).press('Enter');
}

export function status(screen: Screen): Locator {
  return screen.main.getByLabel('Status');
}

export async function deleteOrder(screen: Screen): Promise<void> {
  await screen.page.getByRole('button', { name: 'Delete', exact: true }).click();
  await screen.page.getByRole('dialog').getByRole('button', { name: 'Delete order' }).click();
}

export async function addLine(screen: Screen, description: string, quantity: string): Promise<void> {
  const form = screen.page.getByRole('form', { name: 'Add a line' });
  await form.getByLabel('Description').fill(description);
  await form.getByLabel('Quantity').fill(quantity);
  await form.getByRole('button', { name: 'Add' }).click();
}

/** Goes to another page of the organization by the sidebar, without loading a document. */
export async function turnTo(screen: Screen, name: 'Orders' | 'Projects' | 'Members'): Promise<void> {
  await screen.page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name }).click();
}

/** The menu of the person who is signed in. */
export async function openAccount(screen: Screen): Promise<void> {
  await screen.page.getByLabel(/: account$/).click();
}

export async function signIn(screen: Screen, email: string, password: string): Promise<void> {
  await screen.page.getByLabel('Email').fill(email);
  await screen.page.getByLabel('Password').fill(password);
  await screen.page.getByRole('button', { name: 'Sign in' }).click();
}

export async function signUp(screen: Screen, name: string, email: string, password: string): Promise<void> {
  await screen.page.getByLabel('Name').fill(name);
  await screen.page.getByLabel('Email').fill(email);
  await screen.page.getByLabel('Password').fill(password);
  await screen.page.getByRole('button', { name: 'Create account' }).click();
}

/** Scrolls to the end of a list, again and again, until it says that so much of it is shown. */
export async function scrollUntil(screen: Screen, says: RegExp): Promise<void> {
  await expect(async () => {
    await screen.page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
    await expect(screen.page.getByRole('navigation', { name: 'Pages' }).getByText(says)).toBeVisible({ timeout: 500 });
  }).toPass();
}

/** The person turns to the tab, or away from it, as far as the page can tell. */
export async function turn(screen: Screen, visibility: 'visible' | 'hidden'): Promise<void> {
  await screen.page.evaluate((visibility) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => visibility === 'hidden' });
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => visibility });
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
  }, visibility);
}
