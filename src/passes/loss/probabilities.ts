/**
 * Reads an output that is a probability back to the logits that it is a function of, through operators that only move,
 * reshape, cast or clip it. A loss of logits is computed on these: its value is that of the probability, without the
 * rounding of a logarithm of it.
 */
import type { Builder } from '../../graph/builder.ts';
import { Node, Value } from '../../graph/model.ts';
import { attrsOf, factsOf, opKey } from '../../graph/operators.ts';
import { isFloat } from '../../graph/tensor.ts';
import { asType } from '../common/computeType.ts';
import { axisOf, type Kept, keptAfter } from './classAxis.ts';
import { complements, constantOf, isComplement } from './complements.ts';
import { logSoftmaxOf, type SigmoidInput, type SoftmaxInput, sigmoidOf, softmaxOf } from './writtenOut.ts';

/** Makes a value of the shape of the output that was read. */
export type Build = (g: Builder) => Value;

export interface Reading {
  /** The value of the source that the output was read back to. */
  readonly root: Value;
  /** The operator that makes a probability of it: `Sigmoid`, or `a written-out softmax`. */
  readonly from: string;
  /** The operators between that one and the output, the last first. */
  readonly through: readonly string[];
  /** The output is the logarithm of a probability. */
  readonly logged: boolean;
  /** The bounds of a Clip that was looked through and that changes the function. */
  readonly clip?: readonly [number, number] | undefined;
  /** Logits of which each element of the probability is the sigmoid. */
  readonly elements?: Build | undefined;
  /** Logits of which the probability is the softmax along `axis`. */
  readonly classes?: { readonly axis: number; readonly build: Build } | undefined;
  /** The logarithm of the probability. */
  readonly logs?: Build | undefined;
}

/** Chains of operators are followed up to this length. */
const deepest = 64;

/** The reading of a value; undefined if the logits that it is a function of are not known. */
export function readProbability(value: Value, depth = deepest): Reading | undefined {
  const node = value.producer;
  if (node === undefined || depth === 0) return undefined;
  return source(value, node) ?? through(value, node, depth - 1);
}

function source(value: Value, node: Node): Reading | undefined {
  const [x] = node.inputs;
  const key = opKey(node);
  const rank = value.shape?.length ?? x?.shape?.length;
  if (x !== undefined && key === 'Sigmoid') return ofSigmoid({ z: x, negated: false }, 'Sigmoid');
  if (x !== undefined && (key === 'Softmax' || key === 'LogSoftmax')) {
    const { axis } = attrsOf(node, 'Softmax');
    return ofSoftmax({ z: x, axis: rank === undefined ? axis : axisOf(axis, rank) }, key, key === 'LogSoftmax');
  }
  const sigmoid = sigmoidOf(value);
  if (sigmoid !== undefined) return ofSigmoid(sigmoid, 'a written-out sigmoid');
  const softmax = softmaxOf(value);
  if (softmax !== undefined) return ofSoftmax(softmax, 'a written-out softmax', false);
  const log = logSoftmaxOf(value);
  return log === undefined ? undefined : ofSoftmax(log, 'a written-out LogSoftmax', true);
}

const wide = (g: Builder, v: Value): Value => asType(g, v, 'float32');

function ofSigmoid({ z, negated }: SigmoidInput, from: string): Reading {
  const elements: Build = (g) => (negated ? g.Neg(z) : z);
  return { root: z, from, through: [], logged: false, elements, logs: logSigmoid(elements) };
}

/** log(sigmoid(z)) = -softplus(-z), which no logit overflows. */
const logSigmoid =
  (elements: Build): Build =>
  (g) =>
    g.Neg(g.Softplus(g.Neg(wide(g, elements(g)))));

function ofSoftmax({ z, axis }: SoftmaxInput, from: string, logged: boolean): Reading {
  return {
    root: z,
    from,
    through: [],
    logged,
    elements: z.shape?.[axis] === 2 ? (g) => eitherOfTwo(g, z, axis) : undefined,
    classes: { axis, build: () => z },
    logs: (g) => g.LogSoftmax(wide(g, z), { axis }),
  };
}

const part = (g: Builder, z: Value, axis: number, from: number, to: number): Value =>
  g.Slice(z, g.ints([from]), g.ints([to]), g.ints([axis]));

