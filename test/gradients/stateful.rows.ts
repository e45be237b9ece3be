/** Layers with a state; the kernels are float32. */
import { type Case, f, fixed } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const none = undefined;
/** The operators have no output that a node may leave out. */
const both = { outputs: 2, loss: [0, 1] };

const conv = (inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
  op: 'com.microsoft.CausalConvWithState',
  in: inputs,
  attrs,
  dtype: 'float32',
  ...both,
  ...more,
});
const [x, w, bias, past] = [f([2, 3, 5]), fixed([3, 1, 4]), f([3]), f([2, 3, 3])];

const convolutions: readonly Case[] = [
  conv([x, w], {}, { linear: true }),
  conv([x, w, bias], {}, { linear: true }),
  conv([x, w, bias, past], {}, { linear: true }),
  conv([x, w, bias, past], { activation: 'silu' }),
  conv([x, w, none, past], { activation: 'swish' }),
  conv([f([2, 3, 2]), w, bias, past], {}, { is: 'fewer steps than taps', linear: true }),
  conv([x, w, bias, f([2, 3, 6])], { dilation: 2 }, { linear: true }),
];

const attention = (inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
  op: 'com.microsoft.LinearAttention',
  in: inputs,
  attrs: { q_num_heads: 2, kv_num_heads: 2, ...attrs },
  dtype: 'float32',
  ...both,
  ...more,
});
const [q, k, v] = [f([2, 3, 8]), f([2, 3, 8]), f([2, 3, 6])];
const state = f([2, 2, 4, 3]);
const decay = f([2, 3, 2], (next) => -next());
const rate = f([2, 3, 2], (next) => 0.2 + 0.6 * next());

const recurrences: readonly Case[] = [
  attention([q, k, v], { update_rule: 'linear' }),
  attention([q, k, v, state], { update_rule: 'linear', scale: 0.3 }),
  attention([q, k, v, state, decay], { update_rule: 'gated' }),
  attention([q, k, v, state, f([2, 3, 8], (next) => -next())], { update_rule: 'gated' }),
  attention([q, k, v, state, none, rate], { update_rule: 'delta' }),
  attention([q, k, v, state, decay, rate], {}),
  attention([q, k, v, none, decay, f([2, 3, 1], (next) => 0.2 + 0.6 * next())]),
  attention([f([2, 3, 16]), k, v, state, decay, rate], { q_num_heads: 4 }, { is: 'queries share a state' }),
  attention([f([2, 3, 4]), k, v, state, decay, rate], { q_num_heads: 1 }, { is: 'states share a query' }),
  attention([f([2, 3, 4]), f([2, 3, 4]), v, state, decay, rate], { q_num_heads: 1 }, { is: 'and a key' }),
];

export const rows: readonly Case[] = [...convolutions, ...recurrences];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  'com.microsoft.CausalConvWithState': { random: 'has two outputs, none of which may be left out' },
  'com.microsoft.LinearAttention': {
    random: 'has two outputs, none of which may be left out',
    empty: 'ONNX Runtime 1.30 ends the process on a Scan over the second axis of an empty batch',
  },
};
