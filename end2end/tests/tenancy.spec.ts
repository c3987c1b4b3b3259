// Who may see and do what: members, former members, strangers, and requests that are not what they should be.

import { randomUUID } from 'node:crypto';
import { psql, rows } from '../support/database';
import { type Company, type Person, type Written, anEmail, PASSWORD } from '../support/company';
import { expect, hold, test } from '../support/test';

test('a removed member’s screen closes within a second and hears no more, while the others go on', async ({ company, open }) => {
  const order = await company.order('Secret gears');
  const cleo = await company.hire('Cleo Cray', 'planner');
  const ben = await open(company.ben, company.path('orders'));
  const screen = await open(cleo, company.path('orders'));
  const ada = await open(company.ada, company.path('members'));
  await Promise.all([ben.live(), screen.live(), ada.live()]);

  await ada.row(company.ben.name).getByRole('button', { name: `Remove ${company.ben.name}` }).click();
  const removed = ada.page.waitForResponse('**/api/organizations/remove_member');
  await ada.page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await removed;
  await expect(ben.page.getByText('This organization does not exist, or you may not see it.')).toBeVisible({ timeout: 1_000 });
  await expect(ben.toast('You are no longer a member of this organization.')).toBeVisible();
  await expect(ben.page.getByText('Secret gears')).toHaveCount(0);
  await expect(ada.row(company.ben.name)).toHaveCount(0);
  expect(ben.heard.flatMap((frame) => frame.organizations ?? [])).toMatchObject([{ organization: company.id, standing: 'removed' }]);

  ben.heard = [];
  ben.forgetCalls();
  await psql(`update sales_orders set title = 'Secret gears, new' where id = :'order';`, { order: order.id });
  await expect(screen.row('Secret gears, new')).toBeVisible();
  expect(ben.heard.flatMap((frame) => frame.stale ?? []), 'told to the removed member').toEqual([]);
  expect(ben.reads().filter((call) => call !== 'GET session/me')).toEqual([]);
  expect((await company.ben.get('orders/list', { organization: company.id })).status()).toBe(404);
});

test('where rights become less, what was shown is gone before the new read answers; where they grow, nothing flickers', async ({
  company,
  open,
}) => {
  await company.order('Secret gears');
  const cleo = await company.hire('Cleo Cray', 'viewer');
  const screen = await open(cleo, company.path('orders'));
  await screen.live();
  const role = (role: string) =>
    psql(`update memberships set role = :'role' where person_id = :'who' and organization_id = :'it';`, {
      role,
      who: cleo.id,
      it: company.id,
    });
  const read = await hold(screen.page, 'orders/list**');
  await role('planner');
  await read.arrived;
  await expect(screen.row('Secret gears')).toBeVisible();
  read.release();
  await screen.live();

  // What is at hand on every page is asked for once more too, and refused.
  screen.excuse(/status of 403/);
  const lesser = await hold(screen.page, 'orders/list**');
  await role('supplier');
  await lesser.arrived;
  await expect(screen.page.getByText('Secret gears')).toHaveCount(0);
  lesser.release();
  await expect(screen.main.getByRole('alert')).toContainText('There is nothing to see here');
  await expect(screen.page.getByText('Secret gears')).toHaveCount(0);
});

test('one may leave an organization by oneself', async ({ company, open }) => {
  const ben = await open(company.ben, company.path('members'));
  await ben.live();
  await expect(ben.page.getByRole('button', { name: `Remove ${company.ada.name}` })).toHaveCount(0);
  await ben.page.getByRole('button', { name: `Remove ${company.ben.name}` }).click();
  await ben.page.getByRole('dialog').getByRole('button', { name: 'Leave' }).click();
  await expect(ben.page.getByText('This organization does not exist, or you may not see it.')).toBeVisible();
  const left = await rows(`select 1 from memberships where organization_id = :'it' and person_id = :'who'`, {
    it: company.id,
    who: company.ben.id,
  });
  expect(left).toEqual([]);
});

