/** What ONNX Runtime really returns, against what shape inference says: with static, symbolic and unknown input lengths. */
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { expect } from 'vitest';
import { encodeModel } from '../../../src/emit/index.ts';
import { type Builder, createBuilder } from '../../../src/graph/builder.ts';
import { type Dim, Graph, type Model, tensorType, Value } from '../../../src/graph/model.ts';
import { type DataType, isFloat, numberToHalf } from '../../../src/graph/tensor.ts';
import { inferNode, inferShapes } from '../../../src/passes/shapes/index.ts';
import { type Choices, choices } from './choices.ts';

export type Feeds = Record<string, OrtTensor>;

/** A tensor of these elements, or of seeded small ones. */
export function feed(dtype: DataType, dims: readonly number[], values?: readonly number[]): OrtTensor {
  const size = dims.reduce((n, d) => n * d, 1);
  const list = values ?? Array.from({ length: size }, (_, i) => (isFloat(dtype) ? Math.sin(i + 1) : i % 2));
  switch (dtype) {
    case 'float32':
      return new OrtTensor('float32', Float32Array.from(list), dims);
    case 'float64':
      return new OrtTensor('float64', Float64Array.from(list), dims);
    case 'float16':
      return new OrtTensor('float16', Uint16Array.from(list, numberToHalf), dims);
    case 'int64':
      return new OrtTensor('int64', BigInt64Array.from(list, BigInt), dims);
    case 'int32':
      return new OrtTensor('int32', Int32Array.from(list), dims);
    case 'int8':
      return new OrtTensor('int8', Int8Array.from(list), dims);
    case 'uint8':
      return new OrtTensor('uint8', Uint8Array.from(list), dims);
    case 'bool':
      return new OrtTensor('bool', Uint8Array.from(list), dims);
    default:
      throw new Error(`no feed of type ${dtype}`);
  }
}

export interface Built {
  readonly model: Model;
  readonly feeds: Feeds;
}

export type Input = (dtype: DataType, dims: readonly number[], values?: readonly number[]) => Value;
export type Make = (c: Choices, g: Builder, input: Input) => Value | readonly Value[];

/** A model whose outputs are all results of the nodes that `make` returns results of. */
export function build(make: Make, seed: number): Built {
  const g = createBuilder(inferNode);
  const graph = new Graph('case');
  const feeds: Feeds = {};
  const input: Input = (dtype, dims, values) => {
    const v = new Value(`in${graph.inputs.length}`, tensorType(dtype, dims));
    graph.inputs.push(v);
    feeds[v.name] = feed(dtype, dims, values);
    return v;
  };
  graph.outputs.push(...new Set([make(choices(seed), g, input)].flat()));
  graph.adopt();
  return { model: modelOf(graph), feeds };
}

/** Operators that opset 23 brought; others run at 21, for which ONNX Runtime has more kernels. */
const late = ['Attention', 'RMSNormalization', 'RotaryEmbedding', 'TensorScatter', 'Swish'];

function modelOf(graph: Graph): Model {
  const nodes = [...graph.allNodes()];
  const opset = nodes.some((n) => n.op === 'TensorScatter') ? 24 : nodes.some((n) => late.includes(n.op)) ? 23 : 21;
  const others = new Set(nodes.map((n) => n.domain).filter((d) => d !== ''));
  return {
    irVersion: 12,
    opsets: new Map([['', opset], ...[...others].map((d) => [d, 1] as const)]),
    graph,
    functions: [],
    producerName: '',
    producerVersion: '',
    domain: '',
    modelVersion: 0,
    docString: '',
    metadata: new Map(),
    unknown: [],
  };
}

/** Every result of the main graph's nodes as ONNX Runtime computes it, without its optimizer. */
export async function actual(model: Model, feeds: Feeds): Promise<ReadonlyMap<Value, OrtTensor>> {
  const results = model.graph.nodes.flatMap((n) => n.outputs.filter((v) => v.name !== ''));
  const wanted = results.filter((v) => v.type === undefined || v.type.kind === 'tensor');
  const kept = [...model.graph.outputs];
  const types = wanted.map((v) => v.type);
  model.graph.outputs.splice(0, kept.length, ...wanted);
  // Without types: what ONNX Runtime would reject must not depend on what we believe.
  for (const v of wanted) v.type = undefined;
  const bytes = encodeModel(model);
  model.graph.outputs.splice(0, wanted.length, ...kept);
  wanted.forEach((v, i) => {
    v.type = types[i];
  });
  const session = await InferenceSession.create(bytes, {
    logSeverityLevel: 4,
    graphOptimizationLevel: 'disabled',
    intraOpNumThreads: 1,
  });
  try {
    const given = await session.run(
      Object.fromEntries(Object.entries(feeds).filter(([n]) => session.inputNames.includes(n))),
    );
    return new Map(
      wanted
        .flatMap((v) => (given[v.name] === undefined ? [] : [[v, given[v.name]] as const]))
        .flatMap(([v, t]) => (t === undefined ? [] : [[v, t] as const])),
    );
  } finally {
    await session.release();
  }
}

