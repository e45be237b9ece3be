/**
 * Uses of a layer that an exporter computed at export time. torch's exporter records the parameters that a folded
 * constant came from (pkg.onnxscript.optimizer.folded_from): a weight that is part of a constant other than a layer's
 * weight means that the layer was applied to constants, and that no branch can be placed at that use.
 */
import { type Graph, graphsOf, type Model, type Value } from '../../graph/model.ts';
import { pythonList } from './pythonList.ts';

/** The constants that were computed from a parameter, by the parameter's name: `encoder.key_proj.weight`. */
export function foldedFrom(model: Model): ReadonlyMap<string, readonly Value[]> {
  const found = new Map<string, Value[]>();
  const look = (v: Value): void => {
    for (const name of parametersIn(v)) if (name.endsWith('.weight')) found.set(name, [...(found.get(name) ?? []), v]);
  };
  for (const graph of graphsOf(model)) constantsOf(graph).forEach(look);
  return found;
}

/** The names of what a folded constant was computed from. */
export const parametersIn = (v: Value): string[] => pythonList(v.metadata.get('pkg.onnxscript.optimizer.folded_from'));

const constantsOf = (graph: Graph): Value[] => [
  ...graph.initializers,
  ...graph.nodes.filter((n) => n.op === 'Constant').flatMap((n) => n.outputs),
];
