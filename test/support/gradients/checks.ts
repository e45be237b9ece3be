/** Every numeric check of a gradient: rows of the tables, what lies beside them, and control flow. */
import { allRows, tables } from '../../gradients/all.rows.ts';
import { controlRows, exceptions as ofControl } from '../../gradients/control.rows.ts';
import { exceptions as ofCustomGradients } from '../../gradients/customGradient.rows.ts';
import { extras, exceptions as ofExtras } from '../../gradients/extras.rows.ts';
import { loopRows, exceptions as ofLoop } from '../../gradients/loop.rows.ts';
import { exceptions as ofUnexecuted } from '../../gradients/unexecuted.rows.ts';
import { checkControl } from './controlFlow.ts';
import { bound, type Figure, hasFigure, isMeasured, worstError } from './figures.ts';
import { check, inModes, title } from './harness.ts';
import type { Exceptions } from './tables.ts';

interface NumericCheck {
  readonly is: string;
  /** Operators whose rules it checks. */
  readonly ops: readonly string[];
  readonly run: () => Promise<unknown>;
}

/** Checks whose errors are recorded. */
export const checks: readonly NumericCheck[] = [
  ...allRows.filter(isMeasured).map((row) => ({ is: title(row), ops: [row.op], run: () => inModes(row, check) })),
  ...extras.filter((e) => e.forward !== true),
  ...[...controlRows, ...loopRows].map((row) => ({ ...row, run: () => inModes(row, checkControl) })),
];

/** Reasons why an operator has not what the tests make for every operator. */
export const exceptions: Exceptions = Object.assign(
  {},
  ...tables.map((t) => t.exceptions),
  ofControl,
  ofLoop,
  ofExtras,
  ofUnexecuted,
  ofCustomGradients,
);

/** How many checks each operator has. */
export function cases(): Map<string, number> {
  const counted = new Map<string, number>();
  for (const op of checks.flatMap((c) => c.ops)) if (hasFigure(op)) counted.set(op, (counted.get(op) ?? 0) + 1);
  return counted;
}

/** Runs the checks of these operators, by name or key, or of all; what is to be recorded. */
export async function measure(names: readonly string[]): Promise<Map<string, Figure>> {
  const wanted = (op: string): boolean =>
    hasFigure(op) && (names.length === 0 || names.includes(op) || names.includes(op.slice(op.lastIndexOf('.') + 1)));
  const found = new Map<string, Figure>();
  for (const { is, ops, run } of checks) {
    const keys = ops.filter(wanted);
    if (keys.length === 0) continue;
    const worst = await worstError(run).catch((error: unknown) => {
      throw new Error(`${is}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    });
    for (const key of keys) {
      const before = found.get(key) ?? { cases: 0, error: 0 };
      found.set(key, { cases: before.cases + 1, error: Math.max(before.error, worst) });
    }
  }
  for (const name of names)
    if (![...found.keys()].some((key) => key === name || key.endsWith(`.${name}`)))
      throw new Error(`no numeric row checks ${name}: add one to the table of its family, test/gradients/*.rows.ts`);
  return new Map([...found].map(([key, { cases, error }]) => [key, { cases, error: bound(error) }]));
}
