// What stands before several servers over the suite's database, and sends each new connection to one of them.

import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type Program, start } from './program';

export class Servers {
  private constructor(
    private readonly temp: string,
    private readonly servers: Program[],
    private readonly balancer: net.Server,
    private chosen: Program,
    private readonly lines: Set<net.Socket>,
  ) {}

  /** Starts so many, and what stands before them; the first is chosen. */
  static async start(count: number): Promise<Servers> {
    const temp = fs.mkdtempSync(path.join(os.tmpdir(), 'millstream-e2e-'));
    const host = process.env.MILLSTREAM_SOCKETS;
    if (!host) throw new Error('MILLSTREAM_SOCKETS is not set: server.ts sets it');
    const database = `postgres://millstream@localhost/millstream?host=${encodeURIComponent(host)}`;
    const servers: Program[] = [];
    for (let n = 0; n < count; n += 1) {
      servers.push(await start({ DATABASE_URL: database }, path.join(temp, `${n}.log`), temp));
    }
    const lines = new Set<net.Socket>();
    const balancer = net.createServer((from) => {
      const to = net.connect(it.chosen.port, '127.0.0.1');
      for (const [line, other] of [[from, to], [to, from]] as const) {
        lines.add(line);
        line.on('close', () => lines.delete(line));
        line.on('error', () => other.destroy());
        line.pipe(other);
      }
    });
    const it = new Servers(temp, servers, balancer, servers[0], lines);
    await new Promise<void>((done) => balancer.listen(0, '127.0.0.1', done));
    return it;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.balancer.address() as net.AddressInfo).port}`;
  }

  /** From now on new connections go to this one. */
  choose(which: number): void {
    this.chosen = this.servers[which];
  }

  /** Asks it to end, as a deployment does, and waits for that. */
  async end(which: number): Promise<void> {
    await this.servers[which].stop();
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
    this.lines.forEach((line) => line.destroy());
    await new Promise((done) => this.balancer.close(done));
    fs.rmSync(this.temp, { recursive: true, force: true, maxRetries: 5 });
  }
}
