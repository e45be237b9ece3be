/** The gradient of the loss with respect to the flat state, and the graph's interface. */
import { lossUnreached } from '../../errors.ts';
import { tensorType, Value } from '../../graph/model.ts';
import { gradients } from '../autodiff/index.ts';
import { asType } from '../common/computeType.ts';
import { seedDropout } from '../dialect/dropout.ts';
import {
  type ForwardContext,
  forward,
  forwardInputs,
  type GraphContext,
  lossName,
  named,
  scalarInput,
  setInputs,
  setOutputs,
} from './forward.ts';
import { pack } from './stateLayout.ts';

/**
 * Adds the outputs `loss`, `weight` and `lora_grad`. With a loss scale, differentiation starts with the scaled
 * gradient, and the result is divided by the scale.
 */
export function differentiate(c: ForwardContext): void {
  const { prepared: p, g } = c;
  const { graph } = c.model;
  const f = forward(c);
  const seeds = p.seeded ? [new Value(p.names.lora_seed, tensorType('int32', []))] : [];
  for (const seed of seeds) seedDropout(graph, g, seed);
  const scale = p.lossScaled ? scalarInput(p.names.lora_loss_scale) : undefined;
  const [at, dz] = f.attached.seed;
  const seed = g.within({ origin: 'loss', rule: 'loss/scale' }, () => {
    const scaled = scale === undefined ? dz : g.Mul(dz, scale);
    return at.dtype === undefined ? g.CastLike(scaled, at) : asType(g, scaled, at.dtype);
  });
  const found = gradients({ g, seeds: [[at, seed]], wrt: [...f.tensors.values()] });
  if (found.size === 0) throw lossUnreached(`the loss on output "${p.choice.output}" has no gradient for any layer`);
  const byName = new Map(
    [...f.tensors].flatMap(([name, v]) => (found.has(v) ? [[name, found.get(v) ?? v] as const] : [])),
  );
  const packed = pack(g, p.layout, byName, p.options.target);
  const grad =
    scale === undefined ? packed : g.within({ origin: 'state', rule: 'loss/scale' }, () => g.Div(packed, scale));
  graph.inputs.push(...forwardInputs(f), ...seeds, ...(scale === undefined ? [] : [scale]));
  setOutputs(
    graph,
    named(g, [
      [lossName(p), f.attached.loss],
      [p.names.weight, f.attached.weight],
      [p.names.lora_grad, grad],
    ]),
  );
}

/** Removes inputs that no node reads, and parts of the source that no node refers to. In place. */
export function trimInterface({ model }: GraphContext): void {
  const { graph } = model;
  const read = new Set<Value>(graph.outputs);
  for (const n of graph.allNodes()) for (const v of n.inputs) if (v !== undefined) read.add(v);
  for (const n of graph.allNodes()) for (const b of n.bodies) for (const v of b.outputs) read.add(v);
  setInputs(
    graph,
    graph.inputs.filter((v) => read.has(v)),
  );
  graph.strayInfo.length = 0;
  model.functions = [];
}
