/**
 * Random graphs through a compile: forward and gradients on ONNX Runtime against the graph that was written down. Many graphs
 * share a session, as one model with the inputs and outputs of all.
 */

import { InferenceSession, type Tensor as OrtTensor } from 'onnxruntime-node';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { resolveOptions } from '../../../src/compile/options.ts';
import { encodeModel } from '../../../src/emit/index.ts';
import { LoraifyError } from '../../../src/errors.ts';
import { sizeOf } from '../../../src/graph/layers.ts';
import { type Dim, type FunctionDef, Graph, type Model, tensorType, type Value } from '../../../src/graph/model.ts';
import { gradients } from '../../../src/passes/autodiff/index.ts';
import type { Target } from '../../../src/passes/index.ts';
import { exposeAdapters } from '../../../src/passes/lower/exposeAdapters.ts';
import { finish, forward } from '../../../src/passes/training/graphs.ts';
import { type Data, modelOf, numbers, ortTensor, random } from '../gradients/harness.ts';
import { localDomain } from './function.steps.ts';
import type { RandomGraph } from './graph.ts';

/** What has to agree. */
interface Subject {
  /** model.onnx of the compile, whose adapters are inputs. */
  readonly reference: Model;
  /** Outputs of the model, and a gradient for each moved input that it depends on. */
  readonly compiled: Model;
  readonly feeds: ReadonlyMap<string, Data>;
  /** Adapters as one vector. */
  readonly params: Data;
  readonly moved: readonly string[];
  readonly outputs: readonly string[];
  readonly gradients: ReadonlySet<string>;
  /** What the compile says of the lengths of the compiled graph's outputs, plain symbols replaced by what they stand for. */
  readonly lengths: ReadonlyMap<string, readonly Dim[] | undefined>;
}

const optionsFor = (target: Target) =>
  resolveOptions({
    rank: 2,
    alpha: 3,
    for: target,
    loss: 'output',
    lossOutput: 'loss',
    target: ['/(layer\\d+|anchor)(\\.\\d+)?/'],
    emit: ['model', 'eval'],
  });

/** Compiles a graph. Throws what the compile throws. */
export function subjectOf({ model, data, moved, type, target }: RandomGraph): Subject {
  const { graphs, prepared, layout, layers } = compileModel(model, optionsFor(target));
  const reference = graphs.get('model');
  if (reference === undefined || prepared === undefined) throw new Error('nothing compiled');
  exposeAdapters(reference, layers, 'required', false);
  const next = random(7);
  const params = Array.from({ length: layout.size }, () => Math.fround(next() - 0.5));
  const feeds = new Map(data);
  const adapters = layout.slots.flatMap((s) => [s.A, s.B]);
  for (const { name, offset, shape } of adapters) {
    const values = params.slice(offset, offset + sizeOf(shape));
    feeds.set(name, { type: 'float32', dims: shape, values });
  }
  const f = forward(prepared);
  const outputs = [...f.graph.outputs];
  const wanted = [...moved, ...adapters.map((s) => s.name)];
  const wrt = wanted.flatMap((name) => {
    const v = f.tensors.get(name) ?? f.graph.inputs.find((i) => i.name === name);
    return v === undefined ? [] : [v];
  });
  const found = gradients({ g: f.g, seeds: [f.attached.seed], wrt });
  const results = [...found].map(([v, dv]) => {
    const out = f.g.Identity(dv);
    out.name = `d.${v.name}`;
    return out;
  });
  const names = outputs.map((o) => o.name);
  finish(f, { target, stored: undefined }, [f.params], [...outputs, ...results]);
  // The anchor of a double model computes in float32, whose rounding is no business of the rest.
  const still = type === 'float64' ? new Set(adapters.map((s) => s.name)) : new Set();
  return {
    reference,
    compiled: f.model,
    feeds,
    params: { type: 'float32', dims: [layout.size], values: params },
    moved: wanted.filter((name) => !still.has(name)),
    outputs: names,
    gradients: new Set([...found.keys()].map((v) => v.name)),
    lengths: lengthsOf(f.graph, data),
  };
}

function lengthsOf(graph: Graph, data: ReadonlyMap<string, Data>): Subject['lengths'] {
  const symbols = new Map<Dim, Dim>();
  for (const v of graph.inputs)
    v.shape?.forEach((s, i) => {
      const n = data.get(v.name)?.dims[i];
      if (typeof s === 'string' && n !== undefined) symbols.set(s, n);
    });
  return new Map(graph.outputs.map((v) => [v.name, v.shape?.map((s) => symbols.get(s) ?? s)]));
}

