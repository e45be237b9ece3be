/**
 * Folds shape arithmetic to constants: values with all elements known to shape inference, and results of small
 * constants. Weights are never read or copied: operands are at most 1024 integers or 64 floats, or masks if shapes are
 * fixed (fold/small.ts), and nodes between a stored tensor and an adapted MatMul are kept, because they define the
 * layout of the weight.
 */
import { cloneMap, cloneNodes } from '../../../graph/clone.ts';
import { type Graph, type Model, Node, type Value } from '../../../graph/model.ts';
import { attrsOf } from '../../../graph/operators.ts';
import { elementCount, type Tensor } from '../../../graph/tensor.ts';
import { isAdapted } from '../../dialect/adapted.ts';
import { outputsOf, toConstant } from '../constants.ts';
import { setNodes } from '../splice.ts';
import { evaluate } from './evaluate.ts';
import { fits, type Most, smallOf, tensorOfSmall, usual } from './small.ts';

/** In place. True if something was folded. */
export function fold(model: Model, infer: (node: Node) => void, most = usual): boolean {
  const site = { results: outputsOf(model), kept: weightPaths(model), infer, most };
  return foldGraph(model.graph, site);
}

interface Site {
  readonly results: ReadonlySet<Value>;
  readonly kept: ReadonlySet<Node>;
  readonly infer: (node: Node) => void;
  readonly most: Most;
}

function foldGraph(graph: Graph, site: Site): boolean {
  let changed = false;
  const nodes: Node[] = [];
  for (const node of graph.nodes) {
    const branch = chosenBranch(node);
    if (branch !== undefined) {
      nodes.push(...inlineBranch(node, branch, graph));
      changed = true;
      continue;
    }
    for (const b of node.bodies) changed = foldGraph(b, site) || changed;
    site.infer(node);
    const tensor = site.kept.has(node) ? undefined : constantOf(node, site.most);
    if (tensor === undefined) nodes.push(node);
    else {
      nodes.push(...toConstant(node, tensor, graph, site.results));
      changed = true;
    }
  }
  if (changed) setNodes(graph, nodes);
  return changed;
}

function constantOf(node: Node, most: Most): Tensor | undefined {
  const v = node.outputs[0];
  // An Identity was either removed before or passes a constant to an output of its graph.
  if (node.outputs.length !== 1 || v === undefined || node.domain !== '' || node.op === 'Identity') return undefined;
  if (node.bodies.length > 0) return undefined;
  return inferred(v, most) ?? evaluate(node, most);
}

/** Facts of shape inference: only integers and flags, which it computes exactly. */
function inferred({ dtype, shape, elements }: Value, most: Most): Tensor | undefined {
  const dims = shape?.filter((d) => typeof d === 'number');
  const values = elements?.filter((d) => typeof d === 'number');
  if (dtype === undefined || dims === undefined || values === undefined || values.length !== elements?.length)
    return undefined;
  if (dims.length !== shape?.length || elementCount(dims) !== values.length || !fits(dtype, values.length, most))
    return undefined;
  return dtype === 'int64' || dtype === 'int32' || dtype === 'bool'
    ? tensorOfSmall({ dtype, dims, values })
    : undefined;
}

/** Nodes between a stored tensor and an adapted MatMul. */
function weightPaths(model: Model): Set<Node> {
  const kept = new Set<Node>();
  const follow = (v: Value | undefined): void => {
    const node = v?.producer;
    if (node === undefined || kept.has(node)) return;
    kept.add(node);
    for (const input of node.inputs) follow(input);
  };
  // Nodes after W, A and B are computed from x.
  for (const node of model.graph.allNodes()) if (isAdapted(node)) for (const v of node.inputs.slice(1, 4)) follow(v);
  return kept;
}

function chosenBranch(node: Node): Graph | undefined {
  if (node.op !== 'If' || node.domain !== '') return undefined;
  const condition = smallOf(node.inputs[0])?.values[0];
  if (condition === undefined) return undefined;
  const { else_branch: otherwise, then_branch: chosen } = attrsOf(node, 'If');
  return condition === 0 ? otherwise : chosen;
}

/** The branch's nodes instead of the If: they write the If's own outputs. */
function inlineBranch(node: Node, branch: Graph, into: Graph): Node[] {
  const map = cloneMap();
  const own = new Set(branch.nodes);
  const copies: { readonly from: Value; readonly to: Value }[] = [];
  branch.outputs.forEach((from, i) => {
    const to = node.outputs[i];
    if (to === undefined || to.name === '') return;
    if (map.values.has(from) || from.producer === undefined || !own.has(from.producer)) copies.push({ from, to });
    else map.values.set(from, to);
  });
  into.initializers.push(...branch.initializers);
  const nodes = cloneNodes(branch.nodes, map);
  for (const { from, to } of copies)
    nodes.push(new Node({ op: 'Identity', name: node.name, inputs: [map.values.get(from) ?? from], outputs: [to] }));
  return nodes;
}
