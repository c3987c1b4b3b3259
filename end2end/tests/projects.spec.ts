// Projects: junctions without an organization of their own, and what happens when their parents go.

import { randomUUID } from 'node:crypto';
import { rename, turnTo } from '../support/acts';
import { psql, rows } from '../support/database';
import { expect, hold, test } from '../support/test';

test('a project is made, named, staffed and filled on one screen and seen on the other', async ({ company, open }) => {
  const order = await company.order('Crank shaft');
  const ada = await open(company.ada, company.path('projects'));
  const ben = await open(company.ben, company.path('projects'));
  await ada.live();
  await ben.live();

  const held = await hold(ada.page, 'projects/create');
  await ada.page.getByRole('button', { name: 'New project' }).click();
  const dialog = ada.page.getByRole('dialog', { name: 'New project' });
  await dialog.getByLabel('Name').fill('Engine');
  await dialog.getByRole('button', { name: 'Create project' }).click();
  await held.arrived;
  // It has its page before the server has heard of it.
  const name = ada.page.getByRole('textbox', { name: 'Name' });
  await expect(name).toHaveValue('Engine');
  held.release();
  await expect(ben.row('Engine')).toBeVisible();

  await name.fill('Engine, V8');
  await name.press('Enter');
  await expect(ben.row('Engine, V8')).toBeVisible();
  await ada.page.getByRole('combobox', { name: 'Member' }).selectOption({ label: company.ben.name });
  await ada.page.getByRole('button', { name: 'Add member' }).click();
  await expect(ben.row('Engine, V8').getByRole('img', { name: '1 member' })).toBeVisible();
  await ada.page.getByRole('combobox', { name: 'Order' }).selectOption({ label: `${order.number} Crank shaft` });
  await ada.page.getByRole('button', { name: 'Add order' }).click();
  await expect(ben.row('Engine, V8').getByRole('cell').nth(2)).toHaveText('1');

  await ben.row('Engine, V8').getByRole('link').click();
  const orders = ben.page.getByRole('region', { name: 'Orders' });
  const members = ben.page.getByRole('region', { name: 'Members' });
  await expect(orders.getByRole('listitem')).toContainText('Crank shaft');
  await members.getByRole('button', { name: `Remove ${company.ben.name}` }).click();
  await expect(ada.page.getByRole('region', { name: 'Members' }).getByRole('listitem')).toHaveCount(0);
  await orders.getByRole('button', { name: 'Remove Crank shaft' }).click();
  await expect(ada.page.getByRole('region', { name: 'Orders' }).getByRole('listitem')).toHaveCount(0);
});

test('a row that plain SQL puts into a junction without an organization appears on both screens', async ({ company, open }) => {
  const project = await company.project('Gearbox');
  const order = await company.order('Input shaft');
  const ada = await open(company.ada, company.path(`projects/${project}`));
  const ben = await open(company.ben, company.path('projects'));
  await ada.live();
  await ben.live();

  const ids = { project, order: order.id, person: company.ben.id };
  await psql(`insert into project_members (id, project_id, person_id) values (gen_random_uuid(), :'project', :'person');`, ids);
  await expect(ada.page.getByRole('region', { name: 'Members' }).getByRole('listitem')).toContainText(company.ben.name);
  await expect(ben.row('Gearbox').getByRole('img', { name: '1 member' })).toBeVisible();
  await psql(`insert into project_orders (id, project_id, order_id) values (gen_random_uuid(), :'project', :'order');`, ids);
  await expect(ada.page.getByRole('region', { name: 'Orders' }).getByRole('listitem')).toContainText('Input shaft');
  await expect(ben.row('Gearbox').getByRole('cell').nth(2)).toHaveText('1');

  await psql(`delete from project_members where project_id = :'project'; delete from project_orders where project_id = :'project';`, ids);
  await expect(ada.page.getByRole('listitem').filter({ hasText: company.ben.name })).toHaveCount(0);
  await expect(ada.page.getByRole('listitem').filter({ hasText: 'Input shaft' })).toHaveCount(0);
  await expect(ben.row('Gearbox').getByRole('img', { name: 'No members' })).toBeVisible();
});

