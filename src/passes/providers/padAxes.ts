/**
 * Removes the `axes` input of Pad: ONNX Runtime 1.30 moves a Transpose past a Pad (TransposeOptimizer, from level
 * `basic` on) as if the pads listed every axis, and reads beyond their end, or pads other axes.
 */
import type { Builder } from '../../graph/builder.ts';
import type { Graph } from '../../graph/model.ts';
import { knownInts } from '../common/dimArithmetic.ts';

/** In place; new nodes are detached until `graph.adopt()`. A Pad of unknown rank or axes is not changed. */
export function padAllAxes(graph: Graph, g: Builder): void {
  for (const node of graph.allNodes()) {
    if (node.op !== 'Pad' || node.domain !== '') continue;
    const [x, pads, , axes] = node.inputs;
    const [rank, list] = [x?.shape?.length, knownInts(axes)];
    if (axes === undefined || pads === undefined || rank === undefined || list === undefined) continue;
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
}
