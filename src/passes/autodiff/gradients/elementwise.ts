/** Elementwise operators. Each rule is the derivative alone; the walk sums over broadcast axes. */

import { numbersOf } from '../../../graph/tensor.ts';
import { grad, stop } from '../rules.ts';

grad('Identity', ({ dy }) => [dy]);
grad('Add', ({ dy }) => [dy, dy]);
grad('Sub', ({ dy, g }) => [dy, g.Neg(dy)]);
grad('Mul', ({ inputs: [a, b], dy, g }) => [g.Mul(dy, b), g.Mul(dy, a)]);
grad('Div', ({ inputs: [, b], outputs: [y], dy, g }) => {
  const da = g.Div(dy, b);
  return [da, g.Neg(g.Mul(da, y))];
});
grad('Neg', ({ dy, g }) => [g.Neg(dy)]);
grad('Sum', ({ inputs, dy }) => inputs.map(() => dy));
grad('Mean', ({ inputs, dy, g }) => {
  const share = g.Mul(dy, g.like(dy, 1 / inputs.length));
  return inputs.map(() => share);
});

// x^e: e·x^(e-1) to the base; x^e·ln x to the exponent, where x > 0 (elsewhere the derivative does not exist).
grad('Pow', ({ inputs: [x, e], outputs: [y], dy, g }) => {
  const fixed = e.tensor === undefined || e.tensor.byteLength > 8 ? undefined : numbersOf(e.tensor);
  const n = fixed?.length === 1 ? fixed[0] : undefined;
  if (n === 1) return [dy];
  if (n === 2) return [g.Mul(dy, g.Mul(x, g.like(x, 2)))];
  if (n !== undefined) return [g.Mul(dy, g.Mul(g.Pow(x, g.like(x, n - 1)), g.like(x, n)))];
  const exponent = e.dtype === x.dtype ? e : g.CastLike(e, x);
  const log = g.Log(g.Where(g.Greater(x, g.like(x, 0)), x, g.like(x, 1)));
  return [g.Mul(dy, g.Mul(exponent, g.Pow(x, g.Sub(exponent, g.like(x, 1))))), g.Mul(dy, g.Mul(y, log))];
});
grad('Sqrt', ({ outputs: [y], dy, g }) => [g.Div(g.Mul(dy, g.like(y, 0.5)), y)]);
grad('Exp', ({ outputs: [y], dy, g }) => [g.Mul(dy, y)]);
grad('Log', ({ inputs: [x], dy, g }) => [g.Div(dy, x)]);
grad('Reciprocal', ({ outputs: [y], dy, g }) => [g.Neg(g.Mul(dy, g.Mul(y, y)))]);
grad('Sin', ({ inputs: [x], dy, g }) => [g.Mul(dy, g.Cos(x))]);
grad('Cos', ({ inputs: [x], dy, g }) => [g.Neg(g.Mul(dy, g.Sin(x)))]);
grad('Abs', ({ inputs: [x], dy, g }) => [g.Mul(dy, g.Sign(x))]);
// erf'(x) = 2/sqrt(pi)·exp(-x²)
grad('Erf', ({ inputs: [x], dy, g }) => [
  g.Mul(dy, g.Mul(g.Exp(g.Neg(g.Mul(x, x))), g.like(x, 2 / Math.sqrt(Math.PI)))),
]);
grad('Tanh', ({ outputs: [y], dy, g }) => [g.Mul(dy, g.Sub(g.like(y, 1), g.Mul(y, y)))]);
grad('Sigmoid', ({ outputs: [y], dy, g }) => [g.Mul(dy, g.Mul(y, g.Sub(g.like(y, 1), y)))]);
grad('Relu', ({ outputs: [y], dy, g }) => [g.Where(g.Greater(y, g.like(y, 0)), dy, g.like(y, 0))]);
grad('LeakyRelu', ({ inputs: [x], attrs: { alpha }, dy, g }) => [
  g.Where(g.Greater(x, g.like(x, 0)), dy, g.Mul(dy, g.like(x, alpha))),
]);
grad('Softplus', ({ inputs: [x], dy, g }) => [g.Mul(dy, g.Sigmoid(x))]);

// Ties share the gradient, as in torch.maximum and amax.
for (const op of ['Max', 'Min'] as const)
  grad(op, ({ inputs, outputs: [y], dy, g }) => {
    const hits = inputs.map((x) => g.CastLike(g.Equal(x, y), dy));
    const share = g.Div(
      dy,
      hits.reduce((a, b) => g.Add(a, b)),
    );
    return hits.map((hit) => g.Mul(share, hit));
  });

grad('Clip', ({ inputs: [x, low, high], dy, g }) => {
  const above = low === undefined ? undefined : g.GreaterOrEqual(x, low);
  const below = high === undefined ? undefined : g.LessOrEqual(x, high);
  const inside = above !== undefined && below !== undefined ? g.And(above, below) : (above ?? below);
  const zero = g.like(x, 0);
  return [
    inside === undefined ? dy : g.Where(inside, dy, zero),
    above === undefined ? undefined : g.Where(above, zero, dy),
    below === undefined ? undefined : g.Where(below, zero, dy),
  ];
});
grad('Where', ({ inputs: [c], dy, g }) => [undefined, g.Where(c, dy, g.like(dy, 0)), g.Where(c, g.like(dy, 0), dy)]);
grad('CastLike', ({ inputs: [x], dy, g }) => [g.CastLike(dy, x)]);
// Inference form: the upgrade pass made it an identity; this rule covers a Dropout with a mask output.
grad('Dropout', ({ dy }) => [dy]);

stop('true or false', ['And', 'Or', 'Xor', 'Not', 'Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual']);
stop('true or false', ['IsNaN', 'IsInf', 'OptionalHasElement']);
stop('bits, not numbers', ['BitShift', 'BitwiseAnd', 'BitwiseNot', 'BitwiseOr', 'BitwiseXor', 'BitCast']);
stop('piecewise constant: the derivative is zero wherever there is one', ['Floor', 'Ceil', 'Round', 'Sign', 'Hardmax']);
stop('a shape or a count, whatever the values', ['Shape', 'Size', 'SequenceLength', 'ConstantOfShape', 'EyeLike']);
stop('a constant', ['Constant', 'BlackmanWindow', 'HammingWindow', 'HannWindow', 'MelWeightMatrix']);
stop('positions', ['NonZero', 'ArgMax', 'ArgMin', 'NonMaxSuppression']);
stop('drawn at random', ['Multinomial', 'Bernoulli']);
stop('drawn at random', ['RandomNormal', 'RandomNormalLike', 'RandomUniform', 'RandomUniformLike']);
stop('integers of a scale of their own', ['QLinearConv', 'QLinearMatMul']);
stop('text', ['StringConcat', 'StringNormalizer', 'StringSplit', 'RegexFullMatch', 'TfIdfVectorizer']);
stop('bytes of a file', ['ImageDecoder']);
