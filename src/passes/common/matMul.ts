/** Nodes around a MatMul that can become a part of it: a Transpose before it, a scalar factor behind it. */
import type { Node, Value } from '../../graph/model.ts';
import { any, constant, isScalar, oneOf, op } from './pattern.ts';
import { type Match, pattern } from './patternSearch.ts';

/** Whether a Transpose exchanges its last two axes and no others. */
export function swapsLast({ attrs, inputs: [x] }: Node): boolean {
  const rank = x?.shape?.length;
  const perm = attrs.get('perm');
  if (rank === undefined || rank < 2) return false;
  const wanted = Array.from({ length: rank }, (_, i) => (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i));
  return perm?.kind === 'ints' ? perm.value.map(Number).join() === wanted.join() : rank === 2;
}

const [y, by] = [any('y').once, constant('by', isScalar)];
const factor = pattern('scalar factor', oneOf(op.Mul(y, by), op.Div(y, by)));

/** The node that alone reads a value and multiplies or divides it by a scalar constant, and that constant. */
export const factorBehind = (value: Value): Match<{ readonly by: Value }> | undefined => factor.behind('y', value);
