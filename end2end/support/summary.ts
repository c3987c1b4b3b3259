// Says at the very end what failed and why, a line each: the list before it is long, and logs are often cut.

import fs from 'node:fs';
import path from 'node:path';
import type { FullConfig, Reporter, Suite, TestCase } from '@playwright/test/reporter';

const LOG = path.join(__dirname, '../test-results/server.log');

/** Of a reason so many characters are told; all of it stands further up. */
const TOLD = 1_500;

export default class Summary implements Reporter {
  private tests: TestCase[] = [];

  onBegin(_: FullConfig, suite: Suite): void {
    this.tests = suite.allTests();
  }

  onEnd(): void {
    const failed = this.tests.filter((test) => test.outcome() === 'unexpected');
    for (const test of failed) {
      console.log(`\nfailed: ${test.location.file}:${test.location.line} ${test.title}`);
      for (const error of test.results.flatMap((result) => result.errors)) {
        // Without the colours.
        const reason = (error.message ?? error.value ?? '').replace(/\u001b\[[0-9;]*m/g, '');
        console.log(reason.length > TOLD ? `${reason.slice(0, TOLD)}…` : reason);
      }
    }
    if (failed.length > 0 && fs.existsSync(LOG)) {
      const complaints = fs.readFileSync(LOG, 'utf8').split('\n').filter((line) => /WARN|ERROR|panicked/.test(line));
      console.log(`\nthe server's last complaints of ${complaints.length}:\n${complaints.slice(-5).join('\n')}`);
    }
  }
}
