/**
 * The peak memory of running a graph: live buffers (buffers.ts), with numbers for symbolic dims. Matches to the byte
 * what a profile of ONNX Runtime calls `mem_bytes_requested_in_use`; a kernel's own temporary memory is not included.
 */
import { type Graph, type Model, type Node, readsOf, type Value } from '../../graph/model.ts';
import { attrsOf, kindOf, numberAttr } from '../../graph/operators.ts';
import { dataTypeBits } from '../../graph/tensor.ts';
import { evaluate, symbolsOf } from '../shapes/dims.ts';
import { planBuffers } from './buffers.ts';

/** A value that is in memory at the peak. */
export interface Held {
  readonly value: Value;
  /** The value and its aliases. */
  readonly views: readonly Value[];
  readonly bytes: number;
}

export interface Peak {
  readonly bytes: number;
  /** The node that runs at the peak. */
  readonly node: Node | undefined;
  /** The buffers at the peak, the graph's results included. */
  readonly held: readonly Held[];
  /** Values of unknown size: they count as zero. */
  readonly unknown: readonly Value[];
}

/** Values of the symbolic dims of a graph and its bodies. */
export type Lengths = ReadonlyMap<string, number>;

/** The peak memory of the results of the graph's nodes. Inputs and weights are not included. */
export function peakOf(graph: Graph, lengths: Lengths): Peak {
  const unknown = new Set<Value>();
  const peak = inGraph(graph, lengths, unknown, false);
  return { ...peak, unknown: [...unknown] };
}

type Inner = Pick<Peak, 'bytes' | 'node' | 'held'>;

/** `given`: results are written to memory of the caller, as in a body, whose node allocates them. */
function inGraph(graph: Graph, lengths: Lengths, unknown: Set<Value>, given: boolean): Inner {
  const { order, buffers } = planBuffers(graph);
  const results = new Set(given ? graph.outputs : []);
  const sized = buffers
    .filter((b) => !b.values.some(({ value }) => results.has(value)))
    .map((buffer) => ({ buffer, bytes: bytesOfValue(buffer.values[0]?.value, lengths, unknown) }));
  const change = new Array<number>(order.length + 1).fill(0);
  for (const { buffer, bytes } of sized) {
    change[buffer.from] = (change[buffer.from] ?? 0) + bytes;
    if (buffer.to < order.length) change[buffer.to + 1] = (change[buffer.to + 1] ?? 0) - bytes;
  }
  let [live, most, at] = [0, -1, 0];
  let within: Inner | undefined;
  for (const [step, node] of order.entries()) {
    live += change[step] ?? 0;
    const inner = node.bodies.length === 0 ? undefined : inBodies(node, lengths, unknown);
    const bytes = live + (inner?.bytes ?? 0);
    if (bytes > most) [most, at, within] = [bytes, step, inner];
  }
  const held = sized
    .filter(({ buffer, bytes }) => bytes > 0 && buffer.from <= at && at <= buffer.to)
    .flatMap(({ buffer, bytes }): Held[] => {
      const made = buffer.values.filter((v) => v.made <= at);
      const own = made.findLastIndex((v) => !v.isAlias);
      const views = made.slice(own).map((v) => v.value);
      const [value] = views;
      return value === undefined ? [] : [{ value, views, bytes }];
    });
  return { bytes: Math.max(most, 0), node: within?.node ?? order[at], held: [...held, ...(within?.held ?? [])] };
}

/**
 * The body with the highest peak; the loop-carried values of a Scan or Loop need two more buffers, which alternate
 * between reading and writing.
 */
function inBodies(node: Node, lengths: Lengths, unknown: Set<Value>): Inner {
  const bodies = node.bodies.map((body) => inGraph(body, lengths, unknown, true));
  const largest = bodies.reduce((a, b) => (b.bytes > a.bytes ? b : a), { bytes: 0, node, held: [] });
  const carried = carriedBy(node).map(
    (value): Held => ({ value, views: [value], bytes: bytesOfValue(value, lengths, unknown) }),
  );
  const turns = Math.min(Math.max(runsOf(node, lengths) - 1, 0), 2);
  const kept = carried.flatMap((c) => Array.from({ length: turns }, () => c)).filter((c) => c.bytes > 0);
  const bytes = kept.reduce((n, c) => n + c.bytes, 0);
  return { ...largest, bytes: largest.bytes + bytes, held: [...largest.held, ...kept] };
}

function carriedBy(node: Node): Value[] {
  const [body] = node.bodies;
  if (node.op === 'Loop') return node.inputs.slice(2).flatMap((v) => v ?? []);
  if (node.op !== 'Scan' || body === undefined) return [];
  const { num_scan_inputs: scanned = 0 } = attrsOf(node, 'Scan');
  return node.inputs.slice(0, node.inputs.length - scanned).flatMap((v) => v ?? []);
}

/** The number of iterations of a Scan's body; a Loop's is assumed to be large. */
function runsOf(node: Node, lengths: Lengths): number {
  if (node.op !== 'Scan') return node.op === 'Loop' ? Number.POSITIVE_INFINITY : 1;
  const [dim = null] = node.inputs.at(-1)?.shape ?? [];
  return evaluate(dim, lengths) ?? 1;
}

/** The size of a value in bytes; an unknown size is 0 and the value is recorded. */
function bytesOfValue(v: Value | undefined, lengths: Lengths, unknown: Set<Value>): number {
  if (v === undefined) return 0;
  const { shape, dtype } = v;
  const dims = shape?.map((d) => evaluate(d, lengths));
  if (dims === undefined || dtype === undefined || dims.includes(undefined)) {
    unknown.add(v);
    return 0;
  }
  return Math.ceil((dims.reduce<number>((n, d) => n * (d ?? 0), 1) * dataTypeBits(dtype)) / 8);
}

/** The bytes of values that a caller feeds. */
export const bytesOfValues = (values: readonly Value[], lengths: Lengths): number =>
  values.reduce((n, v) => n + bytesOfValue(v, lengths, new Set()), 0);

/** The bytes of all constants of a model. */
export const weightBytes = ({ graph }: Model): number =>
  [...graph.allGraphs()].flatMap((g) => g.initializers).reduce((n, { tensor }) => n + (tensor?.byteLength ?? 0), 0);

/**
 * The bytes of prepacked weights that the CPU provider makes for MatMuls: each node packs its own copy, columns in
 * blocks of 16 (core/mlas/lib/sgemm.cpp, MlasGemmPackBSize).
 */
export function packedBytes({ graph }: Model): number {
  let total = 0;
  for (const node of graph.allNodes()) {
    const [, w] = node.inputs;
    if (kindOf(node) !== 'matmul' || w?.tensor === undefined || w.dtype !== 'float32' || w.tensor.dims.length !== 2)
      continue;
    const [rows = 0, columns = 0] = w.tensor.dims;
    const [k, n] = numberAttr(node, 'transB') === 1 ? [columns, rows] : [rows, columns];
    total += k * Math.ceil(n / 16) * 16 * 4;
  }
  return total;
}

/** The symbols in the shapes of inputs, which must be given as numbers. */
export function lengthsNeeded(inputs: readonly Value[]): Set<string> {
  const needed = new Set<string>();
  for (const v of inputs) for (const d of v.shape ?? []) for (const s of symbolsOf(d)) needed.add(s);
  return needed;
}

/** Graph inputs that the graph reads. */
export function fedTo(graph: Graph): Value[] {
  const read = new Set<Value>([...graph.nodes.flatMap(readsOf), ...graph.outputs]);
  return graph.inputs.filter((v) => read.has(v));
}
