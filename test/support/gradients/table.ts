/** Turns a table of rows into tests: each row in each mode. */
import { describe, expect, it } from 'vitest';
import { isMeasured, measured } from './figures.ts';
import { check, inModes, title } from './harness.ts';
import { completeRows, type Table } from './tables.ts';

export function gradientTable(family: string, table: Table): void {
  describe(`gradients of ${family}`, () => {
    for (const row of completeRows(table))
      it(title(row), () =>
        measured(isMeasured(row) ? [row.op] : [], async () => {
          expect((await inModes(row, check)).length).toBeGreaterThan(0);
        }),
      );
  });
}
