import { defineConfig } from '@playwright/test';
import tests from './playwright.config';

// `make bench-browser`: what is measured in a browser. One after the other, so that nothing else is measured with it; and
// nothing here fails for being slow: the figures go to BENCHMARKS.md.

export default defineConfig({
  ...tests,
  testDir: './bench',
  testMatch: '*.bench.ts',
  fullyParallel: false,
  workers: 1,
  reporter: './bench/table.ts',
  timeout: 240_000,
  globalTimeout: 20 * 60_000,
  use: { ...tests.use, screenshot: 'off', trace: 'off' },
});
