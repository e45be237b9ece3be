/**
 * Weights that a graph unpacks from constants (DequantizeLinear, a Cast to a wider type, and the Transpose or Reshape behind it) are
 * unpacked anew for each reader, just before it. A weight that the forward and the backward shared would stay unpacked between
 * them, and so would all others: the memory of the model in float32. ONNX Runtime leaves equal DequantizeLinear nodes apart, equal
 * casts only without its CommonSubexpressionElimination.
 *
 * ONNX Runtime runs a node's inputs from the last one in the file to the first (GraphViewer's reverse depth-first order), so
 * what stands first in the file runs last: right before the node that needs it.
 */
import { cloneMap, cloneNodes } from '../../graph/clone.ts';
import type { Graph, Node, Use, Value } from '../../graph/model.ts';
import type { OpKind } from '../../graph/operatorRow.ts';
import { kindOf } from '../../graph/operators.ts';
import { dataTypeBits, inlineBytes } from '../../graph/tensor.ts';

/** Sums over an inner length. */
const products: ReadonlySet<OpKind | undefined> = new Set<OpKind>(['matmul', 'einsum', 'convolution']);

/** In place, on a graph in its final order. Adds copies of nodes, never of constants. */
export function dequantizeLate(graph: Graph): void {
  if (!graph.nodes.some(startsUnpacking)) return;
  const constant = new Set<Node>();
  const unpacks = new Set<Node>();
  for (const node of graph.nodes) {
    if (node.bodies.length > 0 || node.outputs.length !== 1 || node.inputs.length === 0) continue;
    // A product is no weight, also where both its factors are constant.
    if (products.has(kindOf(node))) continue;
    const makers = node.inputs.flatMap((v) => v?.producer ?? []);
    const fixed = node.inputs.every((v) => v === undefined || v.tensor !== undefined || isFrom(v, constant));
    if (!fixed) continue;
    constant.add(node);
    if (startsUnpacking(node) || makers.some((m) => unpacks.has(m))) unpacks.add(node);
  }
  if (unpacks.size === 0) return;
  const handedOut = new Set<Value>([
    ...graph.outputs,
    ...[...graph.allGraphs()].flatMap((g) => (g === graph ? [] : g.outputs)),
  ]);
  // A computed scale goes with what it scales.
  const moved = new Set(unpacks);
  for (const node of moved) for (const v of node.inputs) if (v?.producer !== undefined) moved.add(v.producer);
  const first = graph.nodes.filter((n) => moved.has(n));
  const weights = first.filter((n) => unpacks.has(n));
  const copies: Node[] = [];
  for (const node of weights) {
    const [value] = node.outputs;
    if (value === undefined) continue;
    // What leaves as a whole, or enters a body, stays one value.
    const readers = [...value.uses].filter((u) => !unpacks.has(u.node) && u.node.graph === graph);
    const kept = handedOut.has(value) || readers.length < value.uses.size;
    for (const use of kept ? readers : readers.slice(1)) copies.push(...copyFor(use, node, weights));
  }
  graph.removeAll(moved);
  graph.insertAfter(undefined, ...first, ...copies);
  graph.prune();
}

const startsUnpacking = (node: Node): boolean => node.op === 'DequantizeLinear' || widensWeight(node);

/** A cast of a stored weight to a wider type: the graph has it because the narrow one has no kernels. */
function widensWeight({ op, domain, inputs: [w], outputs: [wide] }: Node): boolean {
  const { tensor } = w ?? {};
  if (op !== 'Cast' || domain !== '' || tensor === undefined || wide?.dtype === undefined) return false;
  return tensor.byteLength > inlineBytes && dataTypeBits(wide.dtype) > dataTypeBits(tensor.dtype);
}

const isFrom = (v: Value, nodes: ReadonlySet<Node>): boolean => v.producer !== undefined && nodes.has(v.producer);

/** The nodes that unpack a value, once more, for this reader alone. */
function copyFor(use: Use, last: Node, unpacks: readonly Node[]): Node[] {
  const needed = new Set([last]);
  for (const node of needed) for (const v of node.inputs) if (v?.producer !== undefined) needed.add(v.producer);
  const map = cloneMap();
  const copies = cloneNodes(
    unpacks.filter((n) => needed.has(n)),
    map,
  );
  const [value] = last.outputs;
  use.node.setInput(use.index, value && map.values.get(value));
  return copies;
}