/** The logits of two classes, each against the other. */
function eitherOfTwo(g: Builder, z: Value, axis: number): Value {
  const [a, b] = [part(g, z, axis, 0, 1), part(g, z, axis, 1, 2)];
  return g.Concat([g.Sub(a, b), g.Sub(b, a)], { axis });
}

/** The logit of one of `count` classes against all others: p[k] = sigmoid(z[k] - log sum exp of the rest). */
function againstRest(g: Builder, z: Value, axis: number, k: number, count: number): Value {
  const own = part(g, z, axis, k, k + 1);
  const before = k > 0 ? [part(g, z, axis, 0, k)] : [];
  const rest = [...before, ...(k < count - 1 ? [part(g, z, axis, k + 1, count)] : [])];
  const [only, ...more] = rest;
  const joined = only !== undefined && more.length === 0 ? only : g.Concat(rest, { axis });
  return g.Sub(own, count === 2 ? joined : g.ReduceLogSumExp(joined, g.ints([axis]), { keepdims: 1 }));
}

/** Operators that give elements of their first input, at the same or other places. */
const moving = new Set([
  ...['Transpose', 'Slice', 'Gather', 'GatherElements', 'GatherND', 'Expand', 'Tile', 'Split'],
  'ai.onnx.ml.ArrayFeatureExtractor',
]);

function through(value: Value, node: Node, depth: number): Reading | undefined {
  const key = opKey(node);
  const [x, second] = node.inputs;
  const inner = (v: Value | undefined): Reading | undefined =>
    v === undefined ? undefined : readProbability(v, depth);
  if (key === 'Identity') return inner(x);
  if (key === 'Cast' || key === 'CastLike') {
    const read = x?.dtype === undefined || isFloat(x.dtype) ? inner(x) : undefined;
    return read && isFloat(value.dtype ?? 'float32') ? passed(read, node.op) : undefined;
  }
  // A quantization that is undone at once.
  if (key === 'DequantizeLinear') return x?.producer?.op === 'QuantizeLinear' ? inner(x.producer.inputs[0]) : undefined;
  if (key === 'Dropout') return second === undefined || node.inputs[2] === undefined ? inner(x) : undefined;
  if (key === 'Clip' || key === 'Min' || key === 'Max') return clipped(node, depth);
  if (key === 'Log') {
    const read = inner(x);
    return read === undefined || read.logged ? undefined : { ...passed(read, 'Log'), logged: true };
  }
  if (key === 'Exp') {
    const read = inner(x);
    return read?.logged === true ? { ...passed(read, 'Exp'), logged: false } : undefined;
  }
  if (key === 'Neg') return logOfSigmoid(x);
  if (key === 'Sub' && constantOf(x) === 1) return complement(inner(second));
  if (key === 'Concat') return joined(value, node, depth);
  if (factsOf(node)?.kind !== 'view' && !moving.has(key)) return undefined;
  const read = inner(x);
  return read === undefined ? undefined : moved(read, value, node);
}

const passed = (read: Reading, op: string): Reading => ({ ...read, through: [op, ...read.through] });

/** -softplus(-z) is log(sigmoid(z)). */
function logOfSigmoid(x: Value | undefined): Reading | undefined {
  const softplus = x?.producer;
  const u = softplus?.op === 'Softplus' ? softplus.inputs[0] : undefined;
  if (u === undefined) return undefined;
  const z = u.producer?.op === 'Neg' ? u.producer.inputs[0] : undefined;
  const read = ofSigmoid(z === undefined ? { z: u, negated: true } : { z, negated: false }, 'a written-out LogSigmoid');
  return { ...read, logged: true };
}

/** 1 - p of a sigmoid is the sigmoid of -z. */
function complement(read: Reading | undefined): Reading | undefined {
  const { elements } = read ?? {};
  if (read === undefined || read.logged || elements === undefined) return undefined;
  const mirrored: Build = (g) => g.Neg(elements(g));
  return { ...passed(read, 'Sub'), elements: mirrored, classes: undefined, logs: logSigmoid(mirrored) };
}

/** Bounds this close to 0 and 1 keep a logarithm finite: they do not belong to the function that is meant. */
const narrow = 0.01;

