// How the screens stand: on a phone, in the dark, under the keyboard, for a screen reader.

import path from 'node:path';
import { openAccount } from '../support/acts';
import type { Company } from '../support/company';
import { psql } from '../support/database';
import type { Screen } from '../support/screen';
import { expect, test } from '../support/test';

interface Place {
  name: string;
  path: string;
}

/** An organization as it looks after some weeks, and its pages. */
async function furnish(company: Company): Promise<Place[]> {
  const order = await company.order('Gearbox housing for the stern thruster of MV Halcyon', 'in_production', company.customers[1]);
  for (const [description, quantity] of [
    ['Housing, cast iron GJL-250, machined', 2],
    ['Shaft seal 60 × 80 × 10, FKM', 8],
    ['Bearing 6212-2RS', 4],
  ] as const) {
    await company.line(order, description, quantity);
  }
  const project = await company.project('Refit of MV Halcyon');
  await company.project('Spare parts 2027');
  await psql(
    `update sales_orders set assignee_id = :'ben', due_on = current_date - 2 where id = :'order';
     insert into sales_orders (id, organization_id, title, customer_id, status, assignee_id, due_on, created_at)
     select gen_random_uuid(), :'it',
       (array['Pump shaft', 'Bearing housing', 'Impeller, bronze', 'Coupling half', 'Valve body DN 80', 'Wear ring'])[1 + n % 6] || ', ' || n || ' pcs',
       (select c.id from customers c where c.organization_id = :'it' order by c.name offset n % 3 limit 1),
       (array['draft', 'needs_approval', 'released', 'in_production', 'ready_to_ship', 'shipped', 'completed', 'on_hold', 'cancelled'])[1 + n % 9],
       case when n % 2 = 0 then :'ada'::uuid end, current_date + n, now() - n * interval '7 hours'
     from generate_series(1, 24) n;
     insert into project_members (id, project_id, person_id) values (gen_random_uuid(), :'project', :'ada'), (gen_random_uuid(), :'project', :'ben');
     insert into project_orders (id, project_id, order_id)
     select gen_random_uuid(), :'project', o.id from sales_orders o where o.organization_id = :'it' and o.title like '%Halcyon%';`,
    { it: company.id, order: order.id, project, ada: company.ada.id, ben: company.ben.id },
  );
  return [
    { name: 'orders', path: company.path('orders') },
    { name: 'order', path: company.path(`orders/${order.id}`) },
    { name: 'projects', path: company.path('projects') },
    { name: 'project', path: company.path(`projects/${project}`) },
    { name: 'members', path: company.path('members') },
  ];
}

const PHONE = { width: 360, height: 780 };
const DESK = { width: 1280, height: 800 };

for (const colorScheme of ['light', 'dark'] as const) {
  for (const viewport of [DESK, PHONE]) {
    test(`every screen fits ${viewport.width} pixels, ${colorScheme}`, async ({ company, open }) => {
      const places = await furnish(company);
      const own = { viewport, colorScheme };
      const shoot = async (name: string, screen: Screen) => {
        const { scroll, client } = await screen.page.evaluate(() => ({
          scroll: document.documentElement.scrollWidth,
          client: document.documentElement.clientWidth,
        }));
        expect.soft(scroll, `${name} scrolls sideways`).toBeLessThanOrEqual(client);
        const file = path.join(__dirname, '../test-results/screens', `${name}-${viewport.width}-${colorScheme}.png`);
        await screen.page.screenshot({ path: file, animations: 'disabled' });
      };
      for (const { name, path } of places) {
        const screen = await open(company.ada, path, own);
        await screen.live();
        await shoot(name, screen);
        if (name === 'orders') {
          await screen.page.getByRole('button', { name: 'New order' }).click();
          await expect(screen.page.getByRole('dialog', { name: 'New order' })).toBeVisible();
          await shoot('new-order', screen);
        }
      }
      const strangers = [['sign-in', '/sign-in'], ['sign-up', '/sign-up'], ['join', await company.invite('planner')]];
      for (const [name, path] of strangers) {
        const screen = await open(null, path, own);
        await screen.hydrated();
        await shoot(name, screen);
      }
      const organizations = await open(company.ada, '/organizations', own);
      await organizations.hydrated();
      await shoot('organizations', organizations);
    });
  }
}