/** Replaces the input types and infers all over again. */
export function inferWith(
  graph: Graph,
  retype: (v: Value, dims: readonly number[]) => readonly Dim[] | undefined,
  feeds: Feeds,
): void {
  for (const v of graph.inputs) {
    const fed = feeds[v.name];
    if (fed !== undefined) v.type = tensorType(v.dtype, retype(v, fed.dims));
  }
  for (const g of graph.allGraphs()) {
    if (g !== graph) for (const v of g.inputs) forget(v);
    for (const n of g.nodes) for (const v of n.outputs) forget(v);
  }
  inferShapes(graph);
}

function forget(v: Value): void {
  v.type = undefined;
  v.elements = undefined;
}

export type Symbols = ReadonlyMap<string, number>;

/** What the symbols of declared inputs stand for. */
export function symbolsOf(declared: ReadonlyMap<Value, Value['shape']>, feeds: Feeds): Symbols {
  const symbols = new Map<string, number>();
  for (const [v, dims] of declared)
    dims?.forEach((d, i) => {
      const length = feeds[v.name]?.dims[i];
      if (typeof d === 'string' && length !== undefined) symbols.set(d, length);
    });
  return symbols;
}

/** A printed length as a number. */
export function evaluate(dim: Dim, symbols: Symbols): number {
  const text = String(dim);
  const alone = symbols.get(text);
  if (alone !== undefined) return alone;
  const names = [...symbols.keys()].filter((n) => /^[A-Za-z_]\w*$/.test(n));
  const call = new Function(...names, 'floor', 'min', 'max', `return ${text}`);
  return Number(call(...names.map((n) => symbols.get(n)), Math.floor, Math.min, Math.max));
}

/** Compares types, shapes and known elements; returns how many lengths were known and how many there are. */
export function agree(
  results: ReadonlyMap<Value, OrtTensor>,
  symbols: Symbols,
  what: string,
): { known: number; all: number } {
  const count = { known: 0, all: 0 };
  for (const [v, got] of results) {
    const where = `${what}: ${v.producer?.op} "${v.name}"`;
    if (v.dtype !== undefined) expect(v.dtype, where).toBe(got.type);
    count.all += got.dims.length;
    if (v.shape !== undefined) {
      const said = v.shape.map((d, i) => (d === null ? (got.dims[i] ?? null) : evaluate(d, symbols)));
      expect(said, `${where} says [${v.shape}]`).toEqual([...got.dims]);
      count.known += v.shape.filter((d) => d !== null).length;
    }
    if (v.elements === undefined) continue;
    const data = Array.from<unknown, number>(got.data, Number);
    const said = v.elements.map((d, i) => (d === null ? data[i] : evaluate(d, symbols)));
    expect(said, `${where} has elements [${v.elements}]`).toEqual(data);
  }
  return count;
}

/** One symbol per length other than 1, so that what must be equal is. */
export function symbolic(dims: readonly number[], symbols: Map<string, number>): Dim[] {
  return dims.map((d) => {
    if (d <= 1) return d;
    symbols.set(`d${d}`, d);
    return `d${d}`;
  });
}

/** The case with static lengths (all must be known), with symbols, with some and with all lengths unknown. */
export async function check(make: Make, seed: number, whole = true): Promise<void> {
  const { model, feeds } = build(make, seed);
  const results = await actual(model, feeds);
  const none = new Map<string, number>();
  const static_ = agree(results, none, 'static');
  const symbols = new Map<string, number>();
  inferWith(model.graph, (_, dims) => symbolic(dims, symbols), feeds);
  agree(results, symbols, 'symbolic');
  const c = choices(seed + 1000);
  inferWith(model.graph, (_, dims) => symbolic(dims, symbols).map((d) => (c.flip() ? null : d)), feeds);
  agree(results, symbols, 'mixed');
  inferWith(model.graph, (_, dims) => dims.map(() => null), feeds);
  agree(results, none, 'unknown lengths');
  inferWith(model.graph, () => undefined, feeds);
  agree(results, none, 'unknown ranks');
  if (whole)
    expect(static_.known, `static shapes of ${[...results.keys()].map((v) => v.producer?.op)}`).toBe(static_.all);
}