/** A Clip of a probability, or of its logarithm. */
function clipped(node: Node, depth: number): Reading | undefined {
  const [a, b] = node.inputs;
  const isClip = opKey(node) === 'Clip';
  const [x, by] = isClip || constantOf(a) === undefined ? [a, b] : [b, a];
  const read = x === undefined || node.inputs.length > (isClip ? 3 : 2) ? undefined : readProbability(x, depth);
  if (read === undefined) return undefined;
  const [none, all] = read.logged ? [Number.NEGATIVE_INFINITY, 0] : [0, 1];
  const bound = (v: Value | undefined, absent: number): number | undefined =>
    v === undefined ? absent : constantOf(v);
  const low = isClip ? bound(node.inputs[1], none) : opKey(node) === 'Max' ? bound(by, none) : none;
  const high = isClip ? bound(node.inputs[2], all) : opKey(node) === 'Min' ? bound(by, all) : all;
  if (low === undefined || high === undefined) return undefined;
  const value = (n: number): number => (read.logged ? Math.exp(n) : n);
  if (value(low) > narrow || value(high) < 1 - narrow) return undefined;
  const changes = value(low) > 0 || value(high) < 1;
  return { ...passed(read, node.op), clip: changes ? [value(low), value(high)] : read.clip };
}

/** A Concat of sigmoids; of 1 - p and p also a softmax over the logits 0 and z, as skl2onnx writes two classes. */
function joined(value: Value, node: Node, depth: number): Reading | undefined {
  const reads = node.inputs.map((v) => (v === undefined ? undefined : readProbability(v, depth)));
  const list = reads.flatMap((r) => (r?.elements !== undefined && !r.logged ? [{ ...r, elements: r.elements }] : []));
  const [first, second] = list;
  if (first === undefined || list.length < reads.length) return undefined;
  const { axis: given = 0 } = attrsOf(node, 'Concat');
  const axis = axisOf(given, value.shape?.length ?? 0);
  const [a, b] = node.inputs;
  const firstIsRest = a !== undefined && b !== undefined && isComplement(a, b);
  const positive = firstIsRest ? second : first;
  const pair = (g: Builder): Value => {
    const z = (positive ?? first).elements(g);
    const zero = g.Mul(z, g.like(z, 0));
    return g.Concat(firstIsRest ? [zero, z] : [z, zero], { axis });
  };
  const elements: Build = (g) =>
    g.Concat(
      list.map((r) => r.elements(g)),
      { axis },
    );
  return {
    ...passed(first, 'Concat'),
    clip: list.find((r) => r.clip !== undefined)?.clip,
    elements,
    classes: complements(node, axis) ? { axis, build: pair } : undefined,
    logs: logSigmoid(elements),
  };
}

/** The same node on another first input. */
function repeated(g: Builder, node: Node, output: Value, x: Value): Value {
  const copy = new Node({
    op: node.op,
    domain: node.domain,
    inputs: [x, ...node.inputs.slice(1)],
    outputs: node.outputs.map(() => new Value('')),
    attrs: [...node.attrs],
  });
  g.own(copy);
  const made = copy.outputs[node.outputs.indexOf(output)];
  if (made === undefined) throw new Error(`"${node.label}" does not make "${output.name}"`);
  return made;
}

/** The reading behind a node that moves elements: each part is moved by a copy of the node. */
function moved(read: Reading, value: Value, node: Node): Reading {
  const after = (build: Build | undefined): Build | undefined => build && ((g) => repeated(g, node, value, build(g)));
  const { classes } = read;
  const kept = classes === undefined ? undefined : keptAfter(node, value, classes.axis);
  const whole = kept?.picked === undefined ? kept?.axis : undefined;
  const build = after(classes?.build);
  return {
    ...passed(read, node.op),
    elements: oneClass(read, node, kept) ?? after(read.elements),
    classes: whole === undefined || build === undefined ? undefined : { axis: whole, build },
    logs: after(read.logs),
  };
}

/** The logit of one class of a softmax against the rest, if the node picks one class. */
function oneClass({ classes }: Reading, node: Node, kept: Kept | undefined): Build | undefined {
  const [k, ...others] = kept?.picked ?? [];
  if (classes === undefined || k === undefined || others.length > 0) return undefined;
  const count = node.inputs[0]?.shape?.[classes.axis];
  if (typeof count !== 'number' || count < 2) return undefined;
  return (g) => {
    const logit = againstRest(g, classes.build(g), classes.axis, k, count);
    return kept?.axis === undefined ? g.Squeeze(logit, g.ints([classes.axis])) : logit;
  };
}
