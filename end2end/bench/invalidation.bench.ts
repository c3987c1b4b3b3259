// How fast the client in wasm finds what a change makes stale: the code of benches/shared, the clock of the browser.

import { expect, test } from '@playwright/test';
import fs from 'node:fs';
import path from 'node:path';
import { found, quantile } from './figures';

const BUILT = path.resolve(__dirname, '../../target/bench-browser');
const ROUNDS = 20_000;

/** What the wasm gives (benches/browser/src/lib.rs). */
interface Bench {
  prepare_single(rounds: number): void;
  prepare_all(keys: number): void;
  run(): number;
  tell(): number;
  settle(): void;
}

for (const keys of [1_000, 10_000, 100_000]) {
  test(`among ${keys} watched keys`, async ({ page }) => {
    await page.route('http://localhost:39999/**', (route) => {
      const name = path.basename(new URL(route.request().url()).pathname);
      const types: Record<string, string> = { '.js': 'text/javascript', '.wasm': 'application/wasm' };
      const type = types[path.extname(name)];
      // Isolated from other sites, a page's clock is good to 5 µs, else to 100.
      const headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
      return type
        ? route.fulfill({ headers, contentType: type, body: fs.readFileSync(path.join(BUILT, name)) })
        : route.fulfill({ headers, contentType: 'text/html', body: '<!doctype html><title>bench</title>' });
    });
    await page.goto('http://localhost:39999/');
    const measured = await page.evaluate(
      async ({ keys, rounds }) => {
        const at = 'http://localhost:39999/bench_browser.js';
        const module = (await import(at)) as { default: () => Promise<unknown>; Bench: new (keys: number) => Bench };
        await module.default();
        const bench = new module.Bench(keys);
        bench.prepare_single(rounds);
        bench.run();
        bench.prepare_single(rounds);
        const begun = performance.now();
        const count = bench.run();
        const single = performance.now() - begun;
        const all: number[] = [];
        for (let round = 0; round < 15; round += 1) {
          bench.prepare_all(keys);
          const begun = performance.now();
          const told = bench.tell();
          all.push(performance.now() - begun);
          bench.settle();
          if (told !== keys) throw new Error(`${told} of ${keys} were asked for`);
        }
        return { count, single, all };
      },
      { keys, rounds: ROUNDS },
    );
    expect(measured.count).toBe(ROUNDS);
    const named = keys.toLocaleString('en');
    found({
      what: `wasm: one of ${named} watched keys changes`,
      target: keys === 10_000 ? '100,000/s' : '',
      measured: `${Math.round((ROUNDS / measured.single) * 1000).toLocaleString('en')}/s (${((measured.single / ROUNDS) * 1000).toFixed(2)} µs)`,
    });
    found({
      what: `wasm: all ${named} change at once`,
      target: keys === 10_000 ? '25 ms' : '',
      measured: `${quantile(measured.all, 0.5).toFixed(1)} ms (median of ${measured.all.length})`,
    });
  });
}
