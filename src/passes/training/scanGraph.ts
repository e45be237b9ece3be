/** K optimizer steps in one run: the step graph as the body of a Scan. */

import { createBuilder } from '../../graph/builder.ts';
import { emptyModel } from '../../graph/clone.ts';
import { type Model, tensorType, Value } from '../../graph/model.ts';
import { staysInside } from '../../graph/tensor.ts';
import { verify } from '../common/verify.ts';
import { runFirst } from '../optimize/schedule.ts';
import {
  type Differentiated,
  differentiated,
  lossName,
  named,
  nextEntries,
  release,
  scalarInput,
  setInputs,
  setOutputs,
  stateInputs,
  stateValues,
  vector,
  withState,
} from './graphs.ts';
import { chosen, optimizerStep, type State } from './optimizer.ts';
import type { Prepared } from './prepared.ts';

/**
 * State and the gradient gathered so far are carried, batches and learning rates are scanned. Weights stay outside the body. A
 * step whose `lora_apply` is false only adds its gradient, weighted by its element count.
 */
export function buildTrainK(p: Prepared): Model {
  const d = differentiated(p);
  const { graph } = d;
  const state = stateInputs(p, d);
  const { carried, perStep } = stepBody(p, d, state);
  graph.name = 'step';

  const model = emptyModel(d.model, 'train_k');
  // Types are set here: to infer them would walk the body again.
  const outer = createBuilder();
  const states = stateValues(state);
  const feeds = new Map<Value, Value>(
    [...states, ...perStep].map((v) => {
      const shape = states.includes(v) || v.shape === undefined ? v.shape : ['K', ...v.shape];
      return [v, new Value(v.name, tensorType(v.dtype, shape))];
    }),
  );
  // Names are unique over nested scopes: the body's own inputs and outputs step aside.
  for (const v of [...graph.inputs, ...graph.outputs]) v.name = `step.${v.name}`;
  const zeros = outer.Expand(outer.float(0), outer.ints([p.layout.size]));
  zeros.type = tensorType('float32', [p.layout.size]);
  const results = outer.node({
    op: 'Scan',
    inputs: [...states.map((v) => feeds.get(v) ?? v), zeros, outer.float(0), ...perStep.map((v) => feeds.get(v) ?? v)],
    attrs: { body: graph, num_scan_inputs: perStep.length },
    outputs: graph.outputs.length,
  });
  results.forEach((v, i) => {
    const inner = graph.outputs[i];
    const stacked = i < carried.length || inner?.shape === undefined ? inner?.shape : ['K', ...inner.shape];
    v.type = tensorType(inner?.dtype, stacked);
  });
  for (const v of results.slice(states.length, carried.length)) v.name = `${v.name}.rest`;
  const at = (i: number): Value => results[i] ?? zeros;
  model.graph.inputs.push(...feeds.values());
  model.graph.outputs.push(
    ...named(outer, [
      [lossName(p), at(carried.length)],
      [p.names.grad_norm, at(carried.length + 1)],
      ...nextEntries(p, state).map(([name], i) => [name, at(i)] as const),
    ]),
  );
  // Frozen weights are captured from outside. Small constants stay: ONNX Runtime's optimizer looks for those of a pattern in the
  // graph of its nodes, and fuses a quantized Conv wrongly where it sees only some.
  const own = graph.initializers.splice(0);
  for (const v of own) (v.tensor === undefined || staysInside(v.tensor) ? graph : model.graph).initializers.push(v);
  model.graph.extend();
  verify(model);
  return model;
}

/** Turns the gradient graph into one step: inputs are the carried values, then those of each step; outputs likewise. */
function stepBody(
  p: Prepared,
  d: Differentiated,
  state: State,
): { carried: readonly Value[]; perStep: readonly Value[] } {
  const { g, graph, grad, weight } = d;
  const lr = scalarInput(p.names.lora_lr);
  const apply = new Value(p.names.lora_apply, tensorType('bool', []));
  const sum = vector('lora_gathered', p.layout);
  const count = scalarInput('lora_gathered_weight');
  const gathered = g.within({ origin: 'gather', rule: 'train_k/gather' }, () => {
    const total = g.Add(count, weight);
    const sums = g.Add(sum, g.Mul(grad, weight));
    // Alone, a step's gradient stays what it is to the bit.
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
  const perStep = withState(d, state, [lr, ...d.seeds, apply]).filter((v) => !carried.includes(v));
  setInputs(graph, [...carried, ...perStep]);
  release(d);
  const entries = carried.map((v, i) => [`${v.name}_out`, carriedNext[i] ?? v] as const);
  setOutputs(graph, [...named(g, entries), d.loss, ...named(g, [[p.names.grad_norm, norm]])]);
  graph.extend();
  if (p.options.target === 'cuda') runFirst(graph, d.loss);
  return { carried, perStep };
}
