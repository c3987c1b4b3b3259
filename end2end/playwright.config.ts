import { defineConfig } from '@playwright/test';

// The server under test is started by ./server.ts, which puts its address into MILLSTREAM_URL.

export default defineConfig({
  testDir: './tests',
  outputDir: './test-results',
  globalSetup: './server.ts',
  fullyParallel: true,
  forbidOnly: !!process.env.CI,
  workers: 2,
  retries: 0,
  reporter: [['list'], ['./support/summary.ts']],
  timeout: 60_000,
  use: {
    baseURL: process.env.MILLSTREAM_URL,
    browserName: 'chromium',
    headless: true,
    screenshot: 'only-on-failure',
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
