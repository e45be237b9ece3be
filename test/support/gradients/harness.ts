/**
 * Numeric gradient checks: an operator's forward pass runs on ONNX Runtime, its gradient by the rules too, and both must agree
 * along one random direction per input (as HIPS/autograd's test_util does) with the central difference of sum(y · cotangent).
 */
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { encodeModel } from '../../../src/emit/index.ts';
import { LoraifyError } from '../../../src/errors.ts';
import { type Builder, createBuilder } from '../../../src/graph/builder.ts';
import { type Dim, Graph, type Model, type Node, tensorType, Value } from '../../../src/graph/model.ts';
import type { OpKey } from '../../../src/graph/operators.ts';
import { halfToNumber, numberToHalf } from '../../../src/graph/tensor.ts';
import { gradients } from '../../../src/passes/autodiff/index.ts';
import { lowerDropout } from '../../../src/passes/lower/dropoutMask.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';

/** How much the graph inputs say about their shapes. Equal lengths have equal symbols. */
export const modes = ['static', 'symbolic', 'unknown', 'unranked'] as const;
export type Mode = (typeof modes)[number];

type Next = () => number;
export type Domain = (next: Next, index: number, count: number) => number;
export type FloatType = 'float64' | 'float32' | 'float16';
type Kind = 'float' | 'int64' | 'int32' | 'uint8' | 'bool';

/** One input of the operator. */
export interface Arg {
  readonly kind: Kind;
  readonly shape: readonly number[];
  readonly values: Domain | readonly number[];
  /** An initializer rather than a graph input. */
  readonly fixed: boolean;
  /** The last length is known in every mode but unranked: it says how many axes an index has. */
  readonly sized?: boolean;
}

export interface Case {
  readonly op: OpKey;
  /** undefined: left out. */
  readonly in: readonly (Arg | undefined)[];
  readonly attrs?: object;
  /** What is special about this row. */
  readonly is?: string;
  /** Outputs of the node, and those of them that the loss reads. */
  readonly outputs?: number;
  readonly loss?: readonly number[];
  /** Operator set, 18 unless the operator is younger. */
  readonly opset?: number;
  /** float64 where ONNX Runtime's CPU provider has the kernels. */
  readonly dtype?: FloatType;
  /** Linear in each single input, so that any step is exact. */
  readonly linear?: boolean;
  readonly step?: number;
  readonly tolerance?: number;
  /** Modes this row runs in, all by default. */
  readonly modes?: readonly Mode[];
  /** The walk must refuse, with UNSUPPORTED_SHAPE and a message that says so. */
  readonly refused?: string;
  /** Inputs without a derivative here (an integer exponent, a target index given as float). */
  readonly skip?: readonly number[];
}

// ---------------------------------------------------------------- domains

export const normal: Domain = (next) => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
/** Evenly over the range, so that few values meet all pieces of a function. */
export const between =
  (low: number, high: number): Domain =>
  (next, i, n) =>
    low + ((high - low) * (i + next())) / n;
export const positive = between(0.5, 2);
/** Off zero, where many functions have a kink. */
export const offZero: Domain = (next, i) => (i % 2 === 0 ? -1 : 1) * (0.2 + 1.8 * next());
/** Values at least 0.1 apart in shuffled order, none near zero: no ties for maxima. */
export const distinct: Domain = (next, i, n) => ((i * coprime(n) + 3) % n) * 0.1 - 0.05 * n + 0.025 + next() * 0.02;

/** A multiplier that visits all residues of n, far from 1. */
function coprime(n: number): number {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  for (let k = Math.floor(n * 0.618) + 1; k > 1; k--) if (gcd(k, n) === 1) return k;
  return 1;
}

export const f = (shape: readonly number[], values: Domain | readonly number[] = normal): Arg => ({
  kind: 'float',
  shape,
  values,
  fixed: false,
});
const whole =
  (kind: Kind, fixed: boolean) =>
  (values: readonly number[], shape: readonly number[] = [values.length]): Arg => ({ kind, shape, values, fixed });
