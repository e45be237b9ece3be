/**
 * Makes the shape of a Reshape a constant if it is known, and merges consecutive ones. ONNX Runtime 1.30 fuses Reshape,
 * Squeeze and Unsqueeze behind a Reshape if the last result's dims are known (ReshapeFusion, from level `basic` on),
 * and fails to load a graph in which it fuses one whose shape is computed by a node: "Attempting to get index by a name
 * which does not exist".
 */
import type { Builder } from '../../graph/builder.ts';
import type { Graph, Node, Value } from '../../graph/model.ts';
import { kindOf } from '../../graph/operators.ts';

/** The views that ReshapeFusion fuses: all but Flatten and Identity. */
const reshapes = (node: Node): boolean => kindOf(node) === 'view' && node.op !== 'Flatten' && node.op !== 'Identity';

/** In place, bodies included. */
export function knownReshapes(graph: Graph, g: Builder): void {
  for (const own of graph.allGraphs())
    for (const node of own.nodes) {
      const [y] = node.outputs;
      const dims = y?.shape?.filter((d) => typeof d === 'number');
      if (!reshapes(node) || dims === undefined || dims.length !== y?.shape?.length) continue;
      const from = source(node, own);
      if (from === node.inputs[0] && !isComputed(node)) continue;
      node.op = 'Reshape';
      node.setInput(0, from);
      node.setInput(1, g.ints(dims));
      node.attrs.clear();
      // Without allowzero a dim of zero would mean "copy".
      if (dims.includes(0)) node.attrs.set('allowzero', { kind: 'int', value: 1 });
    }
}

/**
 * Lets a Reshape infer its one unknown dim, so that no value must be kept for a node that would read its shape later.
 * In place, not for bodies.
 */
export function inferLengths(graph: Graph, g: Builder): void {
  for (const node of graph.nodes) {
    const shape = node.outputs[0]?.shape;
    const open = shape?.filter((d) => typeof d !== 'number').length;
    if (node.domain !== '' || !isComputed(node) || shape === undefined || open !== 1 || shape.includes(0)) continue;
    node.setInput(1, g.ints(shape.map((d) => (typeof d === 'number' ? d : -1))));
    node.attrs.delete('allowzero');
  }
}

/** Whether the shape of a Reshape is computed by a node. */
const isComputed = (node: Node): boolean => node.op === 'Reshape' && node.inputs[1]?.producer !== undefined;

/** The input of the node, traced back through views to the last one with a computed shape. */
function source(node: Node, graph: Graph): Value | undefined {
  let found = node.inputs[0];
  for (let at = found?.producer; at?.graph === graph && reshapes(at); at = at.inputs[0]?.producer)
    if (isComputed(at)) found = at.inputs[0];
  return found;
}
