/**
 * A pass-through marker with its own gradient rule, inserted behind a matched subgraph and removed after
 * differentiation.
 */
import { type Graph, type Node, replaceUses, Value } from '../../graph/model.ts';
import { opKey } from '../../graph/operators.ts';
import { type AttrsIn, dialectNode, nameOf } from './nodes.ts';
import { type DialectKey, type dialect, dialectFacts, isDialectKey } from './table.ts';

/** The operators of markers. */
export type CarryingOp = {
  [O in DialectKey]: (typeof dialect)[O] extends { readonly carries: string } ? O : never;
}[DialectKey];

/** The position of the input that a marker passes through; undefined for other operators. */
function carriedInput(key: string): number | undefined {
  const { in: names = [], carries } = isDialectKey(key) ? dialectFacts(key) : {};
  return carries === undefined ? undefined : names.indexOf(carries);
}

/** Inserts the marker after the producer of its passed-through input. In place. */
export function insertMarker<O extends CarryingOp>(
  graph: Graph,
  op: O,
  inputs: readonly Value[],
  attrs: AttrsIn<O>,
): void {
  const value = inputs[carriedInput(op) ?? -1];
  const after = value?.producer;
  if (value === undefined || after === undefined) throw new Error(`"${op}" has no node result to pass through`);
  const suffix = nameOf(op).toLowerCase();
  const out = new Value(`${value.name}.${suffix}`, value.type);
  const node = dialectNode(op, attrs, { name: `${after.label}.${suffix}`, inputs, outputs: [out] });
  node.metadata.set('loraify.grad_of', after.label);
  replaceUses(value, out, (use) => use.node === node);
  graph.insertAfter(after, node);
}

/** Removes the markers: readers read the passed-through input again. In place. */
export function removeMarkers(graph: Graph): void {
  const gone = new Set<Node>();
  for (const node of graph.nodes) {
    const at = carriedInput(opKey(node));
    if (at === undefined) continue;
    const [value, out] = [node.inputs[at], node.outputs[0]];
    if (value !== undefined && out !== undefined) replaceUses(out, value);
    gone.add(node);
  }
  graph.removeAll(gone);
}
