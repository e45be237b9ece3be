/** Sigmoid, softmax and their logarithms in primitive operators. */
import type { Node, Value } from '../../graph/model.ts';
import { numberAttr, opKey } from '../../graph/operators.ts';
import { numbersOf } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import { knownInts } from '../common/dimArithmetic.ts';
import { axisOf } from './classAxis.ts';

/** The argument of a sigmoid; `negated`: of its mirror image. */
export interface SigmoidInput {
  readonly z: Value;
  readonly negated: boolean;
}

export interface SoftmaxInput {
  readonly z: Value;
  readonly axis: number;
}

const made = (v: Value | undefined, op: string): Node | undefined =>
  v?.producer !== undefined && opKey(v.producer) === op ? v.producer : undefined;

/** Whether a value is a constant of one element with this number. */
const is = (v: Value | undefined, n: number): boolean => numberIn(v) === n;
function numberIn(v: Value | undefined): number | undefined {
  const tensor = v === undefined ? undefined : constantTensor(v);
  const list = tensor === undefined || tensor.dims.some((d) => d !== 1) ? undefined : numbersOf(tensor);
  return list?.[0];
}

/** The other operand of a node with two, where one is this constant. */
function beside(node: Node | undefined, n: number): Value | undefined {
  const [a, b] = node?.inputs ?? [];
  return is(a, n) ? b : is(b, n) ? a : undefined;
}

/** -x of a value that is written as one. */
function negatedOf(v: Value): Value | undefined {
  return made(v, 'Neg')?.inputs[0] ?? beside(made(v, 'Mul'), -1) ?? halfOf(v, -1);
}
const halfOf = (v: Value, by: number): Value | undefined => {
  const node = made(v, 'Div');
  return node !== undefined && is(node.inputs[1], by) ? node.inputs[0] : undefined;
};

/** The argument of a sigmoid in primitive operators: 1 / (1 + exp(-z)), exp(z) / (1 + exp(z)), (1 + tanh(z/2)) / 2. */
export function sigmoidOf(v: Value): SigmoidInput | undefined {
  const [numerator, denominator] = quotient(v) ?? [];
  const exp = made(beside(made(denominator, 'Add'), 1), 'Exp');
  const u = exp?.inputs[0];
  if (u !== undefined && numerator === 'one') {
    const z = negatedOf(u);
    return z === undefined ? { z: u, negated: true } : { z, negated: false };
  }
  if (u !== undefined && numerator === exp?.outputs[0]) return { z: u, negated: false };
  return ofTanh(v);
}

function ofTanh(v: Value): SigmoidInput | undefined {
  const sum = beside(made(v, 'Mul'), 0.5) ?? halfOf(v, 2);
  const half = beside(made(v, 'Add'), 0.5);
  const tanh = made(sum === undefined ? beside(made(half, 'Mul'), 0.5) : beside(made(sum, 'Add'), 1), 'Tanh');
  const u = tanh?.inputs[0];
  const z = u === undefined ? undefined : (beside(made(u, 'Mul'), 0.5) ?? halfOf(u, 2));
  return z === undefined ? undefined : { z, negated: false };
}

/** Numerator and denominator of a quotient, also of a product with a reciprocal. */
function quotient(v: Value): readonly [Value | 'one', Value] | undefined {
  const div = made(v, 'Div');
  const [a, b] = div?.inputs ?? [];
  if (a !== undefined && b !== undefined) return [is(a, 1) ? 'one' : a, b];
  const inverse = made(v, 'Reciprocal')?.inputs[0] ?? powered(v);
  if (inverse !== undefined) return ['one', inverse];
  const [x, y] = made(v, 'Mul')?.inputs ?? [];
  for (const [p, q] of [
    [x, y],
    [y, x],
  ]) {
    const by = made(q, 'Reciprocal')?.inputs[0] ?? (q === undefined ? undefined : powered(q));
    if (p !== undefined && by !== undefined) return [p, by];
  }
  return undefined;
}
const powered = (v: Value): Value | undefined => {
  const node = made(v, 'Pow');
  return node !== undefined && is(node.inputs[1], -1) ? node.inputs[0] : undefined;
};

