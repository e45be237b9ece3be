/** Tables of numeric rows, completed by rows with an empty batch. */
import type { OpKey } from '../../../src/graph/operators.ts';
import type { Arg, Case } from './harness.ts';

/** Reasons why an operator lacks a test that is made for every operator, and where that test ends. */
export interface Exception {
  /** No row with a length of 0. */
  readonly empty?: string;
  /** Not in random graphs. */
  readonly random?: string;
  /** In random graphs before this operator set, the first one that ONNX Runtime 1.30 has no kernel for. */
  readonly before?: number;
}
export type Exceptions = { readonly [op in OpKey | `loraify.${string}`]?: Exception };

/** What a file of numeric rows exports. */
export interface Table {
  readonly rows: readonly Case[];
  readonly exceptions?: Exceptions;
}

/**
 * The row with an empty batch: the first axis of the first input gets length 0, and so does that axis wherever another input has
 * the same length there (floats only in the same rank: a vector beside a matrix is a bias or a scale).
 */
function emptied(row: Case): Case | undefined {
  const [x] = row.in;
  const batch = x?.shape[0];
  if (x === undefined || batch === undefined || batch < 2 || row.refused !== undefined || row.dtype === 'float16')
    return undefined;
  const shares = (a: Arg): boolean =>
    !a.fixed && a.shape[0] === batch && (a.kind !== 'float' || a.shape.length === x.shape.length);
  const cut = (a: Arg): Arg => ({
    ...a,
    shape: [0, ...a.shape.slice(1)],
    values: typeof a.values === 'function' ? a.values : [],
  });
  const inputs = row.in.map((a) => (a !== undefined && shares(a) ? cut(a) : a));
  return inputs[0]?.shape[0] === 0 ? { ...row, in: inputs, is: 'empty batch' } : undefined;
}

export const hasEmptyInput = (row: Case): boolean => row.in.some((a) => a?.shape.includes(0));

/** The rows, and for each operator without a length of 0 in any of them a row made from the first one that has a batch. */
export function completeRows({ rows, exceptions = {} }: Table): Case[] {
  const done = new Set(rows.filter(hasEmptyInput).map((row) => row.op));
  const more = rows.flatMap((row) => {
    const empty = done.has(row.op) || exceptions[row.op]?.empty !== undefined ? undefined : emptied(row);
    if (empty === undefined) return [];
    done.add(row.op);
    return [empty];
  });
  return [...rows, ...more];
}
