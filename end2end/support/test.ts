// The test that every file here uses: with a company of its own, and screens whose consoles must stay empty.

import { type BrowserContextOptions, expect, type Page, test as base } from '@playwright/test';
import { type Company, People, type Person } from './company';
import { Screen } from './screen';

export { expect };

interface Opening extends BrowserContextOptions {
  /** What is to be set up before the page is asked for. */
  before?: (page: Page) => Promise<void>;
  /** Opened as another tab of this screen's browser. */
  beside?: Screen;
}

/** Opens an address in a browser of this person's own (of nobody's, where there is none). */
export type Open = (person: Person | null, path: string, opening?: Opening) => Promise<Screen>;

interface Fixtures {
  people: People;
  company: Company;
  open: Open;
}

export const test = base.extend<Fixtures>({
  people: async ({ playwright, baseURL }, use) => {
    const people = new People(playwright.request, baseURL ?? '');
    await use(people);
    await people.leave();
  },

  company: async ({ people }, use, testInfo) => {
    await use(await people.found(`Company of ${testInfo.title}`.slice(0, 60)));
  },

  open: async ({ browser }, use) => {
    const screens: Screen[] = [];
    await use(async (person, path, { before, beside, ...options } = {}) => {
      const storageState = person ? await person.request.storageState() : undefined;
      // A service worker would stand between the page and what a test holds back or refuses.
      const context =
        beside?.page.context() ?? (await browser.newContext({ serviceWorkers: 'block', storageState, ...options }));
      const page = await context.newPage();
      const screen = new Screen(page);
      screens.push(screen);
      await before?.(page);
      await page.goto(path);
      return screen;
    });
    const complaints = screens.flatMap((screen) => screen.unexcused);
    await Promise.all(screens.map((screen) => screen.page.context().close()));
    expect(complaints, 'the browser’s console stays empty').toEqual([]);
  },
});

/** A request that is kept from the server until it is let go. */
export interface Held {
  /** Resolves when the page has sent it. */
  arrived: Promise<void>;
  release: () => void;
}

/** Holds back the page's requests to an endpoint. */
export async function hold(page: Page, endpoint: string): Promise<Held> {
  let arrive = (): void => {};
  let release = (): void => {};
  const arrived = new Promise<void>((done) => (arrive = done));
  const released = new Promise<void>((done) => (release = done));
  await page.route(`**/api/${endpoint}`, async (route) => {
    arrive();
    await released;
    await route.continue();
  });
  return { arrived, release };
}
