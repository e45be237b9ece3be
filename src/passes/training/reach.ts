/**
 * The reach of a gradient, as the walk of autodiff takes it: which outputs layers reach through differentiable
 * operators, and which layers the gradient of a loss reaches.
 */
import { type Graph, readsOf, type Value } from '../../graph/model.ts';
import { activeValues } from '../autodiff/activity.ts';
import type { LayerSlots, StateLayout } from './stateLayout.ts';

const factorsOf = ({ A, B, magnitude }: LayerSlots): string[] =>
  [A, B, magnitude].flatMap((s) => (s === undefined ? [] : [s.name]));

/** The values of the graph with a derivative with respect to the state. */
export function reachedByLayers(graph: Graph, layout: StateLayout): ReadonlySet<Value> {
  const names = new Set([...layout.slots.flatMap(factorsOf), ...layout.saved.map((s) => s.name)]);
  const state = new Set<Value>();
  for (const node of graph.allNodes())
    for (const v of node.inputs) if (v?.tensor !== undefined && names.has(v.name)) state.add(v);
  return activeValues(graph.nodes, state);
}

/** Module paths, and names of modules_to_save, that no gradient of `tensor` reaches. */
export function unreachedFrom(tensor: Value, active: ReadonlySet<Value>, layout: StateLayout): string[] {
  const seen = new Set<Value>();
  const todo = [tensor];
  for (let v = todo.pop(); v !== undefined; v = todo.pop()) {
    if (seen.has(v) || !active.has(v)) continue;
    seen.add(v);
    const node = v.producer;
    if (node !== undefined) todo.push(...readsOf(node));
  }
  const names = new Set([...seen].map((v) => v.name));
  const isIn = (list: readonly string[]): boolean => list.some((n) => names.has(n));
  return [
    ...layout.slots.filter((s) => !isIn(factorsOf(s))).map((s) => s.layer.path),
    ...layout.saved.filter((s) => !isIn([s.name])).map((s) => s.name),
  ];
}
