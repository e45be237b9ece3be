/** Losses that compare element by element: means over all elements that count; the labels have the output's shape. */
import type { Builder } from '../../graph/builder.ts';
import { noLabel } from '../../graph/ignoredLabel.ts';
import { tensorType, Value } from '../../graph/model.ts';
import type { LossFormula, LossSite } from './formula.ts';

/** The elements of a float32 output and their labels. */
export interface Elements {
  readonly z: Value;
  readonly labels: Value;
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

/** max(z, 0) - z·y + log(1 + exp(-|z|)), which no logit overflows. */
export const binaryCrossEntropy: ElementFormula = (g, { z, labels, counted, one }) => {
  const soft = g.Log(g.Add(one, g.Exp(g.Neg(g.Abs(z)))));
  const each = g.Add(g.Sub(g.Max([z, g.float(0)]), g.Mul(z, labels)), soft);
  return [counted(each), counted(g.Sub(g.Sigmoid(z), labels))];
};

export const overElements =
  (formula: ElementFormula): LossFormula =>
  (g, { choice: { tensor }, options, params, labelName }) => {
    const labels = new Value(labelName, tensorType('float32', tensor.shape));
    const z = tensor.dtype === 'float32' ? tensor : g.Cast(tensor, { to: 1 });
    const counts = options.partly === true ? g.Less(labels, g.float(noLabel)) : undefined;
    const counted = (v: Value): Value => (counts === undefined ? v : g.Where(counts, v, g.float(0)));
    const d = counted(g.Sub(z, labels));
    const one = g.float(1);
    const [each, dz] = formula(g, { z, labels, d, counted, one, params });
    const weight = countOf(g, z, counts);
    const total = g.Max([weight, one]);
    const loss = g.Div(g.ReduceSum(each, undefined, { keepdims: 0 }), total);
    return { loss, weight, labels, seed: [tensor, g.Div(dz, total)] };
  };

/** The number of counted elements, as a scalar. */
function countOf(g: Builder, z: Value, counts: Value | undefined): Value {
  if (counts !== undefined) return g.ReduceSum(g.Cast(counts, { to: 1 }), undefined, { keepdims: 0 });
  const size = z.shape?.reduce<number | undefined>(
    (n, s) => (typeof s === 'number' && n !== undefined ? n * s : undefined),
    1,
  );
  return size !== undefined ? g.float(size) : g.Cast(g.Size(z), { to: 1 });
}
