/**
 * What the numeric checks found, by operator: how many rows it has, and a bound on their errors. `npm run figures` measures and records;
 * otherwise a row that is worse than what is recorded fails. The bound is three times the worst error, rounded up to one digit, since
 * roundings differ from one processor to the next.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { allRows } from '../../gradients/all.rows.ts';
import { controlRows } from '../../gradients/control.rows.ts';
import { extras } from '../../gradients/extras.rows.ts';
import { loopRows } from '../../gradients/loop.rows.ts';
import { type Case, onMeasured } from './harness.ts';

const schema = z.record(z.string(), z.object({ cases: z.number(), error: z.number() }));

/** By operator, as docs/operators.md shows them. */
export const figures: ReadonlyMap<string, { readonly cases: number; readonly error: number }> = new Map(
  Object.entries(
    schema.parse(JSON.parse(readFileSync(join(import.meta.dirname, '../../gradients/figures.json'), 'utf8'))),
  ),
);

/** Rows in float16 say how it rounds, not how good the rule is. */
export const isMeasured = (row: Case): boolean => row.refused === undefined && row.dtype !== 'float16';

/** The rows that the tables hold now. Internal operators and those that tests make are not counted. */
export function cases(): Map<string, number> {
  const counted = new Map<string, number>();
  const lists = [
    ...allRows.filter(isMeasured).map((row) => [row.op]),
    ...extras.filter((e) => e.forward !== true).map((e) => e.ops),
    ...[...controlRows, ...loopRows].map((row) => row.ops),
  ];
  for (const op of lists.flat()) if (counts(op)) counted.set(op, (counted.get(op) ?? 0) + 1);
  return new Map([...counted].sort());
}

const counts = (op: string): boolean => !op.startsWith('loraify.') && !op.startsWith('test.');

/** Runs the checks of one row, and holds their errors against the record of its operators. */
export async function measured(ops: readonly string[], run: () => Promise<unknown>): Promise<void> {
  let worst = 0;
  const stop = onMeasured((error) => {
    worst = Math.max(worst, error);
  });
  try {
    await run();
  } finally {
    stop();
  }
  const file = process.env.LORAIFY_FIGURES;
  for (const op of ops.filter(counts)) {
    if (file !== undefined) appendFileSync(file, `${JSON.stringify([op, worst])}\n`);
    else if (worst > (figures.get(op)?.error ?? 0))
      throw new Error(
        `${op}: error ${worst} is above the recorded ${figures.get(op)?.error}; npm run figures records anew`,
      );
  }
}