test('a stranger gets not one page, row or frame of an organization', async ({ company, people, open }) => {
  const order = await company.order('Not for strangers');
  const project = await company.project('Not for strangers either');
  const eve = await people.signUp('Eve Ember');
  const hers = randomUUID();
  await eve.does('organizations/create', { mutation_id: randomUUID(), id: hers, name: 'Elsewhere' });

  for (const path of ['orders', `orders/${order.id}`, 'projects', `projects/${project}`, 'members']) {
    const answer = await eve.request.get(company.path(path));
    expect(answer.status(), path).toBe(404);
    expect(await answer.text(), path).not.toContain('Not for strangers');
  }

  // In her own organization's address the foreign ids lead nowhere.
  const foreign = await open(eve, `/o/${hers}/orders/${order.id}`);
  await foreign.hydrated();
  await expect(foreign.page.getByRole('alert')).toContainText('This order does not exist, or you may not see it.');

  // On the socket she asks for what is not hers, with a stamp that is right.
  const members = await (await eve.get('organizations/members', { organization: hers })).json();
  const stamp = { snapshot: members.snapshot as string, epoch: members.epoch as string };
  const keys = [
    { number: 901, organization: company.id, table: 'sales_orders', record: order.id, ...stamp },
    { number: 902, organization: company.id, table: 'memberships', list: null, ...stamp },
    { number: 903, organization: company.id, table: 'projects', record: project, ...stamp },
    { number: 904, organization: hers, table: 'projects', record: project, ...stamp },
  ];
  const screen = await open(eve, `/o/${hers}/orders`);
  await screen.live();
  await screen.page.evaluate((keys) => {
    const socket = new WebSocket(`ws://${location.host}/live`, 'millstream.v1');
    socket.onopen = () => socket.send(JSON.stringify({ type: 'watch', keys }));
  }, keys);
  const refused = () => screen.heard.flatMap((frame) => frame.refused ?? []).map(({ number }) => number);
  await expect.poll(() => refused().filter((number) => number < 904).sort()).toEqual([901, 902, 903]);

  await psql(
    `update sales_orders set title = 'Changed' where id = :'order';
     update projects set name = 'Changed' where id = :'project';`,
    { order: order.id, project },
  );
  await eve.does('projects/create', { organization: hers, mutation_id: randomUUID(), id: randomUUID(), name: 'Hers' });
  const [{ xid }] = await rows<{ xid: number }>(
    `select max(xid)::text::bigint as xid from realtime_table_events where organization_id = :'it'`,
    { it: hers },
  );
  await screen.passed(xid);
  const told = screen.heard.flatMap((frame) => frame.stale ?? []).map(({ number }) => number);
  expect(told.filter((number) => number > 900), 'foreign keys that were told').toEqual([]);
});

test('the socket is closed to who is not signed in, and to other sites', async ({ company, people }) => {
  const upgrade = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-protocol': 'millstream.v1',
  };
  const nobody = await people.stranger();
  expect((await nobody.get('/live', { headers: upgrade })).status()).toBe(401);
  const elsewhere = await company.ada.request.get('/live', { headers: { ...upgrade, origin: 'https://evil.example' } });
  expect(elsewhere.status()).toBe(403);
});

