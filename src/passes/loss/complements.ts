/** Constants of one number, and pairs of complementary probabilities. */
import type { Node, Value } from '../../graph/model.ts';
import { factsOf, opKey } from '../../graph/operators.ts';
import { numbersOf } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import { knownInts } from '../common/dimArithmetic.ts';

/** Constants above this size are not read. */
export const mostBytes = 1 << 12;

/** Whether a Concat has two entries along its axis: 1 - p and p. */
export function complements({ inputs: [a, b, ...more] }: Node, axis: number): boolean {
  if (a === undefined || b === undefined || more.length > 0) return false;
  return a.shape?.[axis] === 1 && b.shape?.[axis] === 1 && (isComplement(a, b) || isComplement(b, a));
}

/** Whether `a` is 1 - b, possibly both behind the same views. */
export function isComplement(a: Value, b: Value): boolean {
  const [m, n] = [a.producer, b.producer];
  if (m === undefined) return false;
  if (opKey(m) === 'Sub' && constantOf(m.inputs[0]) === 1 && m.inputs[1] === b) return true;
  if (n === undefined || opKey(m) !== opKey(n) || factsOf(m)?.kind !== 'view') return false;
  const [x, ...rest] = m.inputs;
  const [y, ...others] = n.inputs;
  const same = rest.every((v, i) => v === others[i] || knownInts(v)?.join() === (knownInts(others[i])?.join() ?? ''));
  return same && x !== undefined && y !== undefined && isComplement(x, y);
}

/** The number that all elements of a constant are. */
export function constantOf(v: Value | undefined): number | undefined {
  const tensor = v === undefined ? undefined : constantTensor(v);
  const list = tensor === undefined || tensor.byteLength > mostBytes ? undefined : numbersOf(tensor);
  return list?.every((n) => n === list[0]) === true ? list[0] : undefined;
}
