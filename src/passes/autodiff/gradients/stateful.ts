/**
 * Layers with a state from step to step: the causal convolution and the linear attention of Mamba, LFM2
 * and Qwen's Gated DeltaNet, as ONNX Runtime's CPU kernels (1.30) compute them.
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.LinearAttention
 */
import { noGradient } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import { type Node, tensorType, Value } from '../../../graph/model.ts';
import type { Length } from '../../common/dimArithmetic.ts';
import { decompose } from '../rules.ts';
import type { G } from './attend.ts';

function refuse(node: Node, what: string): never {
  throw noGradient(`${node.op} with ${what} has no gradient rule`, { node: node.label });
}

// A depthwise convolution of the sequence behind its last positions, or behind zeros.
decompose('com.microsoft.CausalConvWithState', ({ node, inputs: [x, weight, bias, past], attrs, g }) => {
  if (attrs.ndim !== 1) refuse(node, `ndim ${attrs.ndim}`);
  if (attrs.channels_last === 1 || attrs.input_channels !== 0) refuse(node, 'channels last');
  if (attrs.state_window !== 0) refuse(node, 'states of several positions');
  const group = weight.shape?.[0];
  if (typeof group !== 'number') refuse(node, 'an unknown number of channels');
  const [taps, dilations] = [g.length(weight, 2), [attrs.dilation]];
  const carried = g.times(g.minus(taps, 1), attrs.dilation);
  const zeros = (): Value => g.Expand(g.like(x, 0), g.vector([g.length(x, 0), g.length(x, 1), carried]));
  const whole = carried === 0 ? x : g.Concat([past ?? zeros(), x], { axis: 2 });
  const y = g.Conv(whole, weight, bias, { group, dilations });
  const isGated = attrs.activation === 'silu' || attrs.activation === 'swish';
  if (!isGated && attrs.activation !== 'none') refuse(node, `the activation "${attrs.activation}"`);
  const end = g.vector([g.length(whole, 2)]);
  const present = g.Slice(whole, g.vector([g.length(x, 2)]), end, g.ints([2]));
  return [isGated ? g.Mul(y, g.Sigmoid(y)) : y, present];
});

/** Dims of the operands by heads. Query heads may share a state, and states a query or a key. */
interface Sizes {
  readonly batch: Length;
  readonly steps: Length;
  readonly states: number;
  /** Query heads of each state. */
  readonly queries: number;
  readonly value: Length;
}

/** [batch, steps, heads·size] as [batch, steps, states, heads of a state, size], repeated where states share one. */
function byState(g: G, v: Value, heads: Length, size: Length, { batch, steps, states }: Sizes): Value {
  if (typeof heads === 'number' && heads >= states) return g.shaped(v, [batch, steps, states, heads / states, size]);
  const apart = g.shaped(v, [batch, steps, heads, 1, size]);
  const copies = g.Expand(apart, g.vector([batch, steps, heads, g.over(states, heads), size]));
  return g.shaped(copies, [batch, steps, states, 1, size]);
}

/** A scale of 0 means one over the square root of the key size. */
function scaled(g: G, query: Value, scale: number, size: Length): Value {
  if (scale !== 0) return g.Mul(query, g.like(query, scale));
  if (typeof size === 'number') return g.Mul(query, g.like(query, 1 / Math.sqrt(size)));
  return g.Div(query, g.Sqrt(g.CastLike(g.vector([size]), query)));
}

interface Gates {
  /** Factors of the state's rows, [batch, steps, states, size or 1, 1]. */
  readonly decay: Value | undefined;
  /** Factors of its updates, [batch, steps, states or 1, 1, 1], where an update replaces what the key had stored. */
  readonly rate: Value | undefined;
}

/** One part of each step: all of them, and the current one in the body. */
interface Sliced {
  readonly all: Value;
  readonly own: Value;
}

const sliced = (all: Value, name: string): Sliced => ({
  all,
  own: new Value(
    name,
    tensorType(
      all.dtype,
      all.shape?.filter((_, i) => i !== 1),
    ),
  ),
});

// Sₜ = dₜ·Sₜ₋₁ + kₜ⊗uₜ with uₜ = vₜ, or rₜ·(vₜ - kₜᵀ·dₜ·Sₜ₋₁) for the delta rule; yₜ = qₜᵀ·Sₜ (Yang et al. 2024).
decompose('com.microsoft.LinearAttention', ({ node, inputs, attrs, g }) => {
  const [query, key, value, past, decay, beta] = inputs;
  const { q_num_heads: heads = 1, kv_num_heads: states = 1, update_rule: rule } = attrs;
  if (attrs.state_window !== 0) refuse(node, 'states of several positions');
  const [batch, steps] = [g.length(query, 0), g.length(query, 1)];
  const size = g.over(g.length(query, 2), heads);
  // The documentation has a key for each state; the kernel also takes fewer, as the width shows.
  const sizes: Sizes = {
    batch,
    steps,
    states,
    queries: Math.max(heads / states, 1),
    value: g.over(g.length(value, 2), states),
  };
  const q = byState(g, scaled(g, query, attrs.scale, size), heads, size, sizes);
  const k = byState(g, key, g.over(g.length(key, 2), size), size, sizes);
  const v = g.shaped(value, [batch, steps, states, 1, sizes.value]);
  const gated = rule === 'gated' || rule === 'gated_delta';
  const delta = rule === 'delta' || rule === 'gated_delta';
  if ((gated && decay === undefined) || (delta && beta === undefined)) refuse(node, `no gates for "${rule}"`);
  const factors = gated && decay !== undefined ? g.shaped(g.Exp(decay), [batch, steps, states, -1, 1]) : undefined;
  const rate = delta && beta !== undefined ? g.shaped(beta, [batch, steps, -1, 1, 1]) : undefined;
  const start = past ?? g.Expand(g.like(query, 0), g.vector([batch, states, size, sizes.value]));
  const [state, y] = recurrence(g, start, [q, k, v], { decay: factors, rate });
  return [g.shaped(y, [batch, steps, g.times(states, sizes.queries, sizes.value)]), state];
});

/** The last state, and the results of all steps, [batch, steps, states, queries, size]. */
function recurrence(
  g: G,
  start: Value,
  [q, k, v]: readonly [Value, Value, Value],
  { decay, rate }: Gates,
): readonly [Value, Value] {
  const now = { q: sliced(q, 'query'), k: sliced(k, 'key'), v: sliced(v, 'value') };
  const gates = { decay: decay && sliced(decay, 'decay'), rate: rate && sliced(rate, 'rate') };
  const before = new Value('state', start.type);
  const parts = [now.q, now.k, now.v, gates.decay, gates.rate].filter((p) => p !== undefined);
  const step = (b: Builder): readonly Value[] => {
    const kept = gates.decay === undefined ? before : b.Mul(before, gates.decay.own);
    const stored = gates.rate && b.MatMul(now.k.own, kept);
    const update = gates.rate && stored ? b.Mul(b.Sub(now.v.own, stored), gates.rate.own) : now.v.own;
    const after = b.Add(kept, b.MatMul(b.Transpose(now.k.own, { perm: [0, 1, 3, 2] }), update));
    return [after, b.MatMul(now.q.own, after)];
  };
  const [state = start, y = q] = g.node({
    op: 'Scan',
    inputs: [start, ...parts.map((p) => p.all)],
    attrs: {
      body: g.body('step', [before, ...parts.map((p) => p.own)], step),
      num_scan_inputs: parts.length,
      scan_input_axes: parts.map(() => 1),
      scan_output_axes: [1],
    },
    outputs: 2,
  });
  return [state, y];
}
