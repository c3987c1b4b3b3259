// The release build as a process: started with an address of its own, and stopped with whoever started it.

import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const START_LIMIT = 90_000;
const STOP_LIMIT = 20_000;

export interface Program {
  url: string;
  port: number;
  /** Asks it to end, and waits for that. */
  stop: () => Promise<void>;
}

/** Starts it with these settings, prints to `log`, and waits until it is ready. `temp` is removed if nobody is left to do it. */
export async function start(settings: NodeJS.ProcessEnv, log: string, temp: string): Promise<Program> {
  const dist = path.resolve(__dirname, '..', process.env.MILLSTREAM_DIST ?? '../dist');
  const program = path.join(dist, 'millstream');
  if (!fs.existsSync(program)) throw new Error(`${program} does not exist: run \`make release\` first`);
  const port = await freePort();
  const out = fs.openSync(log, 'a');
  const child = spawn(program, [], {
    cwd: dist,
    env: { ...foreignEnv(), ...settings, MILLSTREAM_ADDR: `127.0.0.1:${port}` },
    stdio: ['ignore', out, out],
  });
  fs.closeSync(out);
  let broken: Error | undefined; // it could not even be started
  child.on('error', (e) => (broken = e));

  // If this process ends without stopping it: tell the server to stop.
  const onExit = () => child.kill('SIGTERM');
  process.on('exit', onExit);
  // If this process is killed, it cannot do even that.
  if (child.pid !== undefined) watchdog(process.pid, child.pid, temp);
  const stop = async () => {
    process.off('exit', onExit);
    await terminate(child);
  };

  const url = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + START_LIMIT;
  for (;;) {
    if (await ready(url)) return { url, port, stop };
    const gone = broken?.message ?? (ended(child) ? `exit ${child.exitCode ?? child.signalCode}` : undefined);
    if (gone !== undefined || Date.now() > deadline) {
      const why = gone !== undefined ? `ended before it was ready (${gone})` : `was not ready after ${START_LIMIT / 1000} s`;
      await stop();
      throw new Error(`${program} ${why}. It printed:\n${fs.readFileSync(log, 'utf8') || '(nothing)'}`);
    }
    await sleep(100);
  }
}

// The environment without what concerns the server: it refuses variables that it does not know (those of the scripts and
// of this suite), and it must have a PostgreSQL of ours, whatever the shell's DATABASE_URL names: the tests write to it.
function foreignEnv(): NodeJS.ProcessEnv {
  const isForeign = (name: string) => name === 'MILLSTREAM_POSTGRES_BIN' || !/^(MILLSTREAM_|DATABASE_URL$)/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => isForeign(name)));
}

async function ready(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2000) });
    await answer.arrayBuffer();
    return answer.status === 200;
  } catch {
    return false;
  }
}

const ended = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

async function terminate(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || ended(child)) return;
  const exit = new Promise((done) => child.once('exit', done));
  child.kill('SIGTERM');
  if ((await Promise.race([exit.then(() => true), sleep(STOP_LIMIT, false, { ref: false })])) === true) return;
  console.error(`the server did not end within ${STOP_LIMIT / 1000} s of SIGTERM: killing it`);
  child.kill('SIGKILL');
  await exit;
}

// A shell of its own (so that it outlives this process and its group) that waits for either process
// to be gone. If the server is the one that is left, it is stopped.
function watchdog(parent: number, server: number, temp: string): void {
  const script = `
    while kill -0 "$1" 2>/dev/null; do
      kill -0 "$2" 2>/dev/null || exit 0
      sleep 1
    done
    kill -TERM "$2" 2>/dev/null
    for i in $(seq ${STOP_LIMIT / 1000}); do
      kill -0 "$2" 2>/dev/null || break
      sleep 1
    done
    kill -KILL "$2" 2>/dev/null
    rm -rf "$3"`;
  spawn('/bin/sh', ['-c', script, 'sh', String(parent), String(server), temp], {
    detached: true,
    stdio: 'ignore',
    cwd: '/',
  }).unref();
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = net.createServer();
    probe.on('error', fail);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as net.AddressInfo;
      probe.close(() => done(port));
    });
  });
}
