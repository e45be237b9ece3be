/** MatMuls and activations that ONNX Runtime's optimizer fuses with their neighbours. */
import { noGradient } from '../../../errors.ts';
import type { Value } from '../../../graph/model.ts';
import type { AttrsOf } from '../../../graph/operators.ts';
import { decompose, grad } from '../rules.ts';
import { geluGradient, swishSlope } from './activations.ts';
import type { G } from './attend.ts';

grad('com.microsoft.Gelu', ({ inputs: [x], dy, g }) => [geluGradient(g, x, dy, 'none')]);
grad('com.microsoft.BiasGelu', ({ inputs: [x, bias], dy, g }) => {
  const d = geluGradient(g, g.Add(x, bias), dy, 'none');
  return [d, d];
});
grad('com.microsoft.FastGelu', ({ inputs: [x, bias], dy, g }) => {
  const d = geluGradient(g, bias === undefined ? x : g.Add(x, bias), dy, 'tanh');
  return [d, bias === undefined ? undefined : d];
});
grad('com.microsoft.QuickGelu', ({ inputs: [x], attrs: { alpha }, dy, g }) => [g.Mul(dy, swishSlope(g, x, alpha))]);

/** The operand in the layout of a MatMul: transBatch means that the batch axes are between rows and columns. */
function operand(g: G, x: Value, trans: number, transBatch: number): Value {
  const n = g.rank(x);
  const batch = Array.from({ length: n - 2 }, (_, i) => i);
  const moved = transBatch === 1 && n > 2 ? g.Transpose(x, { perm: [...batch.map((i) => i + 1), 0, n - 1] }) : x;
  return trans === 1 ? g.T(moved) : moved;
}

decompose('com.microsoft.FusedMatMul', ({ inputs: [a, b], attrs, g }) => {
  const { alpha, transA, transB } = attrs;
  const rows = operand(g, a, transA, attrs.transBatchA);
  const [depth, width] = [g.length(b, transB), g.length(b, 1 - transB)];
  // A matrix is read in its stored layout: a frozen one is never transposed.
  if (g.rank(b) === 2 && g.rank(a) > 1) {
    const flat = g.Gemm(g.shaped(rows, [-1, depth]), b, undefined, { alpha, transB });
    return [g.shaped(flat, [...g.lengths(rows, 0, -1), width])];
  }
  const product = g.MatMul(rows, operand(g, b, transB, attrs.transBatchB));
  return [alpha === 1 ? product : g.Mul(product, g.like(product, alpha))];
});

/** Activations of FusedGemm, functions of x and up to three numbers. */
type Activation = (g: G, x: Value, by: AttrsOf<'com.microsoft.FusedGemm'>) => Value;
const times = (g: G, x: Value, factor: number | undefined): Value => g.Mul(x, g.like(x, factor ?? 1));
const activations: Readonly<Record<string, Activation>> = {
  // Expressed by Elu, which has more kernels: alpha·elu(x/alpha).
  Celu: (g, x, by) => times(g, g.Elu(times(g, x, 1 / (by.activation_alpha ?? 1))), by.activation_alpha),
  Elu: (g, x, by) => g.Elu(x, { alpha: by.activation_alpha }),
  HardSigmoid: (g, x, by) => g.HardSigmoid(x, { alpha: by.activation_alpha, beta: by.activation_beta }),
  LeakyRelu: (g, x, by) => g.LeakyRelu(x, { alpha: by.activation_alpha }),
  ParametricSoftplus: (g, x, by) => times(g, g.Softplus(times(g, x, by.activation_beta)), by.activation_alpha),
  Relu: (g, x) => g.Relu(x),
  ScaledTanh: (g, x, by) => times(g, g.Tanh(times(g, x, by.activation_beta)), by.activation_alpha),
  Selu: (g, x, by) => g.Selu(x, { alpha: by.activation_alpha, gamma: by.activation_gamma }),
  Sigmoid: (g, x) => g.Sigmoid(x),
  Softplus: (g, x) => g.Softplus(x),
  Softsign: (g, x) => g.Softsign(x),
  Tanh: (g, x) => g.Tanh(x),
  ThresholdedRelu: (g, x, by) => g.ThresholdedRelu(x, { alpha: by.activation_alpha }),
};

decompose('com.microsoft.FusedGemm', ({ node, inputs: [a, b, c], attrs, g }) => {
  const { activation = '', alpha, beta, transA, transB } = attrs;
  const act = activations[activation];
  if (act === undefined)
    throw noGradient(`FusedGemm with the activation "${activation}" has no gradient rule`, { node: node.label });
  return [act(g, g.Gemm(a, b, c, { alpha, beta, transA, transB }), attrs)];
});

/** Activations of FusedConv, of x and up to two numbers. */
const convActivations: Readonly<Record<string, (g: G, x: Value, by: readonly number[]) => Value>> = {
  Clip: (g, x, [low = 0, high = 0]) => g.Clip(x, g.like(x, low), g.like(x, high)),
  HardSigmoid: (g, x, [alpha, beta]) => g.HardSigmoid(x, { alpha, beta }),
  LeakyRelu: (g, x, [alpha]) => g.LeakyRelu(x, { alpha }),
  Relu: (g, x) => g.Relu(x),
  Sigmoid: (g, x) => g.Sigmoid(x),
  Tanh: (g, x) => g.Tanh(x),
};

/** Z is added before the activation. */
decompose('com.microsoft.FusedConv', ({ node, inputs: [x, w, b, z], attrs, g }) => {
  const { activation, activation_params: by = [], ...windows } = attrs;
  const act = activation === undefined ? (_: G, v: Value) => v : convActivations[activation];
  if (act === undefined)
    throw noGradient(`FusedConv with the activation "${activation}" has no gradient rule`, { node: node.label });
  const y = g.Conv(x, w, b, windows);
  return [act(g, z === undefined ? y : g.Add(y, z), by)];
});

/** The softmax runs over all axes from `axis` on, as before opset 13; only CUDA has a kernel. */
decompose('com.microsoft.BiasSoftmax', ({ inputs: [x, bias], attrs: { axis }, g }) => {
  const [sum, first] = [g.Add(x, bias), g.axis(x, axis)];
  if (first === g.rank(x) - 1) return [g.Softmax(sum, { axis: -1 })];
  const flat = g.shaped(sum, [...g.lengths(x, 0, first), g.times(...g.lengths(x, first))]);
  return [g.reshapeLike(g.Softmax(flat, { axis: -1 }), x)];
});
