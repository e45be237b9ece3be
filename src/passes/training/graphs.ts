/**
 * The training graphs, each on its own copy of the prepared forward: evaluation, gradient, one step, and the optimizer alone.
 * The gradient graph is built once and finished; what comes after the gradient is added to copies of it.
 */
import { type Builder, createBuilder } from '../../graph/builder.ts';
import { optimizers } from '../../graph/choices/compile.ts';
import { losses } from '../../graph/choices/losses.ts';
import { cloneModel, emptyModel } from '../../graph/clone.ts';
import { type Graph, type Model, tensorType, Value } from '../../graph/model.ts';
import { gradients } from '../autodiff/index.ts';
import { joinAdapted } from '../canonicalize/joined.ts';
import { asType } from '../common/computeType.ts';
import { verify } from '../common/verify.ts';
import { seedDropout, withoutDropout } from '../dialect/dropout.ts';
import { type Attached, attachLoss } from '../loss/attachLoss.ts';
import { chooseLoss } from '../loss/chooseLoss.ts';
import { lowerDropout, masksFirst } from '../lower/dropoutMask.ts';
import { lowerTraining } from '../lower/trainingGraph.ts';
import { foldLengths } from '../normalize/index.ts';
import { simplify } from '../optimize/commonSubexpressions.ts';
import { dequantizeLate } from '../optimize/dequantizeLate.ts';
import { joinReshapes } from '../optimize/flattenRows.ts';
import { knownReshapes } from '../optimize/foldReshapes.ts';
import { speedUp } from '../optimize/index.ts';
import { runFirst, schedule } from '../optimize/schedule.ts';
import { columnVectors } from '../providers/columnVectors.ts';
import { wholePads } from '../providers/padAxes.ts';
import { otherForms } from '../providers/replacements.ts';
import { fewBuffers } from '../providers/splitWideNodes.ts';
import { inferNode } from '../shapes/index.ts';
import { optimizerStep, type State } from './optimizer.ts';
import type { Prepared, TrainingOptions } from './prepared.ts';
import { pack, type StateLayout, unpack } from './stateLayout.ts';

/** A forward with loss on its own copy of the graph, ready for gradients or outputs. */
export interface Forward {
  readonly model: Model;
  readonly graph: Graph;
  readonly g: Builder;
  readonly params: Value;
  readonly tensors: ReadonlyMap<string, Value>;
  readonly attached: Attached;
}

/** A flat float32 vector [P]. */
export const vector = (name: string, layout: StateLayout): Value =>
  new Value(name, tensorType('float32', [layout.size]));
export const scalarInput = (name: string): Value => new Value(name, tensorType('float32', []));

export function forward(p: Prepared): Forward {
  const { model } = cloneModel(p.model);
  const { graph } = model;
  const g = createBuilder(inferNode, graph.inputs);
  const params = vector(p.names.lora_params, p.layout);
  const tensors = unpack(g, p.layout, params, p.options.target);
  // A weight that is trained itself is read in its own type; its state, and the sum of its gradients, are float32.
  const typed = new Map<Value, Value>();
  const stateOf = (v: Value): Value | undefined => {
    const state = v.tensor === undefined ? undefined : tensors.get(v.name);
    if (state === undefined || state.dtype === v.dtype) return state;
    const made = typed.get(v) ?? g.within({ origin: v.name, rule: 'state/type' }, () => asType(g, state, v.dtype));
    typed.set(v, made);
    return made;
  };
  for (const node of graph.allNodes())
    node.inputs.forEach((v, i) => {
      const state = v === undefined ? undefined : stateOf(v);
      if (state !== undefined) node.setInput(i, state);
    });
  const { kind, output, classAxis } = p.choice;
  const chosen = chooseLoss(graph, { loss: kind, lossOutput: output, classAxis });
  const attached = attachLoss(g, chosen, p.options.loss, p.names.labels, p.options.target);
  return { model, graph, g, params, tensors, attached };
}

/** Gives values output names; a value that has one already, or is an input, is handed out through Identity. */
export function named(g: Builder, entries: readonly (readonly [string, Value])[]): Value[] {
  const used = new Set<Value>();
  return entries.map(([name, v]) => {
    const fixed = v.producer === undefined || used.has(v);
    const out = fixed ? g.Identity(v) : v;
    out.name = name;
    used.add(out);
    return out;
  });
}

