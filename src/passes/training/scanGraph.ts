/** K optimizer steps in one run (train_k.onnx): the step graph as the body of a Scan. */
import { type Builder, createBuilder } from '../../graph/builder.ts';
import { emptyModel } from '../../graph/clone.ts';
import { type Graph, tensorType, Value } from '../../graph/model.ts';
import { staysInside } from '../../graph/tensor.ts';
import { lossName, named, scalarInput, setInputs, setOutputs, vector } from './forward.ts';
import { chosen, optimizerStep, type State } from './optimizer.ts';
import type { Prepared } from './prepared.ts';
import {
  nextEntries,
  renameInner,
  type StepContext,
  stateInputs,
  stateValues,
  stepContext,
  withState,
} from './stepGraph.ts';

/** A step graph that becomes a body, with the information that its Scan needs. */
export interface ScanContext extends StepContext {
  readonly state: State;
  /** Loop-carried inputs of the body, and those that differ from step to step. */
  carried: readonly Value[];
  perStep: readonly Value[];
}

export function scanContext(p: Prepared): ScanContext {
  const c = stepContext(p);
  return { ...c, state: stateInputs(p, c), carried: [], perStep: [] };
}

/**
 * Makes the gradient graph one step of a Scan: its inputs are the loop-carried values, then those of each step; its
 * outputs likewise. A step whose `lora_apply` is false only adds its gradient, weighted by its element count.
 */
export function stepBody(c: ScanContext): void {
  const { prepared: p, g, state, grad, weight } = c;
  const { graph } = c.model;
  const lr = scalarInput(p.names.lora_lr);
  const apply = new Value(p.names.lora_apply, tensorType('bool', []));
  const sum = vector('lora_gathered', p.layout);
  const count = scalarInput('lora_gathered_weight');
  const gathered = g.within({ origin: 'gather', rule: 'train_k/gather' }, () => {
    const total = g.Add(count, weight);
    const sums = g.Add(sum, g.Mul(grad, weight));
    // Without accumulation the gradient is bitwise unchanged.
    const first = g.Equal(count, g.float(0));
    const safe = g.Where(g.Equal(total, g.float(0)), g.float(1), total);
    return { total, sums, mean: g.Where(first, grad, g.Div(sums, safe)) };
  });
  const { norm, next } = optimizerStep(g, gathered.mean, state, lr, p.options.optimizer);
  const carried = [...stateValues(state), sum, count];
  const carriedNext = g.within({ origin: 'apply', rule: 'train_k/apply' }, () => [
    ...stateValues(chosen(g, apply, next, state)),
    g.Where(apply, g.float(0), gathered.sums),
    g.Where(apply, g.float(0), gathered.total),
  ]);
  const perStep = withState(c, state, [lr, ...c.seeds, apply]).filter((v) => !carried.includes(v));
  setInputs(graph, [...carried, ...perStep]);
  renameInner(c);
  const entries = carried.map((v, i) => [`${v.name}_out`, carriedNext[i] ?? v] as const);
  setOutputs(graph, [...named(g, entries), c.loss, ...named(g, [[p.names.grad_norm, norm]])]);
  graph.name = 'step';
  Object.assign(c, { carried, perStep });
}

/**
 * Builds the Scan around the step. State and accumulated gradient are loop-carried, batches and learning rates are
 * scanned; weights are outer values.
 */
export function scanSteps(c: ScanContext): void {
  const { prepared: p, state, carried, perStep } = c;
  const body = c.model.graph;
  const model = emptyModel(c.model, 'train_k');
  // Types are set here, because inference would walk the body again.
  const outer = createBuilder();
  const feeds = new Map<Value, Value>(
    [...stateValues(state), ...perStep].map((v) => {
      const shape = perStep.includes(v) && v.shape !== undefined ? ['K', ...v.shape] : v.shape;
      return [v, new Value(v.name, tensorType(v.dtype, shape))];
    }),
  );
  const results = scanNode(outer, c, body, feeds);
  const at = (i: number): Value => results[i] ?? c.loss;
  model.graph.inputs.push(...feeds.values());
  model.graph.outputs.push(
    ...named(outer, [
      [lossName(p), at(carried.length)],
      [p.names.grad_norm, at(carried.length + 1)],
      ...nextEntries(p, state).map(([name], i) => [name, at(i)] as const),
    ]),
  );
  // Frozen weights are captured from outside. Small constants stay in the body: ONNX Runtime's optimizer looks for the
  // constants of a pattern in the graph of its nodes, and fuses a quantized Conv wrongly if it finds only some of them.
  const own = body.initializers.splice(0);
  for (const v of own) (v.tensor === undefined || staysInside(v.tensor) ? body : model.graph).initializers.push(v);
  c.model = model;
}

/** The Scan node's outputs: the loop-carried values after the last step, then loss and norm of every step. */
function scanNode(
  outer: Builder,
  { prepared: p, state, carried, perStep }: ScanContext,
  body: Graph,
  feeds: ReadonlyMap<Value, Value>,
): Value[] {
  const states = stateValues(state);
  // Names are unique over nested scopes: the body's own inputs and outputs get a prefix.
  for (const v of [...body.inputs, ...body.outputs]) v.name = `step.${v.name}`;
  const zeros = outer.Expand(outer.float(0), outer.ints([p.layout.size]));
  zeros.type = tensorType('float32', [p.layout.size]);
  const results = outer.node({
    op: 'Scan',
    inputs: [...states.map((v) => feeds.get(v) ?? v), zeros, outer.float(0), ...perStep.map((v) => feeds.get(v) ?? v)],
    attrs: { body, num_scan_inputs: perStep.length },
    outputs: body.outputs.length,
  });
  results.forEach((v, i) => {
    const inner = body.outputs[i];
    const stacked = i < carried.length || inner?.shape === undefined ? inner?.shape : ['K', ...inner.shape];
    v.type = tensorType(inner?.dtype, stacked);
  });
  for (const v of results.slice(states.length, carried.length)) v.name = `${v.name}.rest`;
  return results;
}