// ---------------------------------------------------------------- one session for many

const named = (i: number, name: string): string => `${i}/${name}`;

/** The graphs beside each other, names and symbols kept apart. */
export function joined(models: readonly Model[], opset: number): Model {
  const all = new Graph('batch');
  const functions: FunctionDef[] = [];
  const domains = new Set(['']);
  models.forEach(({ graph, functions: own, opsets }, i) => {
    for (const domain of opsets.keys()) domains.add(domain);
    const renamed = new Map(own.map((f) => [f.name, `${f.name}_${i}`]));
    const nodes = [...graph.allNodes(), ...own.flatMap((f) => [...f.body.allNodes()])];
    for (const n of nodes) if (n.domain === localDomain) n.op = renamed.get(n.op) ?? n.op;
    functions.push(...own.map((f) => ({ ...f, name: renamed.get(f.name) ?? f.name })));
    const graphs = [...graph.allGraphs()];
    const values = graphs.flatMap((g) => [...g.inputs, ...g.initializers, ...g.nodes.flatMap((n) => n.outputs)]);
    for (const v of new Set(values)) if (v.name !== '') v.name = named(i, v.name);
    for (const v of [...graph.inputs, ...graph.outputs]) v.type = apart(v, i);
    for (const n of graph.allNodes()) n.name = named(i, n.name);
    all.inputs.push(...graph.inputs);
    all.outputs.push(...graph.outputs);
    all.initializers.push(...graph.initializers);
    all.nodes.push(...graph.nodes);
  });
  const model = modelOf(all, opset);
  for (const domain of domains) if (domain !== '') model.opsets.set(domain, 1);
  model.functions = functions;
  return model;
}

function apart(v: Value, i: number): Value['type'] {
  const shape = v.shape?.map((d): Dim => (typeof d === 'string' ? `${d}.${i}` : d));
  return tensorType(v.dtype, shape);
}

type Feeds = Record<string, OrtTensor>;

async function open(
  models: readonly Model[],
  opset: number,
  level: 'disabled' | 'basic' | 'all',
): Promise<InferenceSession> {
  return InferenceSession.create(encodeModel(joined(models, opset)), {
    intraOpNumThreads: 1,
    logSeverityLevel: 4,
    enableMemPattern: false,
    graphOptimizationLevel: level,
  });
}

// ---------------------------------------------------------------- comparing

/**
 * Of the differences: the fourth power of a step and the rounding of the loss over it both lie below the tolerances (1e-12 and
 * 1e-16/1e-3 in double precision, 1e-6 times a fifth derivative and 1e-6/3e-2 in single; the errors seen are a tenth of them).
 * Of ONNX Runtime: all that it does to a graph, except that in double precision a factor which it moves into a product (from
 * level `extended` on) is rounded to single.
 */
const numerics = {
  float64: { step: 1e-3, relative: 1e-7, absolute: 1e-8, forward: 1e-12, level: 'basic' },
  float32: { step: 2 ** -5, relative: 2e-3, absolute: 3e-4, forward: 2e-5, level: 'all' },
} as const;

/** Rounds of the differences: in each one another input is moved. */
const rounds = 6;