test('a project with members and orders that plain SQL deletes is gone everywhere, and its page says so', async ({ company, open }) => {
  const project = await company.project('Abandoned');
  const order = await company.order('Survives');
  await psql(
    `insert into project_members (id, project_id, person_id) values (gen_random_uuid(), :'project', :'ada'), (gen_random_uuid(), :'project', :'ben');
     insert into project_orders (id, project_id, order_id) values (gen_random_uuid(), :'project', :'order');`,
    { project, order: order.id, ada: company.ada.id, ben: company.ben.id },
  );
  const ada = await open(company.ada, company.path(`projects/${project}`));
  const ben = await open(company.ben, company.path('projects'));
  await ada.live();
  await ben.live();
  ada.excuse(/status of 404/);

  await psql(`delete from projects where id = :'project';`, { project });
  await expect(ada.page.getByRole('alert')).toContainText('“Abandoned” has been deleted.');
  await expect(ben.row('Abandoned')).toHaveCount(0);
  await ada.page.getByRole('link', { name: 'All projects' }).click();
  await expect(ada.main).toContainText('No projects yet');
  await turnTo(ada, 'Orders');
  await expect(ada.row('Survives')).toBeVisible();
});

test('an order that is renamed or deleted changes in its projects', async ({ company, open }) => {
  const project = await company.project('Winch');
  const order = await company.order('Drum');
  await psql(`insert into project_orders (id, project_id, order_id) values (gen_random_uuid(), :'project', :'order');`, {
    project,
    order: order.id,
  });
  const ben = await open(company.ben, company.path(`projects/${project}`));
  await ben.live();
  const ada = await open(company.ada, company.path(`orders/${order.id}`));
  await ada.live();
  await rename(ada, 'Drum, grooved');
  const orders = ben.page.getByRole('region', { name: 'Orders' });
  await expect(orders.getByRole('listitem')).toContainText('Drum, grooved');
  await psql(`delete from sales_orders where id = :'order';`, { order: order.id });
  ada.excuse(/status of 404/);
  await expect(ada.page.getByRole('alert')).toContainText('has been deleted');
  await expect(orders.getByRole('listitem')).toHaveCount(0);
});

test('a project is archived, taken out, deleted and restored on one screen, and moves on the other', async ({ company, open }) => {
  const project = await company.project('Slipway');
  await company.project('Dock');
  const ada = await open(company.ada, company.path(`projects/${project}`));
  const ben = await open(company.ben, company.path('projects'));
  const archive = await open(company.ben, company.path('projects?archived=true'));
  await Promise.all([ada.live(), ben.live(), archive.live()]);
  await expect(archive.main).toContainText('No archived projects');

  await ada.page.getByRole('button', { name: 'Archive', exact: true }).click();
  await expect(ada.main.getByText('Archived', { exact: true })).toBeVisible();
  await expect(archive.row('Slipway')).toBeVisible();
  await expect(ben.row('Slipway')).toHaveCount(0);
  await expect(ben.row('Dock')).toBeVisible();
  await ben.page.getByLabel('Show').selectOption({ label: 'Archived' });
  await expect(ben.row('Slipway')).toBeVisible();
  await expect(ben.page).toHaveURL(/projects\?archived=true$/);
  await ada.page.getByRole('button', { name: 'Unarchive' }).click();
  await expect(archive.row('Slipway')).toHaveCount(0);
  await ben.page.getByLabel('Show').selectOption({ label: 'Current' });
  await expect(ben.row('Slipway')).toBeVisible();

  await ada.page.getByRole('button', { name: 'Delete' }).click();
  await ada.page.getByRole('dialog', { name: 'Delete this project?' }).getByRole('button', { name: 'Delete project' }).click();
  await expect(ben.row('Slipway')).toHaveCount(0);
  await expect(ada.row('Dock')).toBeVisible();
  await expect(ada.row('Slipway')).toHaveCount(0);
  await company.ada.does('projects/restore', { organization: company.id, mutation_id: randomUUID(), id: project });
  await expect(ben.row('Slipway')).toBeVisible();
  await expect(ada.row('Slipway')).toBeVisible();
});

test('plain SQL cannot put a stranger or a foreign order into a project', async ({ company, people }) => {
  const project = await company.project('Closed');
  const elsewhere = await people.found('Elsewhere');
  const foreign = await elsewhere.order('Foreign');
  const put = (table: string, column: string, id: string) =>
    psql(`insert into ${table} (id, project_id, ${column}) values (gen_random_uuid(), :'project', :'id');`, { project, id });
  await expect(put('project_members', 'person_id', elsewhere.ada.id)).rejects.toThrow('not a member of the organization');
  await expect(put('project_orders', 'order_id', foreign.id)).rejects.toThrow('does not exist in the organization');
  expect(await rows(`select 1 from project_members where project_id = :'project'`, { project })).toEqual([]);
});