/** Outputs set, what lengths that are fixed say folded, Adapted nodes lowered, equal nodes merged, unused inputs dropped, order made. */
export function finish(
  f: { model: Model; graph: Graph; g: Builder },
  { target, stored }: Pick<TrainingOptions, 'target' | 'stored'>,
  extra: readonly Value[],
  outputs: readonly Value[],
  isFixed = false,
): void {
  const { graph, g, model } = f;
  setOutputs(graph, outputs);
  graph.adopt();
  if (isFixed) foldLengths(model);
  lowerTraining(graph, g);
  wholePads(graph, g);
  columnVectors(graph, g);
  graph.adopt();
  otherForms(model, target);
  knownReshapes(graph, g);
  simplify(graph);
  speedUp(model, g, target, stored);
  if (isFixed) joinReshapes(graph);
  if (lowerDropout(graph, g)) graph.adopt();
  graph.prune();
  if (target === 'cuda') schedule(graph);
  if (target === 'webgpu') fewBuffers(graph, g);
  dequantizeLate(graph);
  masksFirst(graph);
  const read = new Set<Value>(graph.outputs);
  for (const n of graph.allNodes()) for (const v of n.inputs) if (v !== undefined) read.add(v);
  for (const n of graph.allNodes()) for (const b of n.bodies) for (const v of b.outputs) read.add(v);
  setInputs(
    graph,
    [...graph.inputs, ...extra].filter((v) => read.has(v)),
  );
  graph.strayInfo.length = 0;
  model.functions = [];
  verify(model);
}

export function setInputs(graph: Graph, inputs: readonly Value[]): void {
  graph.inputs.length = 0;
  graph.inputs.push(...inputs);
}

export function setOutputs(graph: Graph, outputs: readonly Value[]): void {
  graph.outputs.length = 0;
  graph.outputs.push(...outputs);
}

/** Forward and loss, no backward: `loss`, `weight`, and the model's outputs under their own names. */
export function buildEval(p: Prepared): Model {
  const f = forward(p);
  if (p.seeded) {
    withoutDropout(f.graph);
    if (p.options.target === 'cuda') joinAdapted(f.graph);
  }
  const own = [...f.graph.outputs];
  const loss = losses[p.choice.kind].over === 'caller' ? [] : [[p.names.loss, f.attached.loss] as const];
  const results = named(f.g, [...loss, [p.names.weight, f.attached.weight]]);
  finish(f, p.options, inputsOf(f), [
    ...results,
    ...own.filter((o) => !results.includes(o)).map((o) => readable(f.g, o)),
  ]);
  return f.model;
}

/** bfloat16 cannot leave a graph in JavaScript. */
function readable(g: Builder, v: Value): Value {
  if (v.dtype !== 'bfloat16') return v;
  const wide = g.Cast(v, { to: 1 });
  wide.name = v.name;
  v.name = `${v.name}.bfloat16`;
  return wide;
}

const inputsOf = (f: Forward): Value[] => [...(f.attached.labels === undefined ? [] : [f.attached.labels]), f.params];

/** The name of the loss output: `external` hands out the model's own output. */
export const lossName = (p: Prepared): string =>
  losses[p.choice.kind].over === 'caller' ? p.choice.output : p.names.loss;

/** `loss`, `weight`, `lora_grad`. With a loss scale the gradient comes in multiplied by it and goes out divided by it. */
export function buildGrad(p: Prepared): Model {
  const f = forward(p);
  const seeds = p.seeded ? [new Value(p.names.lora_seed, tensorType('int32', []))] : [];
  for (const seed of seeds) seedDropout(f.graph, f.g, seed);
  const scale = p.lossScaled ? scalarInput(p.names.lora_loss_scale) : undefined;
  const [at, dz] = f.attached.seed;
  const seed = f.g.within({ origin: 'loss', rule: 'loss/scale' }, () => {
    const scaled = scale === undefined ? dz : f.g.Mul(dz, scale);
    return at.dtype === undefined ? f.g.CastLike(scaled, at) : asType(f.g, scaled, at.dtype);
  });
  const found = gradients({ g: f.g, seeds: [[at, seed]], wrt: [...f.tensors.values()] });
  const byName = new Map(
    [...f.tensors].flatMap(([name, v]) => (found.has(v) ? [[name, found.get(v) ?? v] as const] : [])),
  );
  const packed = pack(f.g, p.layout, byName, p.options.target);
  const grad =
    scale === undefined ? packed : f.g.within({ origin: 'state', rule: 'loss/scale' }, () => f.g.Div(packed, scale));
  finish(
    f,
    p.options,
    [...inputsOf(f), ...seeds, ...(scale === undefined ? [] : [scale])],
    named(f.g, [
      [lossName(p), f.attached.loss],
      [p.names.weight, f.attached.weight],
      [p.names.lora_grad, grad],
    ]),
    p.fixed !== undefined,
  );
  return f.model;
}

