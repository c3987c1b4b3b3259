// The database behind the server, changed and asked with plain SQL as an administrator would: by `psql`, past the
// application, as the owner whom no policy binds.

import { spawn } from 'node:child_process';

type Values = Record<string, string | number>;

/** Runs statements with `psql` and gives what it prints. Values are written `:'name'` in the text. */
export function psql(text: string, values: Values = {}): Promise<string> {
  const host = process.env.MILLSTREAM_SOCKETS;
  if (!host) throw new Error('MILLSTREAM_SOCKETS is not set: server.ts sets it');
  const named = Object.entries(values).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
  // From standard input: in `--command` psql puts no values in.
  const wanted = ['--host', host, '--username', 'millstream', '--dbname', 'millstream', '--file', '-'];
  const options = ['--no-psqlrc', '--quiet', '--no-align', '--tuples-only', '--set', 'ON_ERROR_STOP=1'];
  return new Promise((done, fail) => {
    const child = spawn('psql', [...options, ...named, ...wanted]);
    let printed = '';
    let complained = '';
    child.stdout.on('data', (part) => (printed += part));
    child.stderr.on('data', (part) => (complained += part));
    child.on('error', fail);
    child.on('close', (code) => {
      if (code === 0) done(printed.trim());
      else fail(new Error(`psql: ${complained.trim()}\n${text}`));
    });
    child.stdin.end(text);
  });
}

/** The rows of one query. */
export async function rows<T>(query: string, values: Values = {}): Promise<T[]> {
  return JSON.parse(await psql(`select coalesce(json_agg(q), '[]') from (${query}) q;`, values)) as T[];
}
