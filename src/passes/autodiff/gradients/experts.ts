/**
 * Mixtures of experts (Shazeer et al. 2017; Fedus et al. 2021), as ONNX Runtime's CPU kernels (1.30) compute them. The
 * body is dense: a Scan runs every expert on every token, and an expert that a token was not routed to has the weight
 * 0. The weights of one expert at a time are read, and unpacked if they are integers.
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MoE
 */
import { noGradient } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import { type Node, tensorType, Value } from '../../../graph/model.ts';
import type { AttrsOf } from '../../../graph/operators.ts';
import { dataTypeNumber } from '../../../graph/tensor.ts';
import { decompose } from '../rules.ts';
import type { G } from './attend.ts';

type Attrs = AttrsOf<'com.microsoft.MoE'>;

function refuse(node: Node, what: string): never {
  throw noGradient(`${node.op} with ${what} has no gradient rule`, { node: node.label });
}

/** A tensor with one part for each expert. */
interface Part {
  readonly all: Value;
  /** The expert's own, in the body. */
  readonly own: Value;
}

/** A matrix of each expert, [experts, out, in], and how the expert's own is read. */
interface Projection {
  readonly parts: readonly Part[];
  readonly weight: (b: Builder) => Value;
  readonly bias: Value | undefined;
}

function part(all: Value, name: string): Part {
  return { all, own: new Value(name, tensorType(all.dtype, all.shape?.slice(1))) };
}

function plain(weights: Value, biases: Value | undefined, name: string): Projection {
  const [w, bias] = [part(weights, `${name}.weight`), biases && part(biases, `${name}.bias`)];
  return { parts: bias === undefined ? [w] : [w, bias], weight: () => w.own, bias: bias?.own };
}

/** x·Wᵀ + b, which reads W as it is stored. */
const projected = (b: Builder, x: Value, { weight, bias }: Projection): Value =>
  b.Gemm(x, weight(b), bias, { transB: 1 });

const scaled = (b: Builder, x: Value, factor: number): Value => (factor === 1 ? x : b.Mul(x, b.like(x, factor)));

const activations: Readonly<Record<string, (b: Builder, x: Value) => Value>> = {
  identity: (_, x) => x,
  relu: (b, x) => b.Relu(x),
  silu: (b, x) => b.Mul(x, b.Sigmoid(x)),
  // The kernel has the approximation by tanh.
  gelu: (b, x) => {
    const inner = b.Add(x, scaled(b, b.Mul(x, b.Mul(x, x)), 0.044715));
    return b.Mul(scaled(b, x, 0.5), b.Add(b.Tanh(scaled(b, inner, Math.sqrt(2 / Math.PI))), b.like(x, 1)));
  },
};

/** Gate and linear part of a fused first projection: neighbours, or one after the other. */
function halves(b: Builder, x: Value, interleaved: boolean): readonly [Value, Value] {
  const width = x.shape?.at(-1);
  // Known, because -1 does not fit a batch without tokens.
  const each = typeof width === 'number' ? width / 2 : -1;
  const pairs = b.Reshape(x, b.ints(interleaved ? [0, each, 2] : [0, 2, each]));
  const axis = interleaved ? 2 : 1;
  const [gate = x, linear = x] = b.node({
    op: 'Split',
    inputs: [pairs, b.ints([1, 1])],
    attrs: { axis },
    outputs: 2,
  });
  return [b.Squeeze(gate, b.ints([axis])), b.Squeeze(linear, b.ints([axis]))];
}

interface Expert {
  readonly up: Projection;
  readonly down: Projection;
  /** The second half of a gated projection, if it is not fused with the first. */
  readonly other: Projection | undefined;
}

