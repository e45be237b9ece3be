/**
 * Removes the `axes` input of Pad: ONNX Runtime 1.30 moves a Transpose past a Pad (TransposeOptimizer, from level
 * `basic` on) as if the pads listed every axis, and reads beyond their end, or pads other axes.
 */
import type { Builder } from '../../graph/builder.ts';
import type { Graph, Node } from '../../graph/model.ts';
import { knownInts } from '../common/dimArithmetic.ts';

/**
 * In place; new nodes of the main graph are detached until `graph.adopt()`, those of a body go before its Pad, because
 * pads may be computed in the body. A Pad of unknown rank or axes is not changed.
 */
export function padAllAxes(graph: Graph, g: Builder, place?: (before: Node) => void): void {
  for (const node of [...graph.nodes]) {
    for (const body of node.bodies) {
      const inside = g.inside(body);
      padAllAxes(body, inside.g, inside.place);
    }
    if (node.op === 'Pad' && node.domain === '') listAllAxes(node, g);
    place?.(node);
  }
}

/** Gives the Pad pads for every axis instead of the `axes` input. */
function listAllAxes(node: Node, g: Builder): void {
  const [x, pads, , axes] = node.inputs;
  const [rank, list] = [x?.shape?.length, knownInts(axes)];
  if (axes === undefined || pads === undefined || rank === undefined || list === undefined) return;
  const along = list.map((a) => (a < 0 ? a + rank : a));
  // The position in `pads` of each axis' begin and end; the position after the last is a zero.
  const from = [0, 1].flatMap((side) =>
    Array.from({ length: rank }, (_, axis) => {
      const at = along.indexOf(axis);
      return at < 0 ? 2 * along.length : side * along.length + at;
    }),
  );
  const known = knownInts(pads);
  const whole = g.within({ origin: node.outputs[0]?.name ?? node.label, rule: 'pads/whole' }, () =>
    known !== undefined
      ? g.ints(from.map((i) => known[i] ?? 0))
      : g.Gather(g.Concat([pads, g.ints([0])], { axis: 0 }), g.ints(from)),
  );
  node.setInput(1, whole);
  node.dropInputs(node.inputs[2] === undefined ? 2 : 3);
}
