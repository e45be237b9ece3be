/**
 * The forward with its loss on a copy of the prepared graph, with A and B read from the flat state: the start of every
 * training graph.
 */
import { type Builder, createBuilder } from '../../graph/builder.ts';
import { losses } from '../../graph/choices/losses.ts';
import { cloneModel } from '../../graph/clone.ts';
import { type Graph, tensorType, Value } from '../../graph/model.ts';
import { opKey } from '../../graph/operators.ts';
import type { HalfType } from '../../graph/rounding.ts';
import { asType } from '../common/computeType.ts';
import type { PassContext } from '../common/pass.ts';
import type { Target } from '../common/target.ts';
import { type Attached, attachLoss } from '../loss/attachLoss.ts';
import { chooseLoss } from '../loss/chooseLoss.ts';
import { inferNode } from '../shapes/index.ts';
import type { Prepared } from './prepared.ts';
import { type StateLayout, unpack } from './stateLayout.ts';

/** The context of the passes over a forward or a gradient graph. */
export interface GraphContext extends PassContext {
  readonly g: Builder;
  readonly target: Target;
  /** The type of rounded weights. */
  readonly stored: HalfType | undefined;
  /** Whether dims that the source leaves open are numbers in this graph. */
  readonly fixed: boolean;
}

/** A context that starts with a copy of the prepared graph. */
export interface ForwardContext extends GraphContext {
  readonly prepared: Prepared;
}

export function forwardContext(prepared: Prepared): ForwardContext {
  const { model } = cloneModel(prepared.model);
  const { target, stored } = prepared.options;
  // The sizes of symbols are read from the model's own inputs, never from labels or state.
  const g = createBuilder(inferNode, [...model.graph.inputs]);
  return { prepared, model, g, target, stored, fixed: prepared.fixed !== undefined };
}

/** A forward with its loss: the flat state, its slices by tensor name, and the loss. */
export interface Forward {
  readonly params: Value;
  readonly tensors: ReadonlyMap<string, Value>;
  readonly attached: Attached;
}

/** A flat float32 vector [P]. */
export const vector = (name: string, layout: StateLayout): Value =>
  new Value(name, tensorType('float32', [layout.size]));
export const scalarInput = (name: string): Value => new Value(name, tensorType('float32', []));

/**
 * Replaces A, B and modules_to_save by slices of the flat state and attaches the loss. New nodes are detached until
 * outputs reach them.
 */
export function forward({ prepared: p, model, g }: ForwardContext): Forward {
  const { graph } = model;
  const params = vector(p.names.lora_params, p.layout);
  const tensors = unpack(g, p.layout, params, p.options.target);
  // A modules_to_save weight is read in its own type; its state, and the sum of its gradients, are float32.
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
  return { params, tensors, attached };
}

/** Gives values output names; a value that already has one, or is an input, gets an Identity. */
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

export function setInputs(graph: Graph, inputs: readonly Value[]): void {
  graph.inputs.length = 0;
  graph.inputs.push(...inputs);
}

export function setOutputs(graph: Graph, outputs: readonly Value[]): void {
  graph.outputs.length = 0;
  graph.outputs.push(...outputs);
}

/** Labels and state. */
export const forwardInputs = (f: Forward): Value[] => [
  ...(f.attached.labels === undefined ? [] : [f.attached.labels]),
  f.params,
];

/** The name of the loss output: with `external` it is the model's own output. */
export const lossName = (p: Prepared): string =>
  losses[p.choice.kind].over === 'caller' ? p.choice.output : p.names.loss;

/**
 * eval.onnx: `loss`, `weight`, and the model's outputs under their own names. A ZipMap, whose maps JavaScript cannot
 * read, is left out: its output is the tensor that it makes maps of.
 */
export function evaluate(c: ForwardContext): void {
  const { prepared: p, g } = c;
  const { graph } = c.model;
  const f = forward(c);
  const own = [...graph.outputs];
  const loss = losses[p.choice.kind].over === 'caller' ? [] : [[p.names.loss, f.attached.loss] as const];
  const results = named(g, [...loss, [p.names.weight, f.attached.weight]]);
  graph.inputs.push(...forwardInputs(f));
  setOutputs(graph, [...results, ...own.filter((o) => !results.includes(o)).map((o) => readable(g, o))]);
}

/** Casts a bfloat16 output, which JavaScript cannot read, and replaces the maps of a ZipMap by their numbers. */
function readable(g: Builder, v: Value): Value {
  const zipped =
    v.producer !== undefined && opKey(v.producer) === 'ai.onnx.ml.ZipMap' ? v.producer.inputs[0] : undefined;
  if (zipped !== undefined) return renamed(v, g.Identity(zipped), 'map');
  return v.dtype === 'bfloat16' ? renamed(v, g.Cast(v, { to: 1 }), 'bfloat16') : v;
}

/** `made` under the name of an output. */
function renamed(v: Value, made: Value, suffix: string): Value {
  made.name = v.name;
  v.name = `${v.name}.${suffix}`;
  return made;
}
