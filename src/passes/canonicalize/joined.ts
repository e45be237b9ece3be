/**
 * Joins adapted layers that read the same value (query, key and value; gate and up) into one node, `loraify.Joined`,
 * whose weight is merged once per step, W' = W + s·A·B. One MatMul forward and one backward replace five per layer,
 * which is faster if a batch has more rows than a weight is wide; only the gradient of B still needs x·A. The result is
 * the same up to the order of summation.
 */

import type { Graph, Node, Value } from '../../graph/model.ts';
import { adaptedForm, isAdapted } from '../dialect/adapted.ts';
import { dialectNode } from '../dialect/nodes.ts';

/**
 * Replaces Adapted float32 MatMuls by Joined nodes, one for all that read the same x. In place, on the training form.
 */
export function joinLayers(graph: Graph): void {
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
    // The parts read only x and constants, so all of them can run at the position of the first.
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

/**
 * Whether the layer is float32 with an input of at least two axes, a constant weight, and at most a bias vector with
 * one number per column.
 */
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
