// Who a test is about: people with sessions, and the organization that they share. Made anew for each test, so that
// tests neither see nor wait for each other.

import { type APIRequest, type APIRequestContext, type APIResponse, expect } from '@playwright/test';
import { randomInt, randomUUID } from 'node:crypto';
import { psql } from './database';

export const PASSWORD = 'correct horse battery';

export interface Written<T> {
  data: T;
  xid: number | null;
  snapshot: string;
  epoch: string;
}

export interface Order {
  id: string;
  number: string;
  title: string;
  status: string;
  customer: string;
  lines: { id: string; description: string; quantity: number; unit: string }[];
}

/** Somebody with an account, signed in. */
export class Person {
  constructor(
    readonly id: string,
    readonly name: string,
    readonly email: string,
    readonly request: APIRequestContext,
  ) {}

  post(endpoint: string, body: unknown): Promise<APIResponse> {
    return this.request.post(`/api/${endpoint}`, { data: body });
  }

  get(endpoint: string, parameters: Record<string, string>): Promise<APIResponse> {
    return this.request.get(`/api/${endpoint}`, { params: parameters });
  }

  /** Posts what is expected to be carried out, and gives the answer. */
  async does<T>(endpoint: string, body: object): Promise<T> {
    const answer = await this.post(endpoint, body);
    expect(answer.status(), `${endpoint}: ${await answer.text()}`).toBe(200);
    return (await answer.json()) as T;
  }
}

/** An address of one's own. The server counts sign-ins and sign-ups by address, and believes a proxy on its machine. */
export function ownAddress(): Record<string, string> {
  return { 'x-forwarded-for': `10.${randomInt(256)}.${randomInt(256)}.${randomInt(1, 255)}` };
}

export function anEmail(name: string): string {
  return `${name.toLowerCase().replaceAll(/[^a-z]+/g, '.')}.${randomUUID().slice(0, 8)}@millstream.test`;
}

/** Makes people, and forgets their sessions' contexts at the end. */
export class People {
  private readonly contexts: APIRequestContext[] = [];

  constructor(
    private readonly api: APIRequest,
    private readonly baseURL: string,
  ) {}

  /** Requests of nobody in particular. */
  async stranger(): Promise<APIRequestContext> {
    const context = await this.api.newContext({ baseURL: this.baseURL, extraHTTPHeaders: ownAddress() });
    this.contexts.push(context);
    return context;
  }

  async signUp(name: string): Promise<Person> {
    const context = await this.stranger();
    const email = anEmail(name);
    const answer = await context.post('/api/session/sign_up', { data: { name, email, password: PASSWORD } });
    expect(answer.status(), `sign_up: ${await answer.text()}`).toBe(200);
    const { id } = (await answer.json()) as { id: string };
    return new Person(id, name, email, context);
  }

  /** An organization with three customers, an owner (Ada) and a planner (Ben). */
  async found(name: string): Promise<Company> {
    const [ada, ben] = await Promise.all([this.signUp('Ada Ambrose'), this.signUp('Ben Bell')]);
    const id = randomUUID();
    await ada.does('organizations/create', { mutation_id: randomUUID(), id, name });
    const customers = ['Alder Pumps', 'Birch Marine', 'Cedar Tools'].map((name) => ({ id: randomUUID(), name }));
    const inserted = customers.map(
      ({ id, name }) => `insert into customers (id, organization_id, name) values ('${id}', :'organization', '${name}');`,
    );
    await psql(inserted.join('\n'), { organization: id });
    const company = new Company(this, id, name, ada, ben, customers);
    await company.admit(ben, 'planner');
    return company;
  }

  async leave(): Promise<void> {
    await Promise.all(this.contexts.map((context) => context.dispose()));
  }
}

export class Company {
  constructor(
    private readonly people: People,
    readonly id: string,
    readonly name: string,
    /** The owner. */
    readonly ada: Person,
    /** A planner. */
    readonly ben: Person,
    readonly customers: { id: string; name: string }[],
  ) {}

  /** The address of a page of the organization. */
  path(rest: string): string {
    return `/o/${this.id}/${rest}`;
  }

  async invite(role: string): Promise<string> {
    const invited = await this.ada.does<Written<{ path: string }>>('organizations/invite', {
      organization: this.id,
      mutation_id: randomUUID(),
      role,
    });
    return invited.data.path;
  }

  async admit(person: Person, role: string): Promise<void> {
    const path = await this.invite(role);
    await person.does('organizations/accept', { mutation_id: randomUUID(), token: path.replace('/join/', '') });
  }

  async hire(name: string, role: string): Promise<Person> {
    const person = await this.people.signUp(name);
    await this.admit(person, role);
    return person;
  }

  /** An order that the owner makes. */
  async order(title: string, status = 'draft', customer = this.customers[0]): Promise<Order> {
    const written = await this.ada.does<Written<Order>>('orders/create', {
      organization: this.id,
      mutation_id: randomUUID(),
      id: randomUUID(),
      title,
      customer_id: customer.id,
      status,
    });
    return written.data;
  }

  async line(order: Order, description: string, quantity = 1): Promise<string> {
    const id = randomUUID();
    await this.ada.does('orders/add_line', {
      organization: this.id,
      mutation_id: randomUUID(),
      order_id: order.id,
      id,
      description,
      quantity,
    });
    return id;
  }

  async project(name: string): Promise<string> {
    const id = randomUUID();
    await this.ada.does('projects/create', { organization: this.id, mutation_id: randomUUID(), id, name });
    return id;
  }
}
