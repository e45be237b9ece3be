/**
 * Adapted layers that read the same value (query, key and value; gate and up) become one node, `loraify.Joined`, whose weight is merged
 * once a step, W' = W + s·A·B. One MatMul forward and one backward take the place of five for each layer, which pays where a batch
 * has more rows than a weight is wide; x·A is left for the gradient of B alone. The same mathematics, in another order.
 */

import type { Graph, Node, Value } from '../../graph/model.ts';
import { adaptedForm, isAdapted } from '../dialect/adapted.ts';
import { dialectNode } from '../dialect/nodes.ts';

/** Adapted float32 products become Joined ones, those with the same x one. In place, on the training form. */
export function joinAdapted(graph: Graph): void {
  const groups = new Map<string, Node[]>();
  const ids = new Map<Value, number>();
  for (const node of graph.nodes) {
    if (!isAdapted(node) || !fits(node)) continue;
    const { x, transW } = adaptedForm(node);
    const id = ids.get(x) ?? ids.size;
    ids.set(x, id);
    const key = `${id}/${transW}`;
    groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  for (const nodes of groups.values()) {
    const [first] = nodes;
    if (first === undefined) continue;
    const forms = nodes.map(adaptedForm);
    // Nothing of a part that stands later may be needed between it and the first: all that they read are x and constants.
    const joined = dialectNode(
      'loraify.Joined',
      {
        transW: forms[0]?.transW ?? 0,
        scales: forms.map((f) => f.scale),
        widths: nodes.map((n) => n.layer?.out ?? 0),
      },
      {
        name: first.name,
        inputs: [forms[0]?.x, ...forms.flatMap(({ w, a, b, c }) => [w, a, b, c])],
        outputs: nodes.flatMap((n) => n.outputs.slice(0, 1)),
      },
    );
    joined.metadata.set('loraify.grad_of', first.label);
    graph.insertAfter(first, joined);
    graph.removeAll(new Set(nodes));
    for (const o of joined.outputs) o.producer = joined;
  }
}

/** Float32, rows that are a matrix or can be, and a bias that is one number a column. */
function fits(node: Node): boolean {
  const { x, w, b, c, dropped } = adaptedForm(node);
  const width = b.shape?.[1];
  // Branches whose inputs differ cannot be merged into one weight.
  if (w === undefined || dropped !== undefined) return false;
  const isBias = c === undefined || (c.tensor !== undefined && c.shape?.length === 1 && c.shape[0] === width);
  return (
    x.dtype === 'float32' && w.dtype === 'float32' && w.tensor !== undefined && (x.shape?.length ?? 0) > 1 && isBias
  );
}
