/**
 * Type and symbolic shape inference: each value's element type, dims as numbers or symbolic expressions, and the
 * elements of the small integer tensors that shapes are computed from. This file is the walk. A row of the operator
 * table names the kind of its shape rule (kinds.ts); an operator that fits no kind has its own rule in the file of its
 * family.
 */
import { type Graph, type Node, tensorType, type Value } from '../../graph/model.ts';
import './attention.ts';
import './contrib.ts';
import './control.ts';
import './elementwise.ts';
import { elementsOf, settleElements } from './elements.ts';
import './generators.ts';
import './indexing.ts';
import './kinds.ts';
import './layout.ts';
import './linear.ts';
import './ml.ts';
import './norm.ts';
import './recurrent.ts';
import './reduce.ts';
import './resize.ts';
import './sequence.ts';
import './signal.ts';
import './spatial.ts';
import { shapeRule, type Typed } from './rule.ts';
import { refine } from './types.ts';

/**
 * Infers the types of one node's outputs (and `elements` of small integer tensors) from the types of its inputs. Never
 * throws: unknown facts stay undefined. Existing facts are kept if they are more precise. Recurses into bodies (If,
 * Loop, Scan) after typing their inputs.
 */
export function inferNode(node: Node): void {
  const rule = shapeRule(node);
  if (rule === undefined) return;
  const site = { node, inputs: node.inputs, count: node.outputs.length, attrs: undefined, infer: inferShapes };
  const typed = rule(site);
  node.outputs.forEach((v, i) => {
    settle(v, typed[i]);
  });
}

/** Calls inferNode for a graph's nodes in order; also types initializers. */
export function inferShapes(graph: Graph): void {
  for (const v of graph.initializers) {
    if (v.tensor !== undefined) v.type = refine(v.type, tensorType(v.tensor.dtype, v.tensor.dims));
    if (v.dtype === 'int64' || v.dtype === 'int32' || v.dtype === 'bool') elementsOf(v);
  }
  for (const node of graph.nodes) inferNode(node);
}

function settle(v: Value, typed: Typed | undefined): void {
  if (typed === undefined) return;
  v.type = refine(v.type, typed.type);
  settleElements(v, typed.elements);
}