/** A copy of the gradient graph that more can be added to. */
export interface Differentiated {
  readonly model: Model;
  readonly graph: Graph;
  readonly g: Builder;
  readonly params: Value;
  readonly lossScale: Value | undefined;
  /** Of the dropout masks; none where there are none. */
  readonly seeds: readonly Value[];
  readonly loss: Value;
  readonly weight: Value;
  readonly grad: Value;
}

export function differentiated(p: Prepared): Differentiated {
  const { model } = cloneModel(p.gradient());
  const { graph } = model;
  const [loss, weight, grad] = graph.outputs;
  const input = (name: string): Value | undefined => graph.inputs.find((v) => v.name === name);
  const params = input(p.names.lora_params) ?? vector(p.names.lora_params, p.layout);
  const lossScale = p.lossScaled ? (input(p.names.lora_loss_scale) ?? scalarInput(p.names.lora_loss_scale)) : undefined;
  const seeds = graph.inputs.filter((v) => p.seeded && v.name === p.names.lora_seed);
  if (loss === undefined || weight === undefined || grad === undefined)
    throw new Error('the gradient graph is incomplete');
  const g = createBuilder(inferNode, graph.inputs, graph.initializers);
  return { model, graph, g, params, lossScale, seeds, loss, weight, grad };
}

type Carried = Pick<Differentiated, 'params' | 'lossScale'>;

/** The state as inputs, of which the gradient reads the parameters and the loss scale. */
export const stateInputs = (p: Prepared, { params, lossScale }: Carried): State => ({
  params,
  m: vector(p.names.lora_m, p.layout),
  v: optimizers[p.options.optimizer.kind].slots.includes('v') ? vector(p.names.lora_v, p.layout) : undefined,
  step: scalarInput(p.names.lora_step),
  lossScale,
});

const present = (list: readonly (Value | undefined)[]): Value[] => list.filter((v) => v !== undefined);

export const stateValues = (s: State): Value[] => present([s.params, s.m, s.v, s.step, s.lossScale]);

export const nextEntries = (p: Prepared, next: State): [string, Value][] => [
  [`${p.names.lora_params}_next`, next.params],
  [`${p.names.lora_m}_next`, next.m],
  ...(next.v === undefined ? [] : [[`${p.names.lora_v}_next`, next.v] as [string, Value]]),
  [`${p.names.lora_step}_next`, next.step],
  ...(next.lossScale === undefined ? [] : [[`${p.names.lora_loss_scale}_next`, next.lossScale] as [string, Value]]),
];

/** Inputs in their order: the model's and the labels as the gradient graph has them, then the state, then `rest`. */
export const withState = (d: Differentiated, state: State, rest: readonly Value[]): Value[] => [
  ...d.graph.inputs.filter((v) => v !== d.params && v !== d.lossScale && !d.seeds.includes(v)),
  ...stateValues(state),
  ...rest,
];

/** One optimizer step. */
export function buildTrain(p: Prepared): Model {
  const d = differentiated(p);
  const { g, graph, model } = d;
  const state = stateInputs(p, d);
  const lr = scalarInput(p.names.lora_lr);
  const { norm, next } = optimizerStep(g, d.grad, state, lr, p.options.optimizer);
  setInputs(graph, withState(d, state, [lr, ...d.seeds]));
  release(d);
  setOutputs(graph, [d.loss, ...named(g, [[p.names.grad_norm, norm], ...nextEntries(p, next)])]);
  graph.extend();
  if (p.options.target === 'cuda') runFirst(graph, d.loss);
  verify(model);
  return model;
}

/** The gradient graph's outputs that the graph at hand keeps inside go back to names of their own. */
export function release(d: Differentiated): void {
  for (const v of [d.weight, d.grad]) v.name = `grad.${v.name}`;
}

/** The optimizer alone. */
export function buildUpdate(p: Prepared): Model {
  const model = emptyModel(p.model, 'update');
  const g = createBuilder(inferNode);
  const grad = vector(p.names.lora_grad, p.layout);
  const state = stateInputs(p, {
    params: vector(p.names.lora_params, p.layout),
    lossScale: p.lossScaled ? scalarInput(p.names.lora_loss_scale) : undefined,
  });
  const lr = scalarInput(p.names.lora_lr);
  const { norm, next } = optimizerStep(g, grad, state, lr, p.options.optimizer);
  setInputs(model.graph, [grad, ...stateValues(state), lr]);
  setOutputs(model.graph, named(g, [[p.names.grad_norm, norm], ...nextEntries(p, next)]));
  model.graph.extend();
  verify(model);
  return model;
}