/** The logits of a softmax in primitive operators: exp(z) / sum(exp(z)), or exp(z - log sum exp z). */
export function softmaxOf(v: Value): SoftmaxInput | undefined {
  const log = made(v, 'Exp')?.inputs[0];
  const written = log === undefined ? undefined : logSoftmaxOf(log);
  if (written !== undefined) return written;
  const [numerator, denominator] = quotient(v) ?? [];
  if (numerator === undefined || numerator === 'one' || denominator === undefined) return undefined;
  const exp = made(numerator, 'Exp');
  const axis = reducedAxis(denominator, 'ReduceSum', numerator);
  const [x] = exp?.inputs ?? [];
  return x === undefined || axis === undefined ? undefined : { z: unshifted(x, axis), axis };
}

/** The logits of a log-softmax in primitive operators: z - log(sum(exp(z))), z - ReduceLogSumExp(z). */
export function logSoftmaxOf(v: Value): SoftmaxInput | undefined {
  const [x, log] = made(v, 'Sub')?.inputs ?? [];
  if (x === undefined || log === undefined) return undefined;
  const direct = reducedAxis(log, 'ReduceLogSumExp', x);
  if (direct !== undefined) return { z: unshifted(x, direct), axis: direct };
  const total = made(log, 'Log')?.inputs[0];
  const exp = total === undefined ? undefined : summand(total);
  if (total === undefined || exp === undefined || made(exp, 'Exp')?.inputs[0] !== x) return undefined;
  const axis = reducedAxis(total, 'ReduceSum', exp);
  return axis === undefined ? undefined : { z: unshifted(x, axis), axis };
}

const summand = (total: Value): Value | undefined =>
  (made(total, 'ReduceSum') ?? made(made(total, 'Unsqueeze')?.inputs[0], 'ReduceSum'))?.inputs[0];

/** z of z - max(z): a number that is the same for all classes changes no softmax. */
function unshifted(x: Value, axis: number): Value {
  const [z, shift] = made(x, 'Sub')?.inputs ?? [];
  if (z === undefined || shift === undefined || z.shape === undefined) return x;
  const max = reducedAxis(shift, 'ReduceMax', z);
  return max === axis ? z : x;
}

/** The one axis along which `v` reduces `x`, with that axis kept as 1. */
function reducedAxis(v: Value, op: string, x: Value): number | undefined {
  const unsqueezed = made(v, 'Unsqueeze');
  const node = made(v, op) ?? made(unsqueezed?.inputs[0], op);
  if (node === undefined || node.inputs[0] !== x) return undefined;
  const rank = x.shape?.length;
  const axes = knownInts(node.inputs[1]);
  const [axis] = axes ?? [];
  if (rank === undefined || axis === undefined || axes?.length !== 1) return undefined;
  const at = axisOf(axis, rank);
  const kept = numberAttr(node, 'keepdims') !== 0;
  if (kept) return unsqueezed === undefined ? at : undefined;
  const again = knownInts(unsqueezed?.inputs[1])?.[0];
  return again !== undefined && axisOf(again, rank) === at ? at : undefined;
}

/**
 * The axis along which `by` is the sum of `x`. scikit-learn's calibrated classifiers guard a sum of 0 with a mask m:
 * (p + m) / (sum(p) + n·m).
 */
export function sumsOver(by: Value, x: Value): number | undefined {
  const plain = reducedAxis(by, 'ReduceSum', x) ?? reducedAxis(by, 'ReduceL1', x);
  if (plain !== undefined) return plain;
  const [p, m] = made(x, 'Add')?.inputs ?? [];
  const [total, masked] = made(by, 'Add')?.inputs ?? [];
  const [mask, count] = made(masked, 'Mul')?.inputs ?? [];
  if (p === undefined || total === undefined || mask === undefined || mask !== m) return undefined;
  const axis = reducedAxis(total, 'ReduceSum', p);
  return axis !== undefined && numberIn(count) === p.shape?.[axis] ? axis : undefined;
}
