/** Removes nodes that pass a value through, and unused nodes. In place. */
import { type Graph, type Model, type Node, replaceUses, type Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { outputsOf } from './constants.ts';
import { smallOf } from './fold/small.ts';
import { pastInputs } from './pastInputs.ts';
import { setNodes } from './splice.ts';

/**
 * Removes nodes whose output equals their input: Identity, Dropout at inference, casts to the same type and reshapes to
 * the same shape.
 */
export function removeIdentities(model: Model): void {
  const results = outputsOf(model);
  for (const graph of [...model.graph.allGraphs()]) {
    const nodes = graph.nodes.filter((n) => !(handsOn(n) && bypass(n, graph, results)));
    if (nodes.length !== graph.nodes.length) setNodes(graph, nodes);
  }
}

function handsOn(node: Node): boolean {
  if (node.domain !== '') return false;
  const [x, option, training] = node.inputs;
  const [y, mask] = node.outputs;
  switch (node.op) {
    case 'Identity':
      return true;
    case 'Dropout':
      return (mask === undefined || mask.uses.size === 0) && (training === undefined || isFalse(training));
    case 'Cast':
      return x?.dtype !== undefined && x.dtype === y?.dtype;
    case 'Concat':
      return node.inputs.length === 1;
    case 'Expand':
    case 'Reshape':
      return option !== undefined && sameShape(x, y);
    case 'Transpose':
      return attrsOf(node, 'Transpose').perm?.every((p, i) => p === i) === true;
    default:
      return false;
  }
}

const isFalse = (v: Value): boolean => smallOf(v)?.values[0] === 0;

const sameShape = (a: Value | undefined, b: Value | undefined): boolean =>
  a?.shape !== undefined &&
  a.shape.length === b?.shape?.length &&
  a.shape.every((d, i) => d !== null && d === b.shape?.[i]);

/**
 * Bypasses a node; true if it can be removed. A graph's output keeps its value and name: the producer of the input now
 * makes it.
 */
function bypass(node: Node, graph: Graph, results: ReadonlySet<Value>): boolean {
  const [x] = node.inputs;
  const [y, mask] = node.outputs;
  if (x === undefined || y === undefined || (mask !== undefined && results.has(mask))) return false;
  if (!results.has(y)) {
    x.type ??= y.type;
    replaceUses(y, x);
    return true;
  }
  const maker = x.producer;
  if (maker === undefined || maker.graph !== graph || results.has(x)) return false;
  maker.outputs[maker.outputs.indexOf(x)] = y;
  y.producer = maker;
  y.type ??= x.type;
  y.elements ??= x.elements;
  replaceUses(x, y);
  return true;
}

/** Removes empty parts: Concat inputs of dim 0, caches without a token of an attention operator. In place. */
export function removeEmptyParts(model: Model): void {
  for (const node of model.graph.allNodes()) {
    if (node.domain === '' && node.op === 'Concat') {
      const { axis } = attrsOf(node, 'Concat');
      const parts = node.inputs.filter((v) => v?.shape?.at(axis ?? 0) !== 0);
      if (parts.length === node.inputs.length || parts.length === 0) continue;
      parts.forEach((v, i) => {
        node.setInput(i, v);
      });
      node.dropInputs(parts.length);
      continue;
    }
    const past = pastInputs(node);
    if (past === undefined || !past.at.every((i) => node.inputs[i]?.shape?.at(past.axis) === 0)) continue;
    for (const i of past.at) node.setInput(i, undefined);
    while (node.inputs.length > 0 && node.inputs.at(-1) === undefined) node.dropInputs(node.inputs.length - 1);
  }
}

/** Removes nodes and initializers that no output depends on, bodies included, and makes names unique. In place. */
export function removeDead(model: Model): void {
  // Inner graphs first: a value that only a dead inner node reads is dead too.
  for (const graph of [...model.graph.allGraphs()].reverse()) if (graph !== model.graph) prune(graph, outputsOf(model));
  model.graph.adopt();
}

function prune(graph: Graph, results: ReadonlySet<Value>): void {
  const live = new Set<Node>();
  for (const n of graph.nodes.toReversed())
    if (n.outputs.some((v) => results.has(v) || [...v.uses].some((u) => u.node.graph !== graph || live.has(u.node))))
      live.add(n);
  setNodes(
    graph,
    graph.nodes.filter((n) => live.has(n)),
  );
  const kept = graph.initializers.filter((v) => v.uses.size > 0 || results.has(v));
  graph.initializers.length = 0;
  graph.initializers.push(...kept);
}