/** One message, or undefined, for each graph; all have one type and operator set. Throws where ONNX Runtime refuses one of them. */
export async function compare(
  subjects: readonly Subject[],
  { type, opset }: Pick<RandomGraph, 'type' | 'opset'>,
): Promise<(string | undefined)[]> {
  const { level, step, relative, absolute, forward: tolerance } = numerics[type];
  const reference = await open(
    subjects.map((s) => s.reference),
    opset,
    'disabled',
  );
  const compiled = await open(
    subjects.map((s) => s.compiled),
    opset,
    level,
  );
  const feeds: Feeds = {};
  subjects.forEach((s, i) => {
    for (const [name, d] of s.feeds) feeds[named(i, name)] = ortTensor(d);
  });
  const read = (i: number, from: Feeds, name: string): OrtTensor => {
    const t = from[named(i, name)];
    if (t === undefined) throw new Error(`no ${name}`);
    return t;
  };
  const needed = new Set(compiled.inputNames);
  const own = Object.fromEntries(Object.entries(feeds).filter(([name]) => needed.has(name)));
  subjects.forEach((s, i) => {
    if (needed.has(named(i, 'lora_params'))) own[named(i, 'lora_params')] = ortTensor(s.params);
  });
  const [y, z] = [await reference.run(feeds), await compiled.run(own)];
  const problems = subjects.map((s, i) => {
    for (const [name, dims] of s.lengths) {
      const real = read(i, z, name).dims;
      if (
        dims !== undefined &&
        (dims.length !== real.length || dims.some((n, j) => typeof n === 'number' && n !== real[j]))
      )
        return `${name} has shape [${real}], but [${dims}] is inferred`;
    }
    for (const name of s.outputs) {
      const problem = differs(read(i, y, name), read(i, z, name), tolerance);
      if (problem !== undefined) return `output ${name} ${problem}`;
    }
    return undefined;
  });
  const grads = subjects.map(
    (s, i) =>
      new Map(s.moved.map((name) => [name, s.gradients.has(name) ? numbers(read(i, z, `d.${name}`)) : undefined])),
  );

  const loss = async (by: (i: number) => Feeds): Promise<number[]> => {
    const changed = Object.assign({}, feeds, ...subjects.map((_, i) => by(i)));
    const run = await reference.run(
      changed,
      subjects.map((_, i) => named(i, 'loss')),
    );
    return subjects.map((_, i) => numbers(read(i, run, 'loss'))[0] ?? Number.NaN);
  };
  const next = random(11);
  for (let round = 0; round < rounds; round++) {
    const moves = subjects.map((s) => {
      const name = s.moved[round % s.moved.length] ?? '';
      const d = s.feeds.get(name);
      return { name, d, direction: d?.values.map(() => 2 * next() - 1) ?? [] };
    });
    const at = (h: number) =>
      loss((i) => {
        const [move, s] = [moves[i], subjects[i]];
        if (move?.d === undefined || s === undefined) return {};
        const { name, d, direction } = move;
        const by = h * step;
        return { [named(i, name)]: ortTensor({ ...d, values: d.values.map((x, j) => x + by * (direction[j] ?? 0)) }) };
      });
    const [p1, m1, p2, m2] = [await at(1), await at(-1), await at(0.5), await at(-0.5)];
    subjects.forEach((_, i) => {
      const move = moves[i];
      if (problems[i] !== undefined || move?.d === undefined) return;
      const slope = (p: readonly number[], m: readonly number[], h: number): number =>
        ((p[i] ?? Number.NaN) - (m[i] ?? Number.NaN)) / (2 * h);
      // Richardson: the curvature's share of two steps cancels.
      const numeric = (4 * slope(p2, m2, step / 2) - slope(p1, m1, step)) / 3;
      const grad = grads[i]?.get(move.name) ?? move.direction.map(() => 0);
      if (grad.length !== move.direction.length) {
        problems[i] = `the gradient of ${move.name} has ${grad.length} elements, not ${move.direction.length}`;
        return;
      }
      const terms = grad.map((x, j) => x * (move.direction[j] ?? 0));
      const analytic = terms.reduce((a, b) => a + b, 0);
      const magnitude = terms.reduce((a, b) => a + Math.abs(b), 0);
      const error = Math.abs(numeric - analytic);
      if (!(error <= relative * magnitude + absolute))
        problems[i] =
          `the slope along ${move.name} is ${numeric}, by its gradient ${analytic} (terms of ${magnitude} in all)`;
    });
  }
  await Promise.all([reference.release(), compiled.release()]);
  return problems;
}

/** ‖a - b‖ against ‖a‖, and shapes. */
function differs(a: OrtTensor, b: OrtTensor, tolerance: number): string | undefined {
  if (a.dims.join() !== b.dims.join()) return `has shape [${b.dims}], not [${a.dims}]`;
  const [p, q] = [numbers(a), numbers(b)];
  const norm = Math.hypot(...p);
  const error = Math.hypot(...p.map((x, i) => x - (q[i] ?? Number.NaN)));
  return error <= tolerance * (1 + norm) ? undefined : `is off by ${error}, with a norm of ${norm}`;
}

/** True where a refusal is a right answer: a rank or a length that the model does not say, or a type that a provider lacks. */
export const mayRefuse = (error: unknown, { mode, target }: RandomGraph): boolean =>
  error instanceof LoraifyError &&
  ((error.code === 'UNSUPPORTED_SHAPE' && (mode === 'unranked' || mode === 'unknown')) ||
    (error.code === 'PROVIDER_GAP' && target === 'cuda'));
