/**
 * Edits node lists and keeps the values that other places refer to: graph outputs, captures and annotations are
 * unchanged.
 */
import { type Graph, Node, producersOf, type Value } from '../../graph/model.ts';

/** Replaces the node list. Bodies of removed nodes drop their uses of outer values. */
export function setNodes(graph: Graph, nodes: readonly Node[]): void {
  const kept = new Set(nodes);
  const gone = graph.nodes.filter((n) => !kept.has(n));
  for (const n of graph.nodes) n.detach();
  graph.nodes.length = 0;
  graph.append(...nodes);
  if (gone.every((n) => n.bodies.length === 0)) return;
  const held = new Set(nodes.flatMap((n) => n.bodies.flatMap((b) => [...b.allGraphs()])));
  for (const body of gone.flatMap((n) => n.bodies))
    if (!held.has(body)) for (const n of [...body.allNodes()]) n.detach();
}

/**
 * Replaces the outputs of `node` with `values`: each output object is moved to the detached node that makes the new
 * value, or to an Identity if there is none. Returns the detached nodes in topological order, without those in
 * `placed`.
 */
export function standIn(
  node: Node,
  values: readonly (Value | undefined)[],
  placed: ReadonlySet<Node> = new Set(),
): Node[] {
  const order = detachedProducers(values, placed);
  const fresh = new Set(order);
  const left = [...values];
  const taken = new Set<Value>();
  for (const [i, old] of node.outputs.entries()) {
    const value = left[i];
    if (value === undefined) continue;
    const maker = value.producer;
    const at = maker === undefined || !fresh.has(maker) || taken.has(value) ? -1 : maker.outputs.indexOf(value);
    if (maker === undefined || at < 0) {
      order.push(new Node({ op: 'Identity', name: node.name, inputs: [value], outputs: [old] }));
      continue;
    }
    taken.add(old);
    maker.outputs[at] = old;
    old.producer = maker;
    old.type ??= value.type;
    old.elements ??= value.elements;
    for (const n of order) for (const [k, v] of n.inputs.entries()) if (v === value) n.setInput(k, old);
    for (const [k, v] of left.entries()) if (v === value) left[k] = old;
  }
  return order;
}

/** Detached nodes that `values` need, in topological order, without those in `placed`. */
export function detachedProducers(
  values: readonly (Value | undefined)[],
  placed: ReadonlySet<Node> = new Set(),
): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>(placed);
  const visit = (node: Node): void => {
    if (node.graph !== undefined || seen.has(node)) return;
    seen.add(node);
    for (const p of producersOf(node)) visit(p);
    order.push(node);
  };
  for (const v of values) if (v?.producer !== undefined) visit(v.producer);
  return order;
}
