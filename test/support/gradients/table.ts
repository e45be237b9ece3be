/** Turns a table of rows into tests: each row in each mode. */
import { describe, expect, it } from 'vitest';
import { isMeasured, measured } from './figures.ts';
import { type Case, check, modes, title } from './harness.ts';

export function gradientTable(family: string, rows: readonly Case[]): void {
  describe(`gradients of ${family}`, () => {
    for (const row of rows)
      it(title(row), () =>
        measured(isMeasured(row) ? [row.op] : [], async () => {
          const outcomes = [];
          for (const mode of row.modes ?? modes)
            outcomes.push(
              await check(row, mode).catch((error: unknown) => {
                throw new Error(`${mode}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
              }),
            );
          expect(outcomes.length).toBeGreaterThan(0);
        }),
      );
  });
}
