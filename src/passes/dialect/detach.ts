/** `loraify.Detach`: the identity with a zero gradient (torch.Tensor.detach; table.ts). Lowering removes it. */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, replaceValue, type Value } from '../../graph/model.ts';
import { internalDomain } from '../common/internalDomain.ts';
import { isA } from './nodes.ts';

export function detach(g: Builder, v: Value): Value {
  const [out] = g.node({ op: 'Detach', domain: internalDomain, inputs: [v], outputs: 1 });
  return out ?? v;
}

/** Removes the Detach nodes, bodies included. In place. */
export function dropDetached(graph: Graph): void {
  const graphs = [...graph.allGraphs()];
  for (const own of graphs)
    for (const node of [...own.nodes]) {
      if (!isA(node, 'loraify.Detach')) continue;
      const [from] = node.inputs;
      const [to] = node.outputs;
      if (from === undefined || to === undefined) continue;
      replaceValue(to, from, graphs);
      own.remove(node);
    }
}
