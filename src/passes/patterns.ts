/** What passes ask that look for several nodes which are one function. */
import type { Node, Value } from '../graph/model.ts';
import { numbersOf } from '../graph/tensor.ts';

/** The node of the standard's operator that makes a value; undefined where another one does, or none. */
export function madeBy(v: Value | undefined, op: string): Node | undefined {
  const node = v?.producer;
  return node?.op === op && node.domain === '' ? node : undefined;
}

/** The number of a constant of rank 0, which changes no shape. */
export const scalarOf = (v: Value | undefined): number | undefined =>
  v?.tensor?.dims.length === 0 ? numbersOf(v.tensor)?.[0] : undefined;
