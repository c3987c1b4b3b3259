// A page as a test sees it: what is on it, and what it does behind one's back (requests, frames, complaints).

import { expect, type Locator, type Page, type WebSocket } from '@playwright/test';

/** A request to the API, e.g. `GET orders/list`. */
export interface Call {
  method: string;
  endpoint: string;
  url: URL;
}

export interface WatchedKey {
  number: number;
  organization: string;
  table: string;
  list?: unknown;
  record?: string;
  snapshot: string;
  epoch: string;
}

export interface ClientFrame {
  type: 'watch' | 'unwatch' | 'ping' | 'presence';
  keys?: WatchedKey[];
  numbers?: number[];
}

export interface ServerFrame {
  type: 'hello' | 'tick' | 'rights' | 'pong' | 'presence' | 'error';
  cursor?: string;
  epoch?: string;
  stale?: { number: number; xids?: number[] }[];
  watching?: number[];
  refused?: { number: number; error: { kind: string } }[];
  organizations?: { organization: string; standing: string }[];
}

/** Whether a snapshot, written `xmin:xmax:running,…`, holds the transaction. */
export function sees(snapshot: string, xid: number): boolean {
  const [, xmax, running] = snapshot.split(':');
  return xid < Number(xmax) && !running.split(',').includes(String(xid));
}

/** What has passed over one connection. */
type Exchange = { sent: ClientFrame[]; heard: ServerFrame[] };

export class Screen {
  calls: Call[] = [];
  private present: Exchange = { sent: [], heard: [] };
  sent: ClientFrame[] = [];
  heard: ServerFrame[] = [];
  /** How many live connections were opened. */
  sockets = 0;
  /** How often a document was loaded: a reload would count. */
  loads = 0;
  /** What the browser's console said, where it should have stayed silent. */
  readonly complaints: string[] = [];
  private readonly excused: RegExp[] = [
    /Service Worker registration blocked by Playwright/,
    // Chromium's remark on a start that took this machine some seconds, and on every page without JavaScript.
    /was preloaded using link preload but not used within a few seconds/,
  ];

  constructor(readonly page: Page) {
    page.on('console', (message) => {
      // The browser itself also informs, of an `autofocus` that it passed over for instance: that is no complaint.
      if (['error', 'warning', 'assert'].includes(message.type())) {
        this.complaints.push(`${message.type()}: ${message.text()}`);
      }
    });
    page.on('pageerror', (error) => this.complaints.push(`uncaught: ${error.stack ?? error.message}`));
    page.on('request', (request) => {
      const url = new URL(request.url());
      if (url.pathname.startsWith('/api/')) {
        this.calls.push({ method: request.method(), endpoint: url.pathname.slice('/api/'.length), url });
      } else if (request.isNavigationRequest()) {
        this.loads += 1;
      }
    });
    page.on('websocket', (socket) => this.listen(socket));
  }

  private listen(socket: WebSocket): void {
    if (new URL(socket.url()).pathname !== '/live') return;
    // Watch numbers are a connection's own: what an earlier page asked for is no longer waited for.
    const present: Exchange = { sent: [], heard: [] };
    this.present = present;
    this.sockets += 1;
    socket.on('framesent', ({ payload }) => {
      const frame = JSON.parse(String(payload)) as ClientFrame;
      this.sent.push(frame);
      present.sent.push(frame);
    });
    socket.on('framereceived', ({ payload }) => {
      const frame = JSON.parse(String(payload)) as ServerFrame;
      this.heard.push(frame);
      present.heard.push(frame);
    });
  }

  /** The console may say this: the test brings it about (a browser logs every refused request by itself). */
  excuse(...complaints: RegExp[]): void {
    this.excused.push(...complaints);
  }

  get unexcused(): string[] {
    return this.complaints.filter((complaint) => !this.excused.some((excuse) => excuse.test(complaint)));
  }

  get html(): Locator {
    return this.page.locator('html');
  }

  get main(): Locator {
    return this.page.getByRole('main');
  }

  /** The row of a table that says so. */
  row(text: string): Locator {
    return this.page.getByRole('row').filter({ hasText: text });
  }

  toast(text: string | RegExp): Locator {
    return this.page.getByRole('region', { name: 'Notifications' }).getByText(text);
  }

  /** Waits until the page is alive. */
  async hydrated(): Promise<void> {
    await expect(this.html).toHaveAttribute('data-hydrated', 'true');
  }

