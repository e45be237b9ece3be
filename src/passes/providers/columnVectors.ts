/**
 * Rewrites MatMuls with a vector on the right to MatMuls with a matrix of one column: if the left operand is a
 * Transpose, or becomes one when ONNX Runtime moves transposes, ONNX Runtime 1.30 fuses the two (MatmulTransposeFusion,
 * from level `extended` on) into a FusedMatMul, which reads a vector wrongly without an error.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, takePlace } from '../../graph/model.ts';
import { rewriteNodes } from '../common/rewriteNodes.ts';

/** In place, bodies included; new nodes of the main graph are detached until `graph.adopt()`. */
export function columnVectors(graph: Graph, builder: Builder): void {
  const graphs = [...graph.allGraphs()];
  rewriteNodes(graph, builder, takesVector, (node, g) => {
    const [a, v] = node.inputs;
    const [y] = node.outputs;
    if (a === undefined || v === undefined || y === undefined) return;
    const made = g.within({ origin: y.name, rule: 'vectors/column' }, () =>
      g.Squeeze(g.MatMul(a, g.Unsqueeze(v, g.ints([1]))), g.ints([-1])),
    );
    made.type ??= y.type;
    takePlace(y, made, graphs, '.vector');
  });
}

const takesVector = ({ op, domain, inputs: [a, v] }: Node): boolean =>
  op === 'MatMul' && domain === '' && v?.shape?.length === 1 && a?.shape?.length !== 1;
