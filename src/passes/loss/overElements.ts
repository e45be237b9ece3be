/** Losses that compare element by element: means over all elements that count; the labels have the output's shape. */
import { badLoss } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { noLabel } from '../../graph/choices/losses.ts';
import { tensorType, Value } from '../../graph/model.ts';
import { shapeText } from '../../graph/shapeText.ts';
import { isStatic } from '../shapes/dims.ts';
import { separated } from './flattened.ts';
import type { LossFormula, LossSite } from './formula.ts';

/** The elements of a float32 output and their labels. */
export interface Elements {
  readonly z: Value;
  /** z is a probability, not a logit. */
  readonly isProbability: boolean;
  readonly labels: Value;
  /** The weight of the label 1, a scalar or one per column; undefined: 1. */
  readonly positive: Value | undefined;
  /** z - labels, 0 where a label does not count. */
  readonly d: Value;
  /** A value, 0 where a label does not count. */
  readonly counted: (v: Value) => Value;
  readonly one: Value;
  readonly params: LossSite['params'];
}

/** The loss of each element and its derivative with respect to z, both 0 where a label does not count. */
export type ElementFormula = (g: Builder, e: Elements) => readonly [each: Value, dz: Value];

export const squared: ElementFormula = (g, { d }) => [g.Mul(d, d), g.Mul(d, g.float(2))];

export const absolute: ElementFormula = (g, { d }) => [g.Abs(d), g.Sign(d)];

/** Delta 1: d·c - c²/2, with c = d clipped to ±1, is d²/2 inside and |d| - 1/2 outside. */
export const huber: ElementFormula = (g, { d, one }) => {
  const clipped = g.Clip(d, g.float(-1), one);
  return [g.Sub(g.Mul(d, clipped), g.Mul(g.Mul(clipped, clipped), g.float(0.5))), clipped];
};

/**
 * max(z, 0) - z·y + log(1 + exp(-|z|)), which no logit overflows. With a weight w of the label 1, as torch's
 * pos_weight: (1-y)·z + (1 + (w-1)·y)·(log(1 + exp(-|z|)) + max(-z, 0)).
 */
export const binaryCrossEntropy: ElementFormula = (g, e) => {
  const { z, labels, counted, one, positive } = e;
  if (e.isProbability) return ofProbability(g, e);
  const soft = g.Log(g.Add(one, g.Exp(g.Neg(g.Abs(z)))));
  if (positive === undefined) {
    const each = g.Add(g.Sub(g.Max([z, g.float(0)]), g.Mul(z, labels)), soft);
    return [counted(each), counted(g.Sub(g.Sigmoid(z), labels))];
  }
  const weight = g.Add(one, g.Mul(g.Sub(positive, one), labels));
  const each = g.Add(g.Mul(g.Sub(one, labels), z), g.Mul(weight, g.Add(soft, g.Max([g.Neg(z), g.float(0)]))));
  return [counted(each), counted(g.Sub(g.Mul(g.Sigmoid(z), weight), g.Mul(positive, labels)))];
};

/**
 * As torch.nn.BCELoss: logarithms are clamped at -100, and the derivative (p - y) / (p·(1-p)) has a denominator of at
 * least 1e-12.
 */
const ofProbability: ElementFormula = (g, { z: p, labels, counted, one, positive }) => {
  const log = (v: Value): Value => g.Max([g.Log(g.Max([v, g.float(0)])), g.float(-100)]);
  const rest = g.Sub(one, p);
  const ofOne = positive === undefined ? labels : g.Mul(labels, positive);
  const ofZero = g.Sub(one, labels);
  const each = g.Neg(g.Add(g.Mul(ofOne, log(p)), g.Mul(ofZero, log(rest))));
  const slope = positive === undefined ? g.Sub(p, labels) : g.Sub(g.Mul(p, g.Add(ofOne, ofZero)), ofOne);
  return [counted(each), counted(g.Div(slope, g.Max([g.Mul(p, rest), g.float(leastSpread)])))];
};
const leastSpread = 1e-12;

export const overElements =
  (formula: ElementFormula): LossFormula =>
  (g, { choice: { tensor, form }, options, params, labelName, merged }) => {
    const input = new Value(labelName, tensorType('float32', tensor.shape && separated(tensor.shape, merged)));
    const given = merged === undefined ? input : reshaped(g, input, tensor);
    const z = tensor.dtype === 'float32' ? tensor : g.Cast(tensor, { to: 1 });
    const counts = options.partly === true ? g.Less(given, g.float(noLabel)) : undefined;
    const counted = (v: Value): Value => (counts === undefined ? v : g.Where(counts, v, g.float(0)));
    const labels = smoothed(g, given, options.labelSmoothing);
    const positive = weightsOfOne(g, options.classWeights, tensor);
    const d = counted(g.Sub(z, labels));
    const one = g.float(1);
    const isProbability = form === 'probabilities';
    const [each, dz] = formula(g, { z, isProbability, labels, positive, d, counted, one, params });
    const weight = countOf(g, z, counts);
    const total = g.Max([weight, one]);
    const loss = g.Div(g.ReduceSum(each, undefined, { keepdims: 0 }), total);
    return { loss, weight, labels: input, seed: [tensor, g.Div(dz, total)] };
  };

/** Labels in the shape of the output. */
function reshaped(g: Builder, labels: Value, { name, shape = [] }: Value): Value {
  const rest = shape.slice(1);
  if (!isStatic(rest)) throw badLoss(`"${name}" ${shapeText(shape)} merges axes, and others are open`);
  return g.Reshape(labels, g.ints([-1, ...rest]));
}

/** y·(1-e) + e/2: the share e of each label is spread over 0 and 1 (tf.keras.losses.BinaryCrossentropy). */
const smoothed = (g: Builder, labels: Value, e: number): Value =>
  e === 0 ? labels : g.Add(g.Mul(labels, g.float(1 - e)), g.float(e / 2));

/** The weights of the label 1: one, or one per column, which is the last axis. Errors: BAD_LOSS for another number. */
function weightsOfOne(g: Builder, weights: readonly number[] | undefined, { name, shape }: Value): Value | undefined {
  if (weights === undefined) return undefined;
  const [only, ...more] = weights;
  if (only !== undefined && more.length === 0) return g.float(only);
  const columns = shape?.at(-1);
  if (typeof columns === 'number' ? columns !== weights.length : (shape?.length ?? 2) < 2)
    throw badLoss(
      `${weights.length} weights for the ${columns ?? 'unknown number of'} columns of "${name}": bce takes one for all, or one per column`,
    );
  return g.constant('float32', [weights.length], weights);
}

/** The number of counted elements, as a scalar. */
function countOf(g: Builder, z: Value, counts: Value | undefined): Value {
  if (counts !== undefined) return g.ReduceSum(g.Cast(counts, { to: 1 }), undefined, { keepdims: 0 });
  const size = z.shape?.reduce<number | undefined>(
    (n, s) => (typeof s === 'number' && n !== undefined ? n * s : undefined),
    1,
  );
  return size !== undefined ? g.float(size) : g.Cast(g.Size(z), { to: 1 });
}
