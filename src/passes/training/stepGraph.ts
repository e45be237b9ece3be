/** The optimizer behind a copy of the gradient graph (train.onnx), or alone (update.onnx). */
import { type Builder, createBuilder } from '../../graph/builder.ts';
import { optimizers } from '../../graph/choices/compile.ts';
import { cloneModel, emptyModel } from '../../graph/clone.ts';
import type { Value } from '../../graph/model.ts';
import type { PassContext } from '../common/pass.ts';
import type { Target } from '../common/target.ts';
import { inferNode } from '../shapes/index.ts';
import { named, scalarInput, setInputs, setOutputs, vector } from './forward.ts';
import { optimizerStep, type State } from './optimizer.ts';
import type { Prepared } from './prepared.ts';

/** A copy of the gradient graph, which passes extend. */
export interface StepContext extends PassContext {
  readonly prepared: Prepared;
  readonly target: Target;
  readonly g: Builder;
  readonly params: Value;
  readonly lossScale: Value | undefined;
  /** Seeds of dropout masks: none or one. */
  readonly seeds: readonly Value[];
  readonly loss: Value;
  readonly weight: Value;
  readonly grad: Value;
}

export function stepContext(p: Prepared): StepContext {
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
  return { prepared: p, target: p.options.target, model, g, params, lossScale, seeds, loss, weight, grad };
}

type ReadState = Pick<StepContext, 'params' | 'lossScale'>;

/** The state as inputs; the gradient graph already has the parameters and the loss scale. */
export const stateInputs = (p: Prepared, { params, lossScale }: ReadState): State => ({
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

/** Inputs in order: the model's and the labels as in the gradient graph, then the state, then `rest`. */
export const withState = (c: StepContext, state: State, rest: readonly Value[]): Value[] => [
  ...c.model.graph.inputs.filter((v) => v !== c.params && v !== c.lossScale && !c.seeds.includes(v)),
  ...stateValues(state),
  ...rest,
];

/** Renames outputs of the gradient graph that are inner values of a step. */
export function renameInner(c: StepContext): void {
  for (const v of [c.weight, c.grad]) v.name = `grad.${v.name}`;
}

/** One optimizer step behind the gradient: `loss`, `grad_norm` and the next state. */
export function addOptimizer(c: StepContext): void {
  const { prepared: p, g } = c;
  const { graph } = c.model;
  const state = stateInputs(p, c);
  const lr = scalarInput(p.names.lora_lr);
  const { norm, next } = optimizerStep(g, c.grad, state, lr, p.options.optimizer);
  setInputs(graph, withState(c, state, [lr, ...c.seeds]));
  renameInner(c);
  setOutputs(graph, [c.loss, ...named(g, [[p.names.grad_norm, norm], ...nextEntries(p, next)])]);
}

/** The context of update.onnx. */
export interface UpdateContext extends PassContext {
  readonly prepared: Prepared;
}

/** The optimizer alone: from `lora_grad` and the state to `grad_norm` and the next state. */
export function optimizerAlone(c: UpdateContext): void {
  const { prepared: p } = c;
  c.model = emptyModel(p.model, 'update');
  const g = createBuilder(inferNode);
  const grad = vector(p.names.lora_grad, p.layout);
  const state = stateInputs(p, {
    params: vector(p.names.lora_params, p.layout),
    lossScale: p.lossScaled ? scalarInput(p.names.lora_loss_scale) : undefined,
  });
  const lr = scalarInput(p.names.lora_lr);
  const { norm, next } = optimizerStep(g, grad, state, lr, p.options.optimizer);
  setInputs(c.model.graph, [grad, ...stateValues(state), lr]);
  setOutputs(c.model.graph, named(g, [[p.names.grad_norm, norm], ...nextEntries(p, next)]));
}
