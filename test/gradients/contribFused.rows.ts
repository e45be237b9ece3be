/** Fused products and activations; most kernels are float32. */
import { type Case, f, int32, offZero } from '../support/gradients/harness.ts';

const row =
  (op: Case['op'], base: Partial<Case> = {}) =>
  (inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
    op,
    in: inputs,
    attrs,
    dtype: 'float32',
    ...base,
    ...more,
  });
const none = undefined;

const gelu = row('com.microsoft.Gelu');
const biasGelu = row('com.microsoft.BiasGelu');
const fastGelu = row('com.microsoft.FastGelu');
const quickGelu = row('com.microsoft.QuickGelu');

const matmul = row('com.microsoft.FusedMatMul', { linear: true });
const square = { transBatchA: 1, transBatchB: 1 };

const gemm = row('com.microsoft.FusedGemm', { linear: true });
const smooth = (activation: string, attrs: object = {}): Case =>
  row('com.microsoft.FusedGemm')([f([3, 4]), f([4, 5])], { activation, ...attrs });
/** One factor of one element: the sums are the other's, which keep off the kinks. */
const kinked = (activation: string, attrs: object = {}): Case =>
  row('com.microsoft.FusedGemm')([f([6, 1], offZero), f([1, 1], [1.3])], { activation, ...attrs });

const conv = row('com.microsoft.FusedConv');
/** One window, one channel, weight 1: the sums are the inputs, which keep off the kinks. */
const kinkedConv = (activation: string, activation_params: readonly number[] = []): Case =>
  conv([f([2, 1, 6], offZero), f([1, 1, 1], [1.3])], { activation, activation_params });

const attention = row('com.microsoft.Attention');
const [x, w, b] = [f([2, 3, 6]), f([6, 24]), f([24])];
const two = { num_heads: 2 };
const cached = { outputs: 2, loss: [0, 1] };
const past = (length: number) => f([2, 2, 2, length, 4]);

export const rows: readonly Case[] = [
  gelu([f([2, 3, 4])]),
  biasGelu([f([2, 3, 4]), f([4])]),
  fastGelu([f([2, 3, 4])]),
  fastGelu([f([2, 3, 4]), f([4])]),
  quickGelu([f([2, 3, 4])]),
  quickGelu([f([2, 3, 4])], { alpha: 0.7 }),

  matmul([f([3, 4]), f([4, 5])], { alpha: 0.3 }),
  matmul([f([2, 3, 4]), f([4, 5])], { alpha: 0.3 }),
  matmul([f([2, 3, 4]), f([5, 4])], { transB: 1 }),
  matmul([f([2, 4, 3]), f([5, 4])], { transA: 1, transB: 1, alpha: -2 }),
  matmul([f([2, 3, 4]), f([2, 4, 5])], { alpha: 0.5 }),
  matmul([f([2, 4, 3]), f([2, 5, 4])], { transA: 1, transB: 1 }),
  matmul([f([2, 1, 3, 4]), f([3, 4, 5])]),
  matmul([f([3, 2, 4]), f([4, 2, 5])], square),
  matmul([f([4, 2, 3]), f([5, 2, 4])], { ...square, transA: 1, transB: 1, alpha: 0.5 }),
  matmul([f([3, 2, 6, 4]), f([4, 2, 6, 5])], square),
  matmul([f([3, 2, 4]), f([2, 4, 5])], { transBatchA: 1 }),
  matmul([f([4]), f([4, 5])]),

  gemm([f([4, 3]), f([5, 4]), f([5])], {
    activation: 'LeakyRelu',
    activation_alpha: 1,
    transA: 1,
    transB: 1,
    alpha: 0.5,
    beta: 2,
  }),
  gemm([f([3, 4]), f([4, 5])], { activation: 'LeakyRelu', activation_alpha: 1 }),
  smooth('Sigmoid'),
  smooth('Tanh'),
  smooth('Softplus'),
  smooth('ScaledTanh', { activation_alpha: 1.2, activation_beta: 0.7 }),
  smooth('ParametricSoftplus', { activation_alpha: 1.2, activation_beta: 0.7 }),
  kinked('Softsign'),
  kinked('Relu'),
  kinked('LeakyRelu', { activation_alpha: 0.2 }),
  kinked('Elu', { activation_alpha: 0.4 }),
  kinked('Celu', { activation_alpha: 0.4 }),
  kinked('Selu', { activation_alpha: 1.5, activation_gamma: 1.1 }),
  kinked('HardSigmoid', { activation_alpha: 0.05, activation_beta: 0.4 }),
  kinked('ThresholdedRelu', { activation_alpha: 0.05 }),

  conv([f([2, 3, 7]), f([4, 3, 3]), f([4])], {}, { linear: true, tolerance: 2e-5 }),
  conv([f([2, 3, 5, 6]), f([4, 3, 3, 2]), f([4]), f([2, 4, 2, 6])], {
    activation: 'Sigmoid',
    pads: [0, 0, 0, 1],
    strides: [2, 1],
  }),
  conv([f([2, 4, 7]), f([6, 2, 3])], { activation: 'Tanh', group: 2, auto_pad: 'SAME_UPPER' }),
  kinkedConv('Relu'),
  kinkedConv('LeakyRelu', [0.2]),
  kinkedConv('Clip', [-1.01, 1.01]),
  kinkedConv('HardSigmoid', [0.05, 0.4]),

  attention([x, w, b], two),
  attention([x, w, b], { ...two, scale: 0.3, unidirectional: 1 }),
  attention([x, f([6, 20]), f([20])], { ...two, qkv_hidden_sizes: [6, 6, 8] }),
  attention([x, w, b, int32([3, 2])], two, { is: 'ends' }),
  attention([x, w, b, int32([3, 3, 0, 1])], two, { is: 'ends and starts' }),
  attention([x, w, b, int32([1, 1, 0, 0, 1, 1], [2, 3])], { ...two, unidirectional: 1 }),
  attention([x, w, b, int32([1, 1], [2, 1])], two, { is: 'a mask that says nothing' }),
  attention([x, w, b, int32([1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 0], [2, 3, 3])], two),
  attention([x, w, b, none, none, f([2, 2, 3, 3])], two),
  attention([x, w, b, none, none, f([1, 1, 3, 3])], two),
  attention([x, w, b], two, { ...cached, is: 'present' }),
  attention([x, w, b, none, past(0)], { ...two, unidirectional: 1 }, { ...cached, is: 'past 0' }),
  attention([x, w, b, int32([1, 1, 1, 0, 1, 1, 0, 1, 1, 1], [2, 5]), past(2)], { ...two, unidirectional: 1 }, cached),
  gelu([f([])]),
  quickGelu([f([])]),
  row('com.microsoft.FusedGemm')([f([0, 3]), f([3, 4]), f([4])], { activation: 'Tanh' }),
];
