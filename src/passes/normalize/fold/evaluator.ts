/** The type of an evaluator: one operator on small constants. */
import type { Node } from '../../../graph/model.ts';
import { type AttrsOf, attrsOf, type OpName } from '../../../graph/operators.ts';
import { numbersIn, type Small } from './small.ts';

/** undefined: too large, not exact, or an error that the runtime should report. */
export type Evaluator = (node: Node, inputs: readonly (Small | undefined)[]) => Small | undefined;
export type Entry = readonly [OpName, Evaluator];

/** An evaluator with typed attributes, for operators that need their first input. */
export function on<O extends OpName>(
  op: O,
  run: (attrs: AttrsOf<O>, x: Small, ...rest: (Small | undefined)[]) => Small | undefined,
): Entry {
  return [op, (node, [x, ...rest]) => (x === undefined ? undefined : run(attrsOf(node, op), x, ...rest))];
}

export const axisIn = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** The elements of an optional operand; undefined also if one is not exact. */
export const numbers = (s: Small | undefined): number[] | undefined =>
  s === undefined ? undefined : numbersIn(s.values);
