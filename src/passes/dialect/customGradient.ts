/**
 * A pass-through marker with its own gradient rule, inserted behind a matched subgraph and removed after
 * differentiation.
 */
import { type Attr, type Graph, Node, replaceUses, Value } from '../../graph/model.ts';
import { internalDomain } from '../common/internalDomain.ts';

/** The input that a marker passes through. */
const carriedInput = { Gelu: 3, GeluTanh: 3, Silu: 2, Standardized: 1 } as const;
export type CarryingOp = keyof typeof carriedInput;

/** Inserts the marker after the producer of its passed-through input. In place. */
export function insertMarker(
  graph: Graph,
  op: CarryingOp,
  inputs: readonly Value[],
  attrs: readonly (readonly [string, Attr])[] = [],
): void {
  const value = inputs[carriedInput[op]];
  const after = value?.producer;
  if (value === undefined || after === undefined) throw new Error(`"${op}" has no node result to pass through`);
  const out = new Value(`${value.name}.${op.toLowerCase()}`, value.type);
  const name = `${after.label}.${op.toLowerCase()}`;
  const node = new Node({ op, domain: internalDomain, name, inputs, outputs: [out], attrs });
  node.metadata.set('loraify.grad_of', after.label);
  replaceUses(value, out, (use) => use.node === node);
  graph.insertAfter(after, node);
}

const isCarryingOp = (op: string): op is CarryingOp => Object.hasOwn(carriedInput, op);

/** Removes the markers: readers read the passed-through input again. In place. */
export function removeMarkers(graph: Graph): void {
  const gone = new Set<Node>();
  for (const node of graph.nodes) {
    if (node.domain !== internalDomain || !isCarryingOp(node.op)) continue;
    const [value, out] = [node.inputs[carriedInput[node.op]], node.outputs[0]];
    if (value !== undefined && out !== undefined) replaceUses(out, value);
    gone.add(node);
  }
  graph.removeAll(gone);
}
