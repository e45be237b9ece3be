/**
 * Internal nodes behind several nodes of a forward that are one function. Such a node carries the result on and has a gradient of its own; when
 * the gradients are there it goes again, and the forward is as it was.
 */
import { type Attr, type Graph, Node, replaceUses, Value } from '../../graph/model.ts';
import { internalDomain } from '../common/internalDomain.ts';

/** Which of its inputs a node carries on. */
const carriedInput = { Gelu: 3, GeluTanh: 3, Silu: 2, Standardized: 1 } as const;
export type CarryingOp = keyof typeof carriedInput;

/** Puts the node behind what makes its carried input. In place. */
export function carry(
  graph: Graph,
  op: CarryingOp,
  inputs: readonly Value[],
  attrs: readonly (readonly [string, Attr])[] = [],
): void {
  const value = inputs[carriedInput[op]];
  const after = value?.producer;
  if (value === undefined || after === undefined) throw new Error(`"${op}" carries no result of a node`);
  const out = new Value(`${value.name}.${op.toLowerCase()}`, value.type);
  const name = `${after.label}.${op.toLowerCase()}`;
  const node = new Node({ op, domain: internalDomain, name, inputs, outputs: [out], attrs });
  node.metadata.set('loraify.grad_of', after.label);
  replaceUses(value, out, (use) => use.node === node);
  graph.insertAfter(after, node);
}

const isCarryingOp = (op: string): op is CarryingOp => Object.hasOwn(carriedInput, op);

/** Takes the nodes out again: what they carried on is read where it is. In place. */
export function removeCarrying(graph: Graph): void {
  const gone = new Set<Node>();
  for (const node of graph.nodes) {
    if (node.domain !== internalDomain || !isCarryingOp(node.op)) continue;
    const [value, out] = [node.inputs[carriedInput[node.op]], node.outputs[0]];
    if (value !== undefined && out !== undefined) replaceUses(out, value);
    gone.add(node);
  }
  graph.removeAll(gone);
}