/** Integers as a constant, and as graph inputs. */
export const k = whole('int64', true);
export const int64 = whole('int64', false);
export const int32 = whole('int32', false);
export const bool = whole('bool', false);
export const uint8 = whole('uint8', false);
export const sized = (arg: Arg): Arg => ({ ...arg, sized: true });
/** A constant of floats. */
export const fixed = (shape: readonly number[], values: Domain | readonly number[] = normal): Arg => ({
  kind: 'float',
  shape,
  values,
  fixed: true,
});

// ---------------------------------------------------------------- running

/** Seeded numbers in [0, 1): mulberry32. */
export function random(seed: number): Next {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export interface Data {
  readonly type: FloatType | 'int64' | 'int32' | 'uint8' | 'bool';
  readonly dims: readonly number[];
  readonly values: readonly number[];
}

export const ortTensor = ({ type, dims, values }: Data): OrtTensor => {
  switch (type) {
    case 'float64':
      return new OrtTensor(type, Float64Array.from(values), dims);
    case 'float32':
      return new OrtTensor(type, Float32Array.from(values), dims);
    case 'float16':
      return new OrtTensor(type, Uint16Array.from(values, numberToHalf), dims);
    case 'int64':
      return new OrtTensor(type, BigInt64Array.from(values, BigInt), dims);
    case 'int32':
      return new OrtTensor(type, Int32Array.from(values), dims);
    case 'uint8':
    case 'bool':
      return new OrtTensor(type, Uint8Array.from(values), dims);
  }
};

/** ONNX Runtime gives bits, or numbers where JavaScript has a Float16Array. */
const asHalf = (v: number): number => ('Float16Array' in globalThis ? v : halfToNumber(v));

export function numbers(t: OrtTensor): number[] {
  if (typeof t.data === 'string' || Array.isArray(t.data)) throw new Error('no numbers');
  const list = Array.from<number | bigint, number>(t.data, Number);
  return t.type === 'float16' ? list.map(asHalf) : list;
}

export async function session(model: Model): Promise<InferenceSession> {
  return InferenceSession.create(encodeModel(model), {
    intraOpNumThreads: 1,
    logSeverityLevel: 4,
    // As src/runtime/session/session.ts, which says why.
    extra: { session: { qdq_matmulnbits_accuracy_level: '1' } },
  });
}

export function modelOf(graph: Graph, opset: number): Model {
  const others = [...graph.allNodes()].map((n) => n.domain).filter((d) => d !== '');
  return {
    irVersion: 10,
    opsets: new Map([['', opset], ...others.map((d) => [d, 1] as const)]),
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

function declared({ shape, sized: last }: Arg, mode: Mode): readonly Dim[] | undefined {
  if (mode === 'unranked') return undefined;
  const keeps = (i: number): boolean => mode === 'static' || (last === true && i === shape.length - 1);
  return shape.map((d, i) => (keeps(i) ? d : mode === 'symbolic' ? `d${d}` : null));
}

export interface Outcome {
  /** Largest error relative to the sum of the products' magnitudes, over inputs. */
  readonly error: number;
  /** The walk refused with a coded error, which is a right answer where the rank is unknown. */
  readonly refused: boolean;
  /** Operators of the gradient graph. */
  readonly ops: ReadonlySet<string>;
}

/** The row's inputs, the same in each mode. */
export function dataOf(c: Case): (Data | undefined)[] {
  const next = random(c.in.length * 7919 + [...(c.op + (c.is ?? ''))].reduce((a, ch) => a * 31 + ch.charCodeAt(0), 7));
  return c.in.map((arg) => {
    if (arg === undefined) return undefined;
    const count = size(arg.shape);
    const { values } = arg;
    const list =
      typeof values === 'function' ? Array.from({ length: count }, (_, i) => values(next, i, count)) : [...values];
    return { type: arg.kind === 'float' ? (c.dtype ?? 'float64') : arg.kind, dims: arg.shape, values: list };
  });
}

/** The operator's inputs as constants and inputs of the graph. */
export function argumentsOf(
  c: Case,
  data: readonly (Data | undefined)[],
  mode: Mode,
  graph: Graph,
  g: Builder,
): (Value | undefined)[] {
  return c.in.map((arg, i): Value | undefined => {
    const d = data[i];
    if (arg === undefined || d === undefined) return undefined;
    if (arg.fixed) return g.constant(d.type, d.dims, d.values);
    const v = new Value(`x${i}`, tensorType(d.type, declared(arg, mode)));
    graph.inputs.push(v);
    return v;
  });
}

export function feedsOf(
  args: readonly (Value | undefined)[],
  data: readonly (Data | undefined)[],
): Record<string, OrtTensor> {
  const entries = args.flatMap((v, i) => {
    const d = data[i];
    return v === undefined || d === undefined || v.tensor !== undefined ? [] : [[v.name, ortTensor(d)] as const];
  });
  return Object.fromEntries(entries);
}

/** The row's node. */
export function nodeOf(c: Case, inputs: readonly (Value | undefined)[], g: Builder): Node {
  const at = c.op.lastIndexOf('.');
  const [domain, op] = [c.op.slice(0, Math.max(0, at)), c.op.slice(at + 1)];
  const [out] = g.node({ op, domain, inputs, attrs: c.attrs ?? {}, outputs: c.outputs ?? 1 });
  if (out?.producer === undefined) throw new Error('no node');
  // Optional outputs that nobody asks for are left out where the kernel may not have them.
  if (domain !== '')
    for (const [i, v] of out.producer.outputs.entries()) if (i > 0 && !(c.loss ?? [0]).includes(i)) v.name = '';
  return out.producer;
}

/** The nodes that the gradients of a row consist of, without running them. */
export function gradientNodes(c: Case): readonly Node[] {
  const graph = new Graph('nodes');
  const g = createBuilder(inferNode, graph.inputs);
  const args = argumentsOf(c, dataOf(c), 'static', graph, g);
  const outs = nodeOf(c, args, g).outputs;
  const outputs = (c.loss ?? [0]).map((i) => outs[i]).filter((v) => v !== undefined);
  const seeds = outputs.map((y, j) => [y, new Value(`dy${j}`, y.type)] as const);
  const wrt = args.filter((v, i) => v !== undefined && c.in[i]?.kind === 'float').filter((v) => v !== undefined);
  graph.outputs.push(...outputs);
  graph.adopt();
  const before = new Set(graph.nodes);
  graph.outputs.push(...[...gradients({ g, seeds, wrt }).values()].map((dv) => g.Identity(dv)));
  graph.adopt();
  return graph.nodes.filter((n) => !before.has(n));
}

/** Runs one row in one mode; throws where numbers or shapes are wrong. */
export async function check(c: Case, mode: Mode): Promise<Outcome> {
  const type = c.dtype ?? 'float64';
  const data = dataOf(c);
  const graph = new Graph('check');
  const g = createBuilder(inferNode, graph.inputs);
  const args = argumentsOf(c, data, mode, graph, g);
  const outs = nodeOf(c, args, g).outputs;
  const outputs = (c.loss ?? [0]).map((i) => outs[i]).filter((v) => v !== undefined);
  const inputs = new Map(
    args.flatMap((v, i) => {
      const d = data[i];
      return v === undefined || d === undefined || v.tensor !== undefined ? [] : [[v, d] as const];
    }),
  );
  const wrt = args.filter((v, i) => v !== undefined && inputs.has(v) && c.in[i]?.kind === 'float');
  const exact = c.linear === true;
  return checkGraph({
    graph,
    g,
    outputs,
    inputs,
    wrt: wrt.filter((v) => v !== undefined),
    skip: (c.skip ?? []).map((i) => args[i]).filter((v) => v !== undefined),
    opset: c.opset ?? 18,
    type,
    mode,
    refused: c.refused,
    exact,
    // Rounding of 1e-16 or 1e-7 over the step, and the step's fourth power, both lie below the tolerance.
    step: c.step ?? (type === 'float64' ? 1e-3 : exact ? 1 : 2e-2),
    tolerance: c.tolerance ?? (type === 'float64' ? 1e-8 : exact ? 1e-5 : 1e-4),
  });
}

/** Checks a row in each of its modes; an error says in which one. */
export async function inModes<R extends { readonly modes?: readonly Mode[] }, T>(
  row: R,
  run: (row: R, mode: Mode) => Promise<T>,
): Promise<T[]> {
  const outcomes: T[] = [];
  for (const mode of row.modes ?? modes)
    outcomes.push(
      await run(row, mode).catch((error: unknown) => {
        throw new Error(`${mode}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }),
    );
  return outcomes;
}

export interface Check {
  /** Holds the inputs; outputs are set here. */
  readonly graph: Graph;
  readonly g: Builder;
  /** What the loss reads, and what the gradients start from where that is another value with the same numbers. */
  readonly outputs: readonly Value[];
  readonly seeded?: readonly Value[];
  /** What computes the outputs, by name, where the graph holds another form of it. */
  readonly source?: Model;
  readonly inputs: ReadonlyMap<Value, Data>;
  readonly wrt: readonly Value[];
  readonly skip?: readonly Value[];
  readonly opset: number;
  readonly type: FloatType;
  readonly mode: Mode;
  readonly step: number;
  readonly tolerance: number;
  /** Linear in each input alone: one step of any size says it all. */
  readonly exact: boolean;
  readonly refused?: string | undefined;
}

let hear: ((error: number) => void) | undefined;

/** Hears the error of each check until the function that it gives back is called. Checks of one file run one after the other. */
export function onMeasured(listener: (error: number) => void): () => void {
  hear = listener;
  return () => {
    hear = undefined;
  };
}

/** The gradients of sum(outputs · random cotangents) against central differences. */
export async function checkGraph(c: Check): Promise<Outcome> {
  const { graph, g, outputs, type, step } = c;
  const next = random(99);
  graph.outputs.push(...outputs);
  graph.adopt();
  const forward = await session(c.source ?? modelOf(graph, c.opset));
  const feeds = Object.fromEntries([...c.inputs].map(([v, d]) => [v.name, ortTensor(d)]));
  const names = outputs.map((v) => v.name);
  const first = await forward.run(feeds);
  const cotangents = names.map((name): Data => {
    const t = first[name];
    if (t === undefined) throw new Error(`no output ${name}`);
    return { type, dims: t.dims, values: Array.from({ length: size(t.dims) }, () => normal(next, 0, 1)) };
  });
  const loss = async (changed: Record<string, OrtTensor>): Promise<number> => {
    const y = await forward.run({ ...feeds, ...changed });
    return cotangents.reduce((sum, d, j) => {
      const t = y[names[j] ?? ''];
      return t === undefined ? Number.NaN : sum + dot(numbers(t), d.values);
    }, 0);
  };

  const seeds = (c.seeded ?? outputs).map((y, j) => {
    const known = y.shape?.map((d, i) => (c.mode === 'static' ? (cotangents[j]?.dims[i] ?? d) : d));
    const dy = new Value(`dy${j}`, tensorType(type, known));
    graph.inputs.push(dy);
    return [y, dy] as const;
  });
  let found: Map<Value, Value>;
  try {
    found = gradients({ g, seeds, wrt: c.wrt });
  } catch (error) {
    const coded = error instanceof LoraifyError && error.code === 'UNSUPPORTED_SHAPE';
    if (coded && (c.mode === 'unranked' || (c.refused !== undefined && error.message.includes(c.refused))))
      return { error: 0, refused: true, ops: new Set() };
    throw error;
  }
  if (c.refused !== undefined) throw new Error(`not refused: ${c.refused}`);
  const results = new Map([...found].map(([v, dv]) => [v, g.Identity(dv)] as const));
  graph.outputs.push(...results.values());
  const before = new Set(graph.nodes);
  graph.adopt();
  if (lowerDropout(graph, g)) graph.adopt();
  const ops = new Set(graph.nodes.filter((n) => !before.has(n)).map((n) => n.op));
  const backward = await session(modelOf(graph, c.opset));
  const dys = Object.fromEntries(cotangents.map((d, j) => [`dy${j}`, ortTensor(d)]));
  const got = await backward.run({ ...feeds, ...dys });

  let worst = 0;
  for (const v of c.wrt) {
    const d = c.inputs.get(v);
    if (d === undefined) continue;
    const dx = got[results.get(v)?.name ?? ''];
    if (dx !== undefined && dx.dims.join() !== d.dims.join())
      throw new Error(`${v.name} has shape [${d.dims}], its gradient [${dx.dims}]`);
    const values = dx === undefined ? d.values.map(() => 0) : numbers(dx);
    if (!values.every(Number.isFinite)) throw new Error(`the gradient of ${v.name} is not finite: ${values}`);
    if (c.skip?.includes(v)) continue;
    const direction = d.values.map(() => normal(next, 0, 1));
    const moved = (by: number): Record<string, OrtTensor> => ({
      [v.name]: ortTensor({ ...d, values: d.values.map((x, j) => x + by * (direction[j] ?? 0)) }),
    });
    const slope = async (h: number): Promise<number> => ((await loss(moved(h))) - (await loss(moved(-h)))) / (2 * h);
    // Richardson: the curvature's share of two steps cancels, which leaves an error of the fourth order.
    const numeric = c.exact ? await slope(step) : (4 * (await slope(step / 2)) - (await slope(step))) / 3;
    const analytic = dot(values, direction);
    const magnitude = values.reduce((sum, x, j) => sum + Math.abs(x * (direction[j] ?? 0)), 0);
    const error = Math.abs(numeric - analytic) / Math.max(1, magnitude);
    if (!(error <= c.tolerance))
      throw new Error(`${v.name}: numeric ${numeric}, by rule ${analytic}, error ${error} > ${c.tolerance}`);
    worst = Math.max(worst, error);
  }
  await Promise.all([forward.release(), backward.release()]);
  hear?.(worst);
  return { error: worst, refused: false, ops };
}

function dot(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) throw new Error(`${a.length} values against ${b.length}`);
  return a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);
}

/** Float inputs of a hand-made graph, with their data. */
export function variables(
  graph: Graph,
  shapes: Readonly<Record<string, readonly number[]>>,
  mode: Mode = 'static',
  domain: Domain = normal,
  type: FloatType = 'float64',
): { values: Value[]; inputs: Map<Value, Data> } {
  const next = random(5);
  const inputs = new Map<Value, Data>();
  for (const [name, shape] of Object.entries(shapes)) {
    const v = new Value(name, tensorType(type, declared(f(shape), mode)));
    graph.inputs.push(v);
    const count = size(shape);
    inputs.set(v, {
      type,
      dims: shape,
      values: Array.from({ length: count }, (_, i) => domain(next, i, count)),
    });
  }
  return { values: [...inputs.keys()], inputs };
}

/** For titles: `Gemm transB=1, broadcast C`. */
export function title(c: Case): string {
  const attrs = Object.entries(c.attrs ?? {}).map(([key, v]) => `${key}=${Array.isArray(v) ? `[${v}]` : v}`);
  const shapes = c.in.map((a) => (a === undefined ? '-' : `[${a.shape}]`)).join(' ');
  return [`${c.op} ${shapes}`, ...attrs, ...(c.is === undefined ? [] : [c.is])].join(', ');
}
