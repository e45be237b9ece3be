/**
 * Uses of a layer that an exporter computed at export time. torch's exporter records the parameters that a folded
 * constant came from (pkg.onnxscript.optimizer.folded_from): where a weight went into another constant than the layer's
 * own, the layer was applied to constants there, and no branch can stand at that use.
 */
import { type Graph, graphsOf, type Model, type Value } from '../../graph/model.ts';
import { pythonList } from './pythonList.ts';

/** By parameter, such as `encoder.key_proj.weight`: the constants that were computed from it. */
export function foldedFrom(model: Model): ReadonlyMap<string, readonly Value[]> {
  const found = new Map<string, Value[]>();
  const look = (v: Value): void => {
    for (const name of pythonList(v.metadata.get('pkg.onnxscript.optimizer.folded_from')))
      if (name.endsWith('.weight')) found.set(name, [...(found.get(name) ?? []), v]);
  };
  for (const graph of graphsOf(model)) constantsOf(graph).forEach(look);
  return found;
}

const constantsOf = (graph: Graph): Value[] => [
  ...graph.initializers,
  ...graph.nodes.filter((n) => n.op === 'Constant').flatMap((n) => n.outputs),
];
