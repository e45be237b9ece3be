/** Activation functions and other elementwise ones: the derivative alone. */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import { grad } from '../rules.ts';

/** `yes` where x > limit, else `no`. */
const above = (g: Builder, x: Value, limit: number, yes: Value, no: Value): Value =>
  g.Where(g.Greater(x, g.like(x, limit)), yes, no);

grad('Elu', ({ inputs: [x], outputs: [y], attrs: { alpha }, dy, g }) => [
  above(g, x, 0, dy, g.Mul(dy, g.Add(y, g.like(y, alpha)))),
]);
grad('Selu', ({ inputs: [x], outputs: [y], attrs: { alpha, gamma }, dy, g }) => [
  g.Mul(dy, above(g, x, 0, g.like(y, gamma), g.Add(y, g.like(y, alpha * gamma)))),
]);
// exp(x/alpha), 1 from 0 on: y/alpha + 1 where y is negative.
grad('Celu', ({ inputs: [x], outputs: [y], attrs: { alpha }, dy, g }) => [
  above(g, x, 0, dy, g.Mul(dy, g.Add(g.Div(y, g.like(y, alpha)), g.like(y, 1)))),
]);
grad('HardSigmoid', ({ outputs: [y], attrs: { alpha }, dy, g }) => {
  const inside = g.And(g.Greater(y, g.like(y, 0)), g.Less(y, g.like(y, 1)));
  return [g.Where(inside, g.Mul(dy, g.like(dy, alpha)), g.like(dy, 0))];
});
// x·clip(x/6 + 1/2, 0, 1)
grad('HardSwish', ({ inputs: [x], dy, g }) => {
  const inside = g.Mul(dy, g.Add(g.Mul(x, g.like(x, 1 / 3)), g.like(x, 0.5)));
  return [above(g, x, -3, above(g, x, 3, dy, inside), g.like(dy, 0))];
});
// x·tanh(softplus(x)) (Misra 2019)
grad('Mish', ({ inputs: [x], dy, g }) => {
  const t = g.Tanh(g.Softplus(x));
  return [g.Mul(dy, g.Add(t, g.Mul(g.Mul(x, g.Sigmoid(x)), g.Sub(g.like(x, 1), g.Mul(t, t)))))];
});
/** The derivative of x·s with s = sigmoid(alpha·x): s + alpha·x·s·(1 - s). */
export function swishSlope(g: Builder, x: Value, alpha: number): Value {
  const z = g.Mul(x, g.like(x, alpha));
  const s = g.Sigmoid(z);
  return g.Add(s, g.Mul(g.Mul(z, s), g.Sub(g.like(x, 1), s)));
}

grad('Swish', ({ inputs: [x], attrs: { alpha }, dy, g }) => [g.Mul(dy, swishSlope(g, x, alpha))]);
/** dx of x·P(x) with P the normal distribution, or its tanh form (Hendrycks, Gimpel 2016). */
export function geluGradient(g: Builder, x: Value, dy: Value, approximate: string): Value {
  const n = (value: number): Value => g.like(x, value);
  const square = (v: Value): Value => g.Mul(v, v);
  if (approximate !== 'tanh') {
    // (1 + erf(v) + v·(2/√π)·exp(-v²))/2 with v = x/√2; the factor 2/√π is moved into the exponent.
    const v = g.Mul(x, n(Math.SQRT1_2));
    const bell = g.Exp(g.Sub(n(Math.log(2 / Math.sqrt(Math.PI))), square(v)));
    return g.Mul(g.Mul(dy, g.Add(g.Add(g.Erf(v), n(1)), g.Mul(v, bell))), n(0.5));
  }
  // x·s with s = sigmoid(2v) = (1 + tanh(v))/2 and v = c·x + d·x³: s·(1 + (1 - s)·2x·v').
  const c = Math.sqrt(2 / Math.PI);
  const d = 0.044715 * c;
  const q = square(x);
  const s = g.Sigmoid(g.Mul(x, g.Add(g.Mul(q, n(2 * d)), n(2 * c))));
  const steep = g.Mul(x, g.Add(g.Mul(q, n(6 * d)), n(2 * c)));
  return g.Mul(dy, g.Mul(s, g.Add(g.Mul(g.Sub(n(1), s), steep), n(1))));
}

