/**
 * Replaces the weights of layers whose initial A and B are a part of the weight (PiSSA, OLoRA) with the residual. Runs
 * before `adapt`. The source is unchanged: other readers of a weight keep the original.
 */
import { badOption } from '../../errors.ts';
import { constant, graphsOf, type Model, nameGiver, namesIn, type Use } from '../../graph/model.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Candidate } from '../select/candidates.ts';

export interface Rebased {
  readonly candidate: Candidate;
  /** The new content of the layer's weight, in its own type and shape; undefined if it is unchanged. */
  readonly changed?: Tensor | undefined;
}

/** Changes the model in place. Errors: BAD_OPTION if a weight cannot be changed for its layer alone. */
export function subtractInitial(model: Model, layers: readonly Rebased[]): void {
  if (layers.every((l) => l.changed === undefined)) return;
  const freshName = nameGiver(namesIn(graphsOf(model)));
  for (const { candidate, changed } of layers) {
    if (changed === undefined) continue;
    const { stored } = candidate;
    const uses = readers(candidate);
    const shared = stored.uses.size > uses.length || model.graph.outputs.includes(stored);
    const attr = stored.producer?.attrs.get('value');
    if (!shared && stored.tensor !== undefined) stored.tensor = changed;
    else if (!shared && attr?.kind === 'tensor') stored.producer?.attrs.set('value', { ...attr, value: changed });
    else {
      const own = constant(freshName(`${candidate.weight}.residual`), changed);
      model.graph.initializers.push(own);
      for (const { node, index } of uses) node.setInput(index, own);
    }
  }
}

/** The uses of the stored weight by a layer: its nodes, or the first node on the path to them. */
function readers({ path, products, stored }: Candidate): readonly Use[] {
  const refuse = (reason: string): Error =>
    badOption(
      `the initial factors of layer "${path}" would change its weight, but ${reason}`,
      'choose --init kaiming, gaussian or orthogonal, or leave the layer out with --exclude',
    );
  const nodes = new Set(products.flatMap((p) => [p.node, ...p.weight.chain]));
  for (const { calls, weight } of products) {
    if (calls.length > 0) throw refuse('its weight is read inside a function');
    for (const v of weight.chain.flatMap((n) => n.outputs))
      if ([...v.uses].some((u) => !nodes.has(u.node)))
        throw refuse('another operator reads it through the same Transpose, Reshape or Cast');
  }
  return [...stored.uses].filter((u) => nodes.has(u.node));
}