test('a request that another site makes in one’s name is not carried out', async ({ company }) => {
  const answer = await company.ada.request.post('/api/projects/create', {
    data: { organization: company.id, mutation_id: randomUUID(), id: randomUUID(), name: 'Forged' },
    headers: { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
  });
  expect(answer.status()).toBe(403);
  expect(await rows(`select 1 from projects where organization_id = :'it'`, { it: company.id })).toEqual([]);
});

test('a viewer sees everything and can change nothing', async ({ company, open }) => {
  const order = await company.order('Look, do not touch');
  await company.line(order, 'Glass', 1);
  const project = await company.project('Showcase');
  const vera = await company.hire('Vera Vale', 'viewer');

  const orders = await open(vera, company.path('orders'));
  await orders.live();
  await expect(orders.row('Look, do not touch')).toBeVisible();
  await expect(orders.page.getByRole('button', { name: 'New order' })).toHaveCount(0);
  const sheet = await open(vera, company.path(`orders/${order.id}`));
  await sheet.live();
  await expect(sheet.page.getByRole('textbox', { name: 'Title' })).not.toBeEditable();
  await expect(sheet.main.getByLabel('Status')).toBeDisabled();
  await expect(sheet.page.getByRole('button', { name: /Remove|Delete|Add/ })).toHaveCount(0);
  const held = await open(vera, company.path(`projects/${project}`));
  await held.live();
  await expect(held.page.getByRole('button', { name: /Remove|Add/ })).toHaveCount(0);
  const members = await open(vera, company.path('members'));
  await members.live();
  await expect(members.page.getByRole('button', { name: 'Make a link' })).toHaveCount(0);
  await expect(members.main.getByRole('combobox')).toHaveCount(0);

  const forged = await vera.post('orders/delete', { organization: company.id, id: order.id, mutation_id: randomUUID() });
  expect(forged.status()).toBe(403);
});

test('the last owner stays', async ({ company, open }) => {
  const ada = await open(company.ada, company.path('members'));
  await ada.live();
  ada.excuse(/status of 422/);
  await ada.page.getByLabel(`Role of ${company.ada.name}`).selectOption({ label: 'Viewer' });
  await expect(ada.toast(/The last owner cannot leave or change role/i)).toBeVisible();
  await expect(ada.page.getByLabel(`Role of ${company.ada.name}`)).toHaveValue('owner');
});

// -------------------------------------------------------------------------------- requests that are not what they should be

type Body = Record<string, unknown>;

interface Mutation {
  endpoint: string;
  /** What is accepted, so that each case below differs from it in one thing. */
  body: Body;
  /** Fields that may be left out. */
  optional?: string[];
  /** Ids of the path to a record: unknown and foreign ones are not found. */
  records?: string[];
  /** What `id` names, where that does not follow from the other fields. */
  kind?: keyof Foreign;
  /** Ids of what is referred to: unknown and foreign ones are unacceptable. */
  references?: Record<string, keyof Foreign>;
  /** The longest texts. */
  texts?: Record<string, number>;
  /** Values of other kinds that cannot be read. */
  unreadable?: Body;
  /** Values that can be read and are not acceptable. */
  unacceptable?: Body;
}

/** The same things of another organization. */
interface Foreign {
  organization: string;
  order: string;
  line: string;
  project: string;
  person: string;
  customer: string;
  deletedOrder: string;
  deletedProject: string;
}

interface Own extends Foreign {
  member: string;
}

function mutations(own: Own): Mutation[] {
  const organization = own.organization;
  const fresh = { organization, mutation_id: randomUUID() };
  const changed = <T>(from: T, to: T) => ({ from, to });
  return [
    {
      endpoint: 'organizations/create',
      body: { mutation_id: randomUUID(), id: randomUUID(), name: `Another beside ${own.organization}` },
      texts: { name: 100 },
    },
    {
      endpoint: 'organizations/invite',
      body: { ...fresh, role: 'planner', customer_id: null },
      optional: ['customer_id'],
      unreadable: { role: 'emperor' },
    },
    {
      endpoint: 'organizations/set_role',
      body: { ...fresh, person_id: own.member, role: 'viewer', customer_id: null },
      optional: ['customer_id'],
      records: ['person_id'],
      unreadable: { role: 'emperor' },
    },
    { endpoint: 'organizations/remove_member', body: { ...fresh, person_id: own.member }, records: ['person_id'] },
    {
      endpoint: 'orders/create',
      body: {
        ...fresh,
        id: randomUUID(),
        title: 'New',
        customer_id: own.customer,
        status: 'draft',
        assignee_id: own.member,
        due_on: '2030-01-31',
      },
      optional: ['status', 'assignee_id', 'due_on'],
      references: { customer_id: 'customer', assignee_id: 'person' },
      texts: { title: 200 },
      unreadable: { status: 'lost', due_on: '2030-02-30' },
    },
    {
      endpoint: 'orders/update',
      body: { ...fresh, id: own.order, changes: { title: changed('Own order', 'Renamed') } },
      records: ['id'],
      unreadable: { changes: 'no changes' },
    },
    { endpoint: 'orders/delete', body: { ...fresh, id: own.order }, records: ['id'] },
    { endpoint: 'orders/restore', body: { ...fresh, id: own.deletedOrder }, records: ['id'], kind: 'deletedOrder' },
    {
      endpoint: 'orders/add_line',
      body: { ...fresh, order_id: own.order, id: randomUUID(), description: 'Line', quantity: 1, unit: 'pcs' },
      optional: ['unit'],
      records: ['order_id'],
      texts: { description: 500, unit: 20 },
      unreadable: { quantity: 'many' },
      unacceptable: { quantity: 0 },
    },
    {
      endpoint: 'orders/update_line',
      body: { ...fresh, order_id: own.order, id: own.line, changes: { quantity: changed(1, 2) } },
      records: ['order_id', 'id'],
      unreadable: { changes: 'no changes' },
    },
    { endpoint: 'orders/remove_line', body: { ...fresh, order_id: own.order, id: own.line }, records: ['order_id', 'id'] },
    { endpoint: 'projects/create', body: { ...fresh, id: randomUUID(), name: 'New' }, texts: { name: 200 } },
    {
      endpoint: 'projects/update',
      body: { ...fresh, id: own.project, changes: { name: changed('Own project', 'Renamed') } },
      records: ['id'],
      unreadable: { changes: 'no changes' },
    },
    { endpoint: 'projects/delete', body: { ...fresh, id: own.project }, records: ['id'], kind: 'project' },
    { endpoint: 'projects/restore', body: { ...fresh, id: own.deletedProject }, records: ['id'], kind: 'deletedProject' },
    {
      endpoint: 'projects/add_member',
      body: { ...fresh, project_id: own.project, person_id: own.member },
      records: ['project_id'],
      references: { person_id: 'person' },
    },
    {
      endpoint: 'projects/remove_member',
      body: { ...fresh, project_id: own.project, person_id: own.person },
      records: ['project_id'],
    },
    {
      endpoint: 'projects/add_order',
      body: { ...fresh, project_id: own.project, order_id: own.order },
      records: ['project_id'],
      references: { order_id: 'order' },
    },
    {
      endpoint: 'projects/remove_order',
      body: { ...fresh, project_id: own.project, order_id: own.order },
      records: ['project_id'],
    },
  ];
}

interface Case {
  what: string;
  body: unknown;
  status: number;
  /** The field that the answer names. */
  field?: string;
}

/** What can be wrong with one field at a time. */
function wrongs({ body, optional = [], records = [], kind: kindOfId, references = {}, texts = {}, unreadable = {}, unacceptable = {} }: Mutation, foreign: Foreign): Case[] {
  const kinds: Record<string, keyof Foreign> = { order_id: 'order', project_id: 'project', person_id: 'person' };
  const cases: Case[] = [{ what: 'no JSON', body: 'no JSON', status: 400 }, { what: 'an empty object', body: {}, status: 400 }];
  const put = (what: string, field: string, value: unknown, status: number, named: string | undefined = field) =>
    cases.push({ what: `${field}: ${what}`, body: { ...body, [field]: value, mutation_id: randomUUID() }, status, field: named });

  for (const field of Object.keys(body)) {
    if (!optional.includes(field)) {
      const { [field]: _left, ...rest } = body;
      cases.push({ what: `${field}: missing`, body: rest, status: 400, field });
    }
    if (field === 'organization' || field.endsWith('id')) {
      cases.push({ what: `${field}: malformed`, body: { ...body, [field]: 'not-an-id' }, status: 400, field });
    }
  }
  for (const [field, value] of Object.entries(unreadable)) put('unreadable', field, value, 400);
  for (const [field, value] of Object.entries(unacceptable)) put('unacceptable', field, value, 422);
  for (const [field, most] of Object.entries(texts)) {
    put('overlong', field, 'x'.repeat(most + 1), 422);
    put('empty', field, '', 422);
    put('blank', field, ' \t ', 422);
    put('with a NUL', field, 'a\0b', 422);
    put('a number', field, 7, 400);
  }
  if ('organization' in body) {
    put('unknown', 'organization', randomUUID(), 404, '');
    put('foreign', 'organization', foreign.organization, 404, '');
  }
  for (const field of records) {
    const kind = field === 'id' ? (kindOfId ?? ('order_id' in body ? 'line' : 'name' in body ? 'project' : 'order')) : kinds[field];
    put('unknown', field, randomUUID(), 404, '');
    put('foreign', field, foreign[kind], 404, '');
  }
  for (const [field, kind] of Object.entries(references)) {
    put('unknown', field, randomUUID(), 422);
    put('foreign', field, foreign[kind], 422);
  }
  return cases;
}

/** One field, whether it is named alone or with the way to it (`changes.title.to`). */
function way(field: string): RegExp {
  return new RegExp(`^([a-z_]+\\.)*${field}(\\.[a-z_]+)*$`);
}

const KINDS: Record<number, string> = {
  400: 'malformed',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  422: 'invalid',
};

/** What the organizations hold, as one number. */
async function checksum(...organizations: string[]): Promise<string> {
  const parts = [
    'organizations t where t.id',
    ...[
      'memberships',
      'invitations',
      'customers',
      'sequences',
      'sales_orders',
      'sales_order_lines',
      'projects',
      'realtime_table_events',
      'millstream.trash',
    ].map((table) => `${table} t where t.organization_id`),
    'project_members t join projects p on p.id = t.project_id where p.organization_id',
    'project_orders t join projects p on p.id = t.project_id where p.organization_id',
  ];
  const all = organizations.map((id) => `'${id}'::uuid`).join(', ');
  const sums = parts.map((part) => `(select md5(string_agg(t::text, '' order by t::text)) from ${part} in (${all}))`);
  return psql(`select concat_ws(' ', ${sums.join(', ')}, (select count(*) from organizations where name = 'Another beside ${organizations[0]}'));`);
}

async function things(company: Company, person: Person): Promise<Own> {
  const order = await company.order('Own order');
  const line = await company.line(order, 'Own line');
  const project = await company.project('Own project');
  const both = { organization: company.id, mutation_id: randomUUID(), project_id: project };
  await company.ada.does('projects/add_member', { ...both, person_id: company.ada.id });
  const deletedOrder = (await company.order('Deleted order')).id;
  const deletedProject = await company.project('Deleted project');
  const deleting = (id: string) => ({ organization: company.id, mutation_id: randomUUID(), id });
  await company.ada.does('orders/delete', deleting(deletedOrder));
  await company.ada.does('projects/delete', deleting(deletedProject));
  return {
    organization: company.id,
    order: order.id,
    line,
    project,
    person: person.id,
    member: company.ben.id,
    customer: company.customers[0].id,
    deletedOrder,
    deletedProject,
  };
}

const named = new Map<string, (own: Own) => Mutation>();
{
  const nothing: Own = {
    organization: '',
    order: '',
    line: '',
    project: '',
    person: '',
    customer: '',
    member: '',
    deletedOrder: '',
    deletedProject: '',
  };
  mutations(nothing).forEach(({ endpoint }, place) => named.set(endpoint, (own) => mutations(own)[place]));
}

for (const [endpoint, mutation] of named) {
  test(`${endpoint} answers each wrong request with its own clear error and changes nothing`, async ({ company, people }) => {
    const elsewhere = await people.found('Elsewhere');
    const foreign = await things(elsewhere, elsewhere.ada);
    const own = await things(company, company.ada);
    const one = mutation(own);
    const before = await checksum(company.id, elsewhere.id);

    for (const { what, body, status, field } of wrongs(one, foreign)) {
      await test.step(what, async () => {
        const answer = await company.ada.request.post(`/api/${endpoint}`, {
          headers: { 'content-type': 'application/json' },
          data: typeof body === 'string' ? Buffer.from(body) : body,
        });
        const told = await answer.text();
        expect.soft(answer.status(), `${what}: ${told}`).toBe(status);
        const { error } = JSON.parse(told) as { error: { kind: string; message: string; fields: Record<string, string> } };
        expect.soft(Object.keys(error).sort(), what).toEqual(['fields', 'kind', 'message']);
        expect.soft(error.kind, what).toBe(KINDS[status]);
        expect.soft(error.message, what).toMatch(/^\S.*\.?$/);
        if (field) expect.soft(Object.keys(error.fields).join(), `${what}: ${told}`).toMatch(way(field));
      });
    }

    const nobody = await people.stranger();
    const unsigned = await nobody.post(`/api/${endpoint}`, { data: one.body });
    expect.soft(unsigned.status()).toBe(401);
    expect.soft((await unsigned.json()).error.kind).toBe('unauthenticated');
    expect(await checksum(company.id, elsewhere.id), 'nothing has changed').toBe(before);

    // Only the wrong thing in each was wrong.
    const right = await company.ada.post(endpoint, one.body);
    expect(right.status(), await right.text()).toBe(200);
  });
}

test('an id that is taken is refused, whoever has taken it', async ({ company, people }) => {
  const elsewhere = await people.found('Elsewhere');
  const foreign = await things(elsewhere, elsewhere.ada);
  const own = await things(company, company.ada);
  const before = await checksum(company.id, elsewhere.id);
  const fresh = () => ({ organization: company.id, mutation_id: randomUUID() });
  for (const { order, line, project } of [own, foreign]) {
    const orders = { ...fresh(), id: order, title: 'Taken', customer_id: own.customer };
    const lines = { ...fresh(), id: line, order_id: own.order, description: 'Taken', quantity: 1 };
    const projects = { ...fresh(), id: project, name: 'Taken' };
    for (const [endpoint, body] of [['orders/create', orders], ['orders/add_line', lines], ['projects/create', projects]] as const) {
      const answer = await company.ada.post(endpoint, body);
      expect.soft(answer.status(), endpoint).toBe(409);
      expect.soft((await answer.json()).error, endpoint).toMatchObject({ kind: 'conflict', fields: { id: expect.any(String) } });
    }
  }
  expect(await checksum(company.id, elsewhere.id)).toBe(before);
});

test('the fields of a change are checked one by one, and a change from what is not true answers with what is', async ({ company, people }) => {
  const elsewhere = await people.found('Elsewhere');
  const own = await things(company, company.ada);
  const before = await checksum(company.id);
  const update = (endpoint: string, path: Body, changes: Body) =>
    company.ada.post(endpoint, { organization: company.id, mutation_id: randomUUID(), ...path, changes });
  const order = { id: own.order };
  const line = { order_id: own.order, id: own.line };
  const cases: [string, Body, string, unknown, unknown, number][] = [
    ['orders/update', order, 'title', 'Own order', 'x'.repeat(201), 422],
    ['orders/update', order, 'title', 'Own order', ' ', 422],
    ['orders/update', order, 'status', 'draft', 'lost', 400],
    ['orders/update', order, 'customer_id', own.customer, elsewhere.customers[0].id, 422],
    ['orders/update', order, 'assignee_id', null, elsewhere.ada.id, 422],
    ['orders/update', order, 'due_on', null, '2030-02-30', 400],
    ['orders/update', order, 'title', 'Somebody’s order', 'Mine', 409],
    ['orders/update', order, 'number', 'SO-0001', 'SO-9999', 400],
    ['orders/update_line', line, 'description', 'Own line', 'x'.repeat(501), 422],
    ['orders/update_line', line, 'quantity', 1, 1_000_001, 422],
    ['orders/update_line', line, 'unit', 'pcs', 'x'.repeat(21), 422],
    ['orders/update_line', line, 'quantity', 7, 8, 409],
    ['projects/update', { id: own.project }, 'name', 'Own project', 'x'.repeat(201), 422],
    ['projects/update', { id: own.project }, 'name', 'Some project', 'Mine', 409],
  ];
  for (const [endpoint, path, field, from, to, status] of cases) {
    const answer = await update(endpoint, path, { [field]: { from, to } });
    const told = await answer.text();
    expect.soft(answer.status(), `${endpoint} ${field} → ${String(to).slice(0, 20)}: ${told}`).toBe(status);
    const { error, current } = JSON.parse(told);
    expect.soft(Object.keys(error.fields).join(), `${endpoint} ${field} → ${String(to).slice(0, 20)}: ${told}`).toMatch(way(field));
    if (status === 409) expect.soft(current, 'the row as it is').toMatchObject({ id: path.id === own.line ? own.order : path.id });
  }
  expect(await checksum(company.id)).toBe(before);
});

test('an account needs a name, an address and a password that can be used', async ({ people }) => {
  const good = { name: 'Nora North', email: anEmail('Nora North'), password: PASSWORD };
  const taken = await people.signUp('Tom Taken');
  const cases: [Body, number, string][] = [
    [{ name: '' }, 422, 'name'],
    [{ name: 'x'.repeat(101) }, 422, 'name'],
    [{ email: 'nowhere' }, 422, 'email'],
    [{ email: `${'x'.repeat(250)}@a.test` }, 422, 'email'],
    [{ email: taken.email }, 409, 'email'],
    [{ password: 'short' }, 422, 'password'],
    [{ password: 'x'.repeat(1001) }, 422, 'password'],
    [{ name: undefined }, 400, 'name'],
    [{ email: undefined }, 400, 'email'],
    [{ password: undefined }, 400, 'password'],
  ];
  const nobody = await people.stranger();
  for (const [wrong, status, field] of cases) {
    const answer = await nobody.post('/api/session/sign_up', { data: { ...good, ...wrong } });
    const told = await answer.text();
    expect.soft(answer.status(), told).toBe(status);
    expect.soft(Object.keys(JSON.parse(told).error.fields), told).toEqual([field]);
    expect.soft(answer.headers()['set-cookie'], 'no session').toBeUndefined();
  }
  expect(await rows(`select 1 from profiles where email = :'email'`, { email: good.email })).toEqual([]);
});

test('signing in is refused alike for a wrong password and an unknown address, and after twenty tries in a minute at all', async ({
  people,
}) => {
  const tom = await people.signUp('Tom Tries');
  const nobody = await people.stranger();
  const attempt = (email: string, password: string) => nobody.post('/api/session/sign_in', { data: { email, password } });
  const [wrong, unknown] = [await attempt(tom.email, 'not the password'), await attempt(anEmail('Nobody'), PASSWORD)];
  expect([wrong.status(), unknown.status()]).toEqual([401, 401]);
  expect(await unknown.json()).toEqual(await wrong.json());

  const more = await Promise.all(Array.from({ length: 25 }, () => attempt(tom.email, PASSWORD)));
  const limited = more.filter((answer) => answer.status() === 429);
  expect(limited.length).toBeGreaterThan(0);
  expect(Number(limited[0].headers()['retry-after'])).toBeGreaterThan(0);
  expect((await limited[0].json()).error.kind).toBe('too_many');
});

test('an invitation that is unknown, cut short or used up is refused', async ({ company, people }) => {
  const [first, second] = [await people.signUp('Finn First'), await people.signUp('Sue Second')];
  const token = (await company.invite('planner')).replace('/join/', '');
  const accepting = (its: string) => ({ mutation_id: randomUUID(), token: its });
  const joined = await first.does<Written<string>>('organizations/accept', accepting(token));
  expect(joined).toMatchObject({ data: company.id, xid: expect.any(Number) });
  expect(await first.does('organizations/accept', accepting(token)), 'once more').toMatchObject({ xid: null });
  expect((await second.post('organizations/accept', accepting(token))).status()).toBe(422);
  expect((await second.post('organizations/accept', accepting(token.slice(1)))).status()).toBe(404);
  expect((await second.post('organizations/accept', accepting('0'.repeat(64)))).status()).toBe(404);
  expect((await second.post('organizations/accept', { token })).status()).toBe(400);
  const members = await rows(`select 1 from memberships where organization_id = :'it'`, { it: company.id });
  expect(members).toHaveLength(3);
});
