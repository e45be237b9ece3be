/**
 * Activations that the backward computes once more instead of keeping: one pass over a tensor that is four times as wide as the layer
 * it feeds, for the memory of all of them at once (Chen et al. 2016, for the cheapest operator alone).
 */
import { type Graph, Node, type Use, Value } from '../graph/model.ts';

const cheap = new Set(['Gelu', 'FastGelu', 'QuickGelu', 'Relu', 'Swish']);

/** In place, on a gradient graph in its order: its own nodes carry a rule `grad/…`. ONNX Runtime must not merge equal nodes again. */
export function computeAgain(graph: Graph): void {
  const at = new Map(graph.nodes.map((n, i) => [n, i]));
  for (const node of [...graph.nodes]) {
    const [y] = node.outputs;
    if (!cheap.has(node.op) || node.inputs.length !== 1 || y === undefined || graph.outputs.includes(y)) continue;
    const later = [...y.uses].filter((u) => isBackward(u) && u.node.graph === graph);
    const [first] = later.map((u) => u.node).sort((a, b) => (at.get(a) ?? 0) - (at.get(b) ?? 0));
    // Where the backward alone reads it, it is computed late already; what it is made of must be kept anyway.
    if (first === undefined || later.length === y.uses.size || !keepsInput(node)) continue;
    const again = new Value(`${y.name}.again`, y.type);
    const copy = new Node({
      op: node.op,
      domain: node.domain,
      name: `${node.label}.again`,
      inputs: node.inputs,
      outputs: [again],
      attrs: node.attrs,
    });
    copy.metadata.set('loraify.rule', 'again');
    for (const { node: user, index } of later) user.setInput(index, again);
    graph.insertAfter(graph.nodes[graph.nodes.indexOf(first) - 1], copy);
  }
}

const isBackward = ({ node }: Use): boolean => node.metadata.get('loraify.rule')?.startsWith('grad/') === true;

/** The backward reads the input as well: what is not kept is only the result. */
const keepsInput = ({ inputs: [x] }: Node): boolean => [...(x?.uses ?? [])].some(isBackward);