test('every page has one heading, one main part, labels for what can be operated, and no id twice', async ({ company, open }) => {
  const places = await furnish(company);
  places.push({ name: 'organizations', path: '/organizations' }, { name: 'join', path: await company.invite('planner') });
  for (const { name, path } of places) {
    const ada = await open(company.ada, path);
    await ada.hydrated();
    await check(name, ada);
  }
  for (const path of ['/sign-in', '/sign-up']) {
    const nobody = await open(null, path);
    await nobody.hydrated();
    await check(path, nobody);
  }
});

async function check(name: string, screen: Screen): Promise<void> {
  await expect.soft(screen.page.getByRole('heading', { level: 1 }), name).toHaveCount(1);
  await expect.soft(screen.page.getByRole('main'), name).toHaveCount(1);
  await expect.soft(screen.page, name).toHaveTitle(/^.+ · Millstream$/);
  const found = await screen.page.evaluate(() => {
    const text = (id: string) => document.getElementById(id)?.textContent ?? '';
    const nameOf = (element: Element): string => {
      const labelled = element.getAttribute('aria-labelledby')?.split(' ').map(text).join(' ');
      const labels = 'labels' in element ? [...(element.labels as NodeListOf<Element>)].map((label) => label.textContent) : [];
      const content = element.matches('a, button, summary') ? element.textContent : '';
      return [element.getAttribute('aria-label'), labelled, ...labels, content].join(' ').trim();
    };
    const operable = document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary, dialog[open]');
    const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
    return {
      nameless: [...operable].filter((element) => !nameOf(element)).map((element) => element.outerHTML.slice(0, 200)),
      twice: ids.filter((id, place) => ids.indexOf(id) !== place),
      dangling: [...document.querySelectorAll('[aria-labelledby], label[for]')]
        .flatMap((element) => (element.getAttribute('aria-labelledby') ?? element.getAttribute('for') ?? '').split(' '))
        .filter((id) => id && !document.getElementById(id)),
    };
  });
  expect.soft(found, name).toEqual({ nameless: [], twice: [], dangling: [] });
}

test('the keyboard reaches the content first, and then everything', async ({ company, open }) => {
  await company.order('By keyboard');
  const ada = await open(company.ada, company.path('orders'));
  await ada.live();
  await ada.page.keyboard.press('Tab');
  const skip = ada.page.getByRole('link', { name: 'Skip to content' });
  await expect(skip).toBeFocused();
  await expect(skip).toBeInViewport();
  await ada.page.keyboard.press('Enter');
  await expect(ada.main).toBeFocused();
  await ada.page.keyboard.press('Tab');
  await expect(ada.page.getByRole('button', { name: 'New order' })).toBeFocused();
  await ada.row('By keyboard').getByRole('link').focus();
  await ada.page.keyboard.press('Enter');
  await expect(ada.page.getByRole('textbox', { name: 'Title' })).toHaveValue('By keyboard');
  expect(ada.loads, 'documents loaded').toBe(1);
});

test('a chosen theme is kept, and stands before the page is painted', async ({ company, open }) => {
  const ada = await open(company.ada, company.path('orders'), { colorScheme: 'light' });
  await ada.live();
  await openAccount(ada);
  await ada.page.getByRole('radio', { name: 'Dark' }).check();
  await expect(ada.html).toHaveAttribute('data-theme', 'dark');
  await ada.page.reload();
  await expect(ada.html).toHaveAttribute('data-theme', 'dark');
  await ada.live();
  await openAccount(ada);
  await expect(ada.page.getByRole('radio', { name: 'Dark' })).toBeChecked();
  await ada.page.getByRole('radio', { name: 'System' }).check();
  await expect(ada.html).not.toHaveAttribute('data-theme');
});