/** The activated input of the last projection. */
function activated(node: Node, b: Builder, x: Value, { up, other }: Expert, attrs: Attrs): Value {
  const first = projected(b, x, up);
  if (attrs.activation_type !== 'swiglu') {
    const act = activations[attrs.activation_type];
    if (act === undefined) refuse(node, `the activation "${attrs.activation_type}"`);
    return other === undefined ? act(b, first) : b.Mul(act(b, first), projected(b, x, other));
  }
  const { activation_alpha: alpha, activation_beta: beta, swiglu_limit: limit, swiglu_fusion: fusion } = attrs;
  if (attrs.swiglu_limit_after_activation === 1) refuse(node, 'swiglu_limit_after_activation');
  if (fusion === 0 && other === undefined) refuse(node, 'swiglu of one projection that is not fused');
  const [g, l] = fusion === 0 && other !== undefined ? [first, projected(b, x, other)] : halves(b, first, fusion === 1);
  const finite = limit !== undefined && Number.isFinite(limit);
  const gate = finite ? b.Clip(g, undefined, b.like(g, limit)) : g;
  const linear = finite ? b.Clip(l, b.like(l, -limit), b.like(l, limit)) : l;
  const shifted = beta === 0 ? linear : b.Add(linear, b.like(linear, beta));
  return b.Mul(b.Mul(gate, b.Sigmoid(scaled(b, gate, alpha))), shifted);
}

interface Routing {
  readonly k: number;
  readonly normalized: boolean;
  /** Weights in place of the shares of `logits`, which then only select. */
  readonly weights?: Value | undefined;
}

/** The weight of each expert, [tokens, experts]. Among equal logits the kernels prefer the last expert. */
function routed(g: G, logits: Value, { k, normalized, weights }: Routing): Value {
  const count = g.scalar(g.length(logits, 1));
  const last = g.Sub(count, g.int(1));
  const all = g.Range(g.int(0), count, g.int(1));
  const [, places = logits] = g.node({
    op: 'TopK',
    inputs: [g.Gather(logits, g.Sub(last, all), { axis: 1 }), g.ints([k])],
    attrs: { axis: 1 },
    outputs: 2,
  });
  const chosen = g.Unsqueeze(g.Sub(last, places), g.ints([2]));
  const isChosen = g.Equal(chosen, all);
  const mask = g.ReduceSum(g.Cast(isChosen, { to: dataTypeNumber(logits.dtype ?? 'float32') }), g.ints([1]), {
    keepdims: 0,
  });
  const shares = g.Mul(weights ?? g.Softmax(logits, { axis: -1 }), mask);
  return normalized ? g.Div(shares, g.ReduceSum(shares, g.ints([1]), { keepdims: 1 })) : shares;
}

/** The sum of all experts' results by their weights, in the shape of x. */
function mixture(node: Node, g: G, x: Value, weights: Value, expert: Expert, attrs: Attrs): Value {
  const width = g.length(x, -1);
  const tokens = g.shaped(x, [-1, width]);
  const shares = part(g.Transpose(weights, { perm: [1, 0] }), 'shares');
  const before = new Value('sum', tokens.type);
  const projections = [expert.up, expert.other, expert.down].filter((p) => p !== undefined);
  const scanned = [...projections.flatMap((p) => p.parts), shares];
  const body = g.body('expert', [before, ...scanned.map((p) => p.own)], (b) => {
    const y = projected(b, activated(node, b, tokens, expert, attrs), expert.down);
    return [b.Add(before, b.Mul(y, b.Unsqueeze(shares.own, b.ints([1]))))];
  });
  const [sum = x] = g.node({
    op: 'Scan',
    inputs: [g.zerosLike(tokens), ...scanned.map((p) => p.all)],
    attrs: { body, num_scan_inputs: scanned.length },
    outputs: 1,
  });
  return g.reshapeLike(sum, x);
}

function checkRouting(node: Node, attrs: Attrs): void {
  // The CPU kernel ignores the attribute, the CUDA kernel does not.
  if (attrs.use_sparse_mixer === 1) refuse(node, 'use_sparse_mixer, which providers compute differently,');
}

decompose('com.microsoft.MoE', ({ node, inputs, attrs, g }) => {
  const [x, logits, w1, b1, w2, b2, w3, b3] = inputs;
  checkRouting(node, attrs);
  const weights = routed(g, logits, { k: attrs.k, normalized: attrs.normalize_routing_weights === 1 });
  const expert: Expert = {
    up: plain(w1, b1, 'up'),
    down: plain(w2, b2, 'down'),
    other: w3 && plain(w3, b3, 'other'),
  };
  return [mixture(node, g, x, weights, expert, attrs)];
});

// ---------------------------------------------------------------- integers

interface Packed {
  readonly weights: Value;
  readonly scales: Value | undefined;
  readonly zeros: Value | undefined;
  readonly biases: Value | undefined;
  readonly bits: number;
}