  /** Waits until the page is alive and connected, and the server vouches for all that it shows. */
  async live(): Promise<void> {
    await this.hydrated();
    await expect(this.html).toHaveAttribute('data-connection', 'live');
    await expect.poll(() => this.present.sent.flatMap((frame) => frame.keys ?? []).length, { message: 'the page watches something' }).toBeGreaterThan(0);
    await expect.poll(() => this.unconfirmed(), { message: 'watches that the server has not confirmed' }).toEqual([]);
  }

  /** Waits until the page is alive and connected, by its own socket or by another tab's. */
  async connected(): Promise<void> {
    await this.hydrated();
    await expect(this.html).toHaveAttribute('data-connection', 'live');
  }

  /** Waits until the browser keeps the program, so that it starts without a network. */
  async startsOffline(): Promise<void> {
    await this.page.evaluate(async () => {
      await navigator.serviceWorker.ready;
      if (navigator.serviceWorker.controller) return;
      await new Promise((done) => navigator.serviceWorker.addEventListener('controllerchange', done, { once: true }));
    });
  }

  /** Opens what waits for the server or for the person. */
  async syncPanel(): Promise<Locator> {
    await this.page.getByRole('button', { name: /^Sync: / }).click();
    return this.page.getByRole('region', { name: 'Sync' });
  }

  /** The keys of all watch frames, in order. */
  watched(): WatchedKey[] {
    return this.sent.flatMap((frame) => frame.keys ?? []);
  }

  /** The numbers of all unwatch frames. */
  unwatched(): number[] {
    return this.sent.flatMap((frame) => frame.numbers ?? []);
  }

  private unconfirmed(): number[] {
    const asked = this.present.sent.flatMap((frame) => frame.keys ?? []).map(({ number }) => number);
    const settled = new Set(this.present.sent.flatMap((frame) => frame.numbers ?? []));
    for (const frame of this.present.heard) {
      for (const number of frame.watching ?? []) settled.add(number);
      for (const { number } of frame.refused ?? []) settled.add(number);
      // What was watched before a change of rights has ended with it.
      if (frame.type === 'rights') asked.forEach((number) => settled.add(number));
    }
    return asked.filter((number) => !settled.has(number));
  }

  /** What the server called stale, key by key: table and how it is asked for. */
  staleKeys(): WatchedKey[] {
    const keys = new Map(this.watched().map((key) => [key.number, key]));
    const numbers = this.heard.flatMap((frame) => frame.stale ?? []).map(({ number }) => number);
    return numbers.flatMap((number) => keys.get(number) ?? []);
  }

  /** Waits for a tick whose cursor holds the transaction: its echo has passed by. */
  async passed(xid: number): Promise<void> {
    const isPast = () => this.heard.some((frame) => frame.cursor !== undefined && sees(frame.cursor, xid));
    await expect.poll(isPast, { message: `a tick beyond transaction ${xid}` }).toBe(true);
  }

  /** Waits until the device keeps a value under a key that names this. */
  async keeps(name: string): Promise<void> {
    const isKept = () =>
      this.page.evaluate(async (name) => {
        const databases = await indexedDB.databases();
        for (const { name: database } of databases.filter((found) => found.name?.startsWith('millstream '))) {
          const keys = await new Promise<IDBValidKey[]>((done, failed) => {
            const opening = indexedDB.open(database ?? '');
            opening.onerror = () => failed(opening.error);
            opening.onsuccess = () => {
              const all = opening.result.transaction('values').objectStore('values').getAllKeys();
              all.onerror = () => failed(all.error);
              all.onsuccess = () => {
                opening.result.close();
                done(all.result);
              };
            };
          });
          if (keys.some((key) => String(key).includes(name))) return true;
        }
        return false;
      }, name);
    await expect.poll(isKept, { message: `a kept value of ${name}` }).toBe(true);
  }

  /** The tab dies at once. One that is closed hears first that the network is back, where a test had taken it away, and sends. */
  async dies(): Promise<void> {
    const crashed = this.page.waitForEvent('crash');
    this.page.goto('chrome://crash').catch(() => undefined);
    await crashed;
    await this.page.close();
  }

  /** Forgets the requests made so far. */
  forgetCalls(): void {
    this.calls = [];
  }

  /** The requests since then, as `METHOD endpoint`. */
  made(): string[] {
    return this.calls.map(({ method, endpoint }) => `${method} ${endpoint}`);
  }

  /** The reads since then. */
  reads(): string[] {
    return this.made().filter((call) => call.startsWith('GET '));
  }
}
