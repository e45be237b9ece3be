/**
 * Puts changed weights under layers whose start takes a part of the weight into A and B. Runs before `adapt`. The source stays as it
 * is: other readers of a weight keep the one they had.
 */
import { badOption } from '../../errors.ts';
import { constant, graphsOf, type Model, nameGiver, namesIn, type Use } from '../../graph/model.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Candidate } from '../select/candidates.ts';

export interface Rebased {
  readonly candidate: Candidate;
  /** The content of the layer's weight from now on, in its own type and shape; undefined where it stays. */
  readonly changed?: Tensor | undefined;
}

/** Changes the model in place. Errors: BAD_OPTION where a weight cannot be changed for its layer alone. */
export function rebase(model: Model, layers: readonly Rebased[]): void {
  if (layers.every((l) => l.changed === undefined)) return;
  const freshName = nameGiver(namesIn(graphsOf(model)));
  for (const { candidate, changed } of layers) {
    if (changed === undefined) continue;
    const { stored } = candidate;
    const mine = readers(candidate);
    const shared = stored.uses.size > mine.length || model.graph.outputs.includes(stored);
    const attr = stored.producer?.attrs.get('value');
    if (!shared && stored.tensor !== undefined) stored.tensor = changed;
    else if (!shared && attr?.kind === 'tensor') stored.producer?.attrs.set('value', { ...attr, value: changed });
    else {
      const own = constant(freshName(`${candidate.weight}.residual`), changed);
      model.graph.initializers.push(own);
      for (const { node, index } of mine) node.setInput(index, own);
    }
  }
}

/** Where the products of a layer read the stored weight, or the first node of what leads from it to them. */
function readers({ path, products, stored }: Candidate): readonly Use[] {
  const refuse = (reason: string): Error =>
    badOption(
      `the start of layer "${path}" would change its weight, but ${reason}`,
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
