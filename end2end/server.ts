// Playwright's global setup: starts the release build with an empty data folder and demo accounts,
// and returns what stops it again.
//
//   MILLSTREAM_DIST     in: the folder with the program `millstream` (default ../dist)
//   MILLSTREAM_URL      out: the server's address, e.g. http://127.0.0.1:40123
//   MILLSTREAM_SOCKETS  out: the folder with its PostgreSQL's socket, for `psql --host`
//   MILLSTREAM_LOG      out: the file with what the server printed (kept as test-results/server.log)

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as program from './support/program';

export default async function start(): Promise<() => Promise<void>> {
  // Traversable by others: run as root, the server hands its database to another user.
  const temp = fs.mkdtempSync(path.join(os.tmpdir(), 'millstream-e2e-'));
  fs.chmodSync(temp, 0o755);
  const data = path.join(temp, 'data');
  fs.mkdirSync(data);
  fs.chmodSync(data, 0o755);
  const log = path.join(temp, 'server.log');
  const keepLog = () => {
    const results = path.join(__dirname, 'test-results');
    fs.mkdirSync(results, { recursive: true });
    if (fs.existsSync(log)) fs.copyFileSync(log, path.join(results, 'server.log'));
    fs.rmSync(temp, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const server = await program.start({ MILLSTREAM_DATA_DIR: data, MILLSTREAM_DEMO: '1' }, log, temp);
    process.env.MILLSTREAM_URL = server.url;
    process.env.MILLSTREAM_SOCKETS = sockets(data);
    process.env.MILLSTREAM_LOG = log;
    return async () => {
      await server.stop();
      keepLog();
    };
  } catch (why) {
    keepLog();
    throw why;
  }
}

// A long path would not fit into a socket's address, so the server may have put it elsewhere: PostgreSQL notes where.
function sockets(data: string): string {
  const noted = fs.readFileSync(path.join(data, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[4];
  if (!noted) throw new Error("PostgreSQL's postmaster.pid does not name the folder of its socket");
  return noted;
}