grad('Gelu', ({ inputs: [x], attrs: { approximate }, dy, g }) => [geluGradient(g, x, dy, approximate)]);
grad('PRelu', ({ inputs: [x, slope], dy, g }) => {
  const negative = g.Less(x, g.like(x, 0));
  return [g.Where(negative, g.Mul(dy, slope), dy), g.Where(negative, g.Mul(dy, x), g.like(dy, 0))];
});
grad('ThresholdedRelu', ({ inputs: [x], attrs: { alpha }, dy, g }) => [above(g, x, alpha, dy, g.like(dy, 0))]);
grad('Shrink', ({ inputs: [x], attrs: { lambd }, dy, g }) => [above(g, g.Abs(x), lambd, dy, g.like(dy, 0))]);
// x/(1 + |x|)
grad('Softsign', ({ inputs: [x], dy, g }) => {
  const d = g.Add(g.Abs(x), g.like(x, 1));
  return [g.Div(dy, g.Mul(d, d))];
});

grad('Tan', ({ outputs: [y], dy, g }) => [g.Mul(dy, g.Add(g.Mul(y, y), g.like(y, 1)))]);
grad('Asin', ({ inputs: [x], dy, g }) => [g.Div(dy, g.Sqrt(g.Sub(g.like(x, 1), g.Mul(x, x))))]);
grad('Acos', ({ inputs: [x], dy, g }) => [g.Neg(g.Div(dy, g.Sqrt(g.Sub(g.like(x, 1), g.Mul(x, x)))))]);
grad('Atan', ({ inputs: [x], dy, g }) => [g.Div(dy, g.Add(g.Mul(x, x), g.like(x, 1)))]);
// cosh = sqrt(1 + sinh²), which every provider has
grad('Sinh', ({ outputs: [y], dy, g }) => [g.Mul(dy, g.Sqrt(g.Add(g.Mul(y, y), g.like(y, 1))))]);
grad('Cosh', ({ inputs: [x], dy, g }) => [g.Mul(dy, g.Sinh(x))]);
grad('Asinh', ({ inputs: [x], dy, g }) => [g.Div(dy, g.Sqrt(g.Add(g.Mul(x, x), g.like(x, 1))))]);
grad('Acosh', ({ inputs: [x], dy, g }) => [g.Div(dy, g.Sqrt(g.Sub(g.Mul(x, x), g.like(x, 1))))]);
grad('Atanh', ({ inputs: [x], dy, g }) => [g.Div(dy, g.Sub(g.like(x, 1), g.Mul(x, x)))]);
// y = a - q·b with q constant almost everywhere
grad('Mod', ({ inputs: [a, b], outputs: [y], dy, g }) => [dy, g.Mul(dy, g.Div(g.Sub(y, a), b))]);

// start + i·delta; the walk sums over the elements.
grad('Range', ({ dy, g }) => [dy, undefined, g.Mul(dy, g.CastLike(g.Range(g.int(0), g.Size(dy), g.int(1)), dy))]);
// values = [off, on]
grad('OneHot', ({ inputs: [indices, depth, values], attrs: { axis }, dy, g }) => {
  const hot = g.OneHot(indices, depth, g.CastLike(g.constant('float32', [2], [0, 1]), values), { axis });
  const sum = (v: Value): Value => g.Reshape(g.ReduceSum(v), g.ints([1]));
  const on = sum(g.Mul(dy, hot));
  return [undefined, undefined, g.Concat([g.Sub(sum(dy), on), on], { axis: 0 })];
});
