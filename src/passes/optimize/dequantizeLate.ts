/**
 * Unpacks weights separately for each reader, just before it, if they are stored packed (DequantizeLinear, a Cast to a
 * wider type, and the Transpose or Reshape behind it). If forward and backward shared an unpacked weight, it would stay
 * in memory between them, as would all others: the whole model in float32. ONNX Runtime does not merge equal
 * DequantizeLinear nodes, and merges equal Casts only with its CommonSubexpressionElimination.
 *
 * ONNX Runtime runs a node's inputs from the last one in the file to the first (GraphViewer's reverse depth-first
 * order), so the first nodes of the file run last: right before the node that needs them.
 */
import { cloneMap, cloneNodes } from '../../graph/clone.ts';
import type { Graph, Node, Use, Value } from '../../graph/model.ts';
import type { OpKind } from '../../graph/operatorRow.ts';
import { kindOf } from '../../graph/operators.ts';
import { dataTypeBits, inlineBytes } from '../../graph/tensor.ts';

/** The kinds of operators that sum over an inner dim. */
const products: ReadonlySet<OpKind | undefined> = new Set<OpKind>(['matmul', 'einsum', 'convolution']);

/** In place, on a graph in its final order. Adds copies of nodes, never of constants. */
export function dequantizeLate(graph: Graph): void {
  if (!graph.nodes.some(startsUnpacking)) return;
  const constant = new Set<Node>();
  const unpacks = new Set<Node>();
  for (const node of graph.nodes) {
    if (node.bodies.length > 0 || node.outputs.length !== 1 || node.inputs.length === 0) continue;
    // The result of a MatMul is not a weight, even if both operands are constant.
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
  // A computed scale is moved together with the weight.
  const moved = new Set(unpacks);
  for (const node of moved) for (const v of node.inputs) if (v?.producer !== undefined) moved.add(v.producer);
  const first = graph.nodes.filter((n) => moved.has(n));
  const weights = first.filter((n) => unpacks.has(n));
  const copies: Node[] = [];
  for (const node of weights) {
    const [value] = node.outputs;
    if (value === undefined) continue;
    // A value that is a graph output, or that a body reads, is not copied.
    const readers = [...value.uses].filter((u) => !unpacks.has(u.node) && u.node.graph === graph);
    const kept = handedOut.has(value) || readers.length < value.uses.size;
    for (const use of kept ? readers : readers.slice(1)) copies.push(...copyFor(use, node, weights));
  }
  graph.removeAll(moved);
  graph.insertAfter(undefined, ...first, ...copies);
  graph.prune();
}

const startsUnpacking = (node: Node): boolean => node.op === 'DequantizeLinear' || widensWeight(node);

/** Whether a Cast widens a stored weight, as it does if the narrow type has no kernels. */
function widensWeight({ op, domain, inputs: [w], outputs: [wide] }: Node): boolean {
  const { tensor } = w ?? {};
  if (op !== 'Cast' || domain !== '' || tensor === undefined || wide?.dtype === undefined) return false;
  return tensor.byteLength > inlineBytes && dataTypeBits(wide.dtype) > dataTypeBits(tensor.dtype);
}

const isFrom = (v: Value, nodes: ReadonlySet<Node>): boolean => v.producer !== undefined && nodes.has(v.producer);

/** Copies of the nodes that unpack a value, for this reader alone. */
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
