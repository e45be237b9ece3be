/** Mixtures of experts; the kernels are float32. */
import { type Arg, type Case, distinct, f, fixed } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const none = undefined;
const row =
  (op: Case['op'], base: object) =>
  (inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
    op,
    in: inputs,
    attrs: { ...base, ...attrs },
    dtype: 'float32',
    ...more,
  });

/** Six tokens of eight numbers, and their logits for three experts, none of which a step exchanges. */
const x = f([2, 3, 8]);
const logits = f([6, 3], distinct);
const two = { k: 2, normalize_routing_weights: 1 };
const small = (shape: readonly number[]): Arg => fixed(shape, (next) => next() - 0.5);
/** Off zero by more than the MatMul adds, where relu has its kink. */
const far = (shape: readonly number[]): Arg => fixed(shape, (_, i) => (i % 3 === 0 ? -9 : 9));

const moe = row('com.microsoft.MoE', two);
const experts = [small([3, 4, 8]), small([3, 4]), small([3, 8, 4]), small([3, 8])] as const;
const gated = [small([3, 8, 8]), small([3, 8]), small([3, 8, 4]), small([3, 8])] as const;
const swiglu = { activation_type: 'swiglu', swiglu_fusion: 1 };
const oss = { ...swiglu, activation_alpha: 1.702, activation_beta: 1 };

const plain: readonly Case[] = [
  moe([f([5, 8]), f([5, 3], distinct), ...gated], oss, { is: 'packed tokens' }),
  moe([x, logits, ...experts], { activation_type: 'silu' }),
  moe([x, logits, ...experts], { activation_type: 'silu', normalize_routing_weights: 0 }),
  moe([x, logits, ...experts], { activation_type: 'gelu', k: 1, normalize_routing_weights: 0 }),
  moe([x, logits, ...experts], { activation_type: 'identity', k: 3 }),
  moe([x, logits, experts[0], far([3, 4]), experts[2]], { activation_type: 'relu' }),
  moe([x, logits, experts[0], none, experts[2], experts[3]], { activation_type: 'silu' }),
  moe([x, logits, ...gated], swiglu),
  moe([x, logits, ...gated], { ...oss, swiglu_limit: 7 }),
  moe([x, logits, gated[0], far([3, 8]), ...gated.slice(2)], { ...oss, swiglu_limit: 0.5 }, { is: 'at the limit' }),
];

// ---------------------------------------------------------------- integers

const qmoe = row('com.microsoft.QMoE', { ...two, expert_weight_bits: 4 });
const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const bytes = (shape: readonly number[]): Arg => ({
  kind: 'uint8',
  shape,
  values: Array.from({ length: count(shape) }, (_, i) => (i * 89 + 31) % 256),
  fixed: true,
});
const scales = (shape: readonly number[]): Arg => fixed(shape, (next) => 0.01 + 0.02 * next());
/** Rows of 32 and 16 numbers. */
const wide = f([2, 3, 32]);
const byRow = [bytes([3, 16, 16]), scales([3, 16]), small([3, 16]), bytes([3, 32, 8]), scales([3, 32]), small([3, 32])];
const byBlock = [
  bytes([3, 16, 16]),
  scales([3, 16, 2]),
  small([3, 16]),
  bytes([3, 32, 8]),
  scales([3, 32, 1]),
  small([3, 32]),
];
const inBytes = [bytes([3, 16, 32]), scales([3, 16, 2]), none, bytes([3, 32, 16]), scales([3, 32, 1]), none];
const fused = [
  bytes([3, 32, 16]),
  scales([3, 32, 2]),
  small([3, 32]),
  bytes([3, 32, 8]),
  scales([3, 32, 1]),
  small([3, 32]),
];
const twoBlocks = [
  bytes([3, 32, 16]),
  scales([3, 32, 2]),
  small([3, 32]),
  bytes([3, 32, 16]),
  scales([3, 32, 2]),
  small([3, 32]),
];
const silu = { activation_type: 'silu' };
const blocks = { block_size: 16 };
const third = [none, none, none] as const;

const packed: readonly Case[] = [
  qmoe([f([5, 32]), f([5, 3], distinct), ...byRow], silu, { is: 'packed tokens' }),
  qmoe([wide, logits, ...byRow], silu),
  qmoe([wide, logits, ...byBlock], { ...silu, ...blocks }),
  qmoe([wide, logits, ...inBytes], { ...silu, ...blocks, expert_weight_bits: 8 }),
  qmoe([wide, logits, ...fused], { ...oss, ...blocks, swiglu_limit: 7 }),
  qmoe([wide, logits, ...byRow, ...third, bytes([3, 8]), bytes([3, 16])], silu, { is: 'zero points' }),
  qmoe(
    [wide, logits, ...twoBlocks, ...third, bytes([3, 32, 1]), bytes([3, 32, 1])],
    { ...silu, ...blocks },
    {
      is: 'zero points of blocks',
    },
  ),
  qmoe(
    [wide, logits, ...byBlock, ...third, none, none, none, f([6, 3], (next) => 0.5 + next())],
    { ...silu, ...blocks, normalize_routing_weights: 0 },
    { is: 'weights of their own' },
  ),
  qmoe([wide, logits, ...byBlock, ...third, none, none, none, f([6, 3], (next) => 0.5 + next())], {
    ...silu,
    ...blocks,
  }),
];

export const rows: readonly Case[] = [...plain, ...packed];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  'com.microsoft.MoE': { empty: 'ONNX Runtime 1.30 ends the process on a TopK of an empty batch' },
  'com.microsoft.QMoE': {
    empty: 'ONNX Runtime 1.30 ends the process on a TopK of an empty batch',
    random: 'its experts are packed integers',
  },
};
