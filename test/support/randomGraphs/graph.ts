/** A random graph out of a recipe: a list of decisions of which every one, and every part of one, is a valid graph. */

import fc from 'fast-check';
import { sizeOf } from '../../../src/graph/layers.ts';
import { type Model, tensorType, Value } from '../../../src/graph/model.ts';
import { tensorOf } from '../../../src/graph/tensor.ts';
import type { Target } from '../../../src/passes/index.ts';
import { type Data, modelOf } from '../gradients/harness.ts';
import { createDraft, type Draft, type Floats, type Mode, modes } from './draft.ts';
import { steps } from './steps.ts';

export const opsets = [18, 21, 24, 26] as const;

const providers = ['portable', 'portable', 'cpu', 'cuda'] as const;

export interface Recipe {
  /** Of the values. */
  readonly seed: number;
  /** Type, opset, what the inputs say about their shapes, the first input. */
  readonly head: readonly number[];
  readonly steps: readonly (readonly number[])[];
}

const decision = fc.nat({ max: 2 ** 20 });
const decisions = (count: number): fc.Arbitrary<number[]> =>
  fc.array(decision, { minLength: count, maxLength: count, size: 'max' });

export const recipes: fc.Arbitrary<Recipe> = fc.record({
  seed: decision,
  head: decisions(8),
  steps: fc.array(decisions(20), { minLength: 1, maxLength: 9, size: 'max' }),
});

/** The recipe of a seed. */
export function recipeOf(seed: number): Recipe {
  const [recipe] = fc.sample(recipes, { seed, numRuns: 1 });
  if (recipe === undefined) throw new Error('no recipe');
  return recipe;
}

export interface RandomGraph {
  /** A model as a file holds it: only inputs and outputs have types. Its first output, a scalar, is the loss. */
  readonly model: Model;
  readonly type: Floats;
  readonly opset: number;
  readonly mode: Mode;
  /** The provider that the compile is for: the graphs of all run on the CPU. */
  readonly target: Target;
  /** All inputs. */
  readonly data: ReadonlyMap<string, Data>;
  /** Inputs whose gradient is asked for. */
  readonly moved: readonly string[];
  /** Operators drawn. */
  readonly ops: ReadonlySet<string>;
}

export function graphOf({ seed, head, steps: list }: Recipe): RandomGraph {
  const [t = 0, o = 0, m = 0, p = 0, ...rest] = head;
  const type: Floats = t % 2 === 0 ? 'float32' : 'float64';
  const opset = opsets[o % opsets.length] ?? 18;
  const mode = modes[m % modes.length] ?? 'static';
  const draft = createDraft(type, opset, mode, seed, rest);
  const open = steps.filter(
    (s) => (s.only ?? type) === type && (s.since ?? 0) <= opset && opset < (s.before ?? Infinity),
  );
  for (const [which = 0, ...draws] of list) {
    draft.decideBy(draws);
    open[which % open.length]?.make(draft);
  }
  draft.decideBy(rest);
  const results = [...draft.loose];
  const loss = draft.g.Add(total(draft), anchor(draft));
  loss.name = 'loss';
  loss.type = tensorType(type, []);
  const { graph } = draft;
  graph.outputs.push(loss, ...results.map((e) => e.value).filter((v) => v.producer !== undefined));
  graph.outputs.slice(1).forEach((v, i) => {
    v.name = `y${i}`;
  });
  graph.adopt();
  const ops = new Set(graph.nodes.map((n) => n.op));
  forget(draft);
  const model = modelOf(graph, opset);
  model.functions = draft.functions;
  for (const n of graph.allNodes()) if (n.domain !== '') model.opsets.set(n.domain, 1);
  const named = (v: Value): readonly [string, Data][] => {
    const d = draft.data.get(v);
    return d === undefined ? [] : [[v.name, d]];
  };
  return {
    model,
    type,
    opset,
    mode,
    target: providers[p % providers.length] ?? 'portable',
    data: new Map(graph.inputs.flatMap(named)),
    moved: draft.moved.map((v) => v.name),
    ops,
  };
}

/** The sum of all results, each element with a weight of its own. */
function total(d: Draft): Value {
  const { g } = d;
  const each = [...d.loose].map(({ value, shape }): Value => {
    const count = sizeOf(shape);
    if (d.draw(2) === 0) {
      const weights = Array.from({ length: count }, (_, i) => Math.fround(Math.cos(1.7 * i)));
      return g.ReduceSum(g.Mul(value, g.constant(d.type, shape, weights)), undefined, { keepdims: 0 });
    }
    const line = g.CastLike(g.Range(g.int(0), g.Size(value), g.int(1)), value);
    const weighted = g.Mul(g.Reshape(value, g.ints([-1])), g.Cos(g.Mul(line, d.scalar(1.7))));
    return g.ReduceSum(weighted, g.ints([0]), { keepdims: 0 });
  });
  return each.length === 1 ? g.Identity(each[0] ?? d.scalar(0)) : g.Sum(each);
}

/** A layer on an input of its own, so that every graph can be compiled: it adds nothing that an input could change. */
function anchor(d: Draft): Value {
  const { g } = d;
  const weight = g.tensor('anchor.weight', tensorOf('float32', [2, 3], [1, 2, 3, 4, 5, 6]));
  const x = new Value('anchor', tensorType('float32', [1, 2]));
  d.graph.inputs.push(x);
  d.data.set(x, { type: 'float32', dims: [1, 2], values: [0.5, -1] });
  const y = g.MatMul(x, weight);
  const sum = g.ReduceSum(y, undefined, { keepdims: 0 });
  return d.type === 'float32' ? sum : g.Cast(sum, { to: 11 });
}

/** Inputs and outputs keep types, as a file says them; what lies between is for the compiler to infer. */
function forget(d: Draft): void {
  const { graph } = d;
  d.declare();
  const outputs = new Set(graph.outputs);
  for (const node of graph.nodes)
    for (const v of node.outputs) {
      v.elements = undefined;
      v.type = outputs.has(v) && v.name !== 'loss' ? tensorType(v.dtype, undefined) : undefined;
    }
  const [loss] = graph.outputs;
  if (loss !== undefined) loss.type = tensorType(d.type, []);
}
