// Prints what the benches have found as one table.

import type { FullResult, Reporter, TestCase, TestResult } from '@playwright/test/reporter';
import os from 'node:os';

/** One line of the table; a bench reports it with `found`. */
export interface Figure {
  what: string;
  target: string;
  measured: string;
}

/** The name of the annotations that carry figures to the table. */
export const FIGURE = 'figure';

export default class Table implements Reporter {
  private readonly figures: Figure[] = [];

  onTestEnd(test: TestCase, result: TestResult): void {
    for (const { type, description } of result.annotations) {
      if (type === FIGURE && description) this.figures.push(JSON.parse(description) as Figure);
    }
    if (result.status !== 'passed') {
      console.error(`${test.title}: ${result.status}\n${result.errors.map((error) => error.stack ?? error.message ?? '').join('\n')}`);
    }
  }

  onEnd(result: FullResult): void {
    const cpus = os.cpus();
    console.log(`\n${new Date().toISOString()}, ${cpus.length} × ${cpus[0]?.model ?? 'unknown'}, load ${os.loadavg()[0].toFixed(2)}\n`);
    const rows = [{ what: 'what', target: 'to reach', measured: 'measured' }, ...this.figures];
    const width = (column: keyof Figure) => Math.max(...rows.map((row) => row[column].length));
    const [what, target] = [width('what'), width('target')];
    for (const row of rows) console.log(`${row.what.padEnd(what)}  ${row.target.padEnd(target)}  ${row.measured}`);
    console.log(`\n${result.status}, ${(result.duration / 1000).toFixed(0)} s`);
  }
}
