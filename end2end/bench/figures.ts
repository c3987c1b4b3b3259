// What a bench tells the table.

import { test } from '@playwright/test';
import { FIGURE, type Figure } from './table';

export function found(figure: Figure): void {
  test.info().annotations.push({ type: FIGURE, description: JSON.stringify(figure) });
}

/** The value below which this part of the times lies, for times in any order. */
export function quantile(times: number[], part: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}