/** (q - zero point)·scale for each row, or each block of a row; zero points default to the middle of the range. */
function unpacked(node: Node, { weights, scales, zeros, biases, bits }: Packed, name: string): Projection {
  if (scales === undefined) refuse(node, 'weights without scales');
  if (bits !== 4 && bits !== 8) refuse(node, `weights of ${bits} bits`);
  const [w, s] = [part(weights, `${name}.weight`), part(scales, `${name}.scales`)];
  const [z, bias] = [zeros && part(zeros, `${name}.zeros`), biases && part(biases, `${name}.bias`)];
  const perRow = scales.shape?.length !== 3;
  const blocks = scales.shape?.at(-1);
  if (scales.shape === undefined || (!perRow && typeof blocks !== 'number')) refuse(node, 'scales of unknown shape');
  // The kernel reads those of a single block as if they were those of whole rows.
  if (zeros !== undefined && blocks === 1 && !perRow) refuse(node, 'zero points of rows of a single block');
  const weight = (b: Builder): Value => {
    const scale = b.Unsqueeze(s.own, b.ints(perRow ? [1, 2] : [2]));
    const of = (v: Value): Value => numbersOf(b, b.CastLike(v, s.own), bits);
    const q = b.Reshape(of(w.own), b.ints([0, perRow || typeof blocks !== 'number' ? 1 : blocks, -1]));
    return b.Reshape(
      b.Mul(b.Sub(q, z === undefined ? b.like(q, 2 ** (bits - 1)) : zero(b, of(z.own))), scale),
      flat(b),
    );
  };
  // Packed rows end with whole bytes, so there may be one number too many.
  const zero = (b: Builder, numbers: Value): Value => {
    const cut = perRow
      ? b.Slice(numbers, b.ints([0]), b.Shape(s.own), b.ints([0]))
      : b.Slice(numbers, b.ints([0]), b.ints([typeof blocks === 'number' ? blocks : 0]), b.ints([1]));
    return b.Unsqueeze(cut, b.ints(perRow ? [1, 2] : [2]));
  };
  return { parts: [w, s, z, bias].filter((p) => p !== undefined), weight, bias: bias?.own };
}

const flat = (b: Builder): Value => b.ints([0, -1]);

/** The numbers of bytes along the last axis: two each if they have 4 bits, the low one first. */
function numbersOf(b: Builder, bytes: Value, bits: number): Value {
  if (bits === 8) return bytes;
  const high = b.Floor(scaled(b, bytes, 1 / 16));
  const low = b.Sub(bytes, scaled(b, high, 16));
  const axes = b.ints([-1]);
  const pairs = b.Concat([b.Unsqueeze(low, axes), b.Unsqueeze(high, axes)], { axis: -1 });
  return b.Reshape(pairs, b.ints(bytes.shape?.length === 1 ? [-1] : [0, -1]));
}

decompose('com.microsoft.QMoE', ({ node, inputs, attrs, g }) => {
  const [x, logits, w1, s1, b1, w2, s2, b2, w3, s3, b3, z1, z2, z3, given] = inputs;
  checkRouting(node, attrs);
  if (attrs.quant_type !== 'int') refuse(node, `weights of the type "${attrs.quant_type}"`);
  if (attrs.weights_prepacked === 1) refuse(node, "weights in a provider's own layout");
  const normalized = attrs.normalize_routing_weights === 1;
  // The CPU kernel normalizes them all the same, unlike the CUDA kernel and com.microsoft.MoE.
  if (!normalized && given === undefined)
    refuse(node, 'normalize_routing_weights 0, which providers compute differently,');
  const bits = (n: number | undefined): number => n ?? attrs.expert_weight_bits;
  const of = (weights: Value, scales: Value | undefined, biases: Value | undefined, zeros: Value | undefined) =>
    ({ weights, scales, biases, zeros }) as const;
  const expert: Expert = {
    up: unpacked(node, { ...of(w1, s1, b1, z1), bits: bits(attrs.fc1_expert_weight_bits) }, 'up'),
    down: unpacked(node, { ...of(w2, s2, b2, z2), bits: bits(attrs.fc2_expert_weight_bits) }, 'down'),
    other: w3 && unpacked(node, { ...of(w3, s3, b3, z3), bits: bits(attrs.fc3_expert_weight_bits) }, 'other'),
  };
  return [mixture(node, g, x, routed(g, logits, { k: attrs.k, normalized, weights: given }), expert, attrs)];
});
