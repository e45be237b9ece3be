/**
 * Inlines model-local functions: afterwards the model has none, and every node is an operator. Semantics of calls:
 * https://github.com/onnx/onnx/blob/main/docs/IR.md#functions
 */
import { badModel } from '../../errors.ts';
import { type AttrChange, cloneGraph, cloneMap, cloneNodes } from '../../graph/clone.ts';
import { type FunctionDef, type Graph, type Model, Node, uniqueNames, type Value } from '../../graph/model.ts';
import { functionId } from '../common/verify.ts';
import { setNodes } from './splice.ts';

interface Inliner {
  readonly model: Model;
  readonly functions: ReadonlyMap<string, FunctionDef>;
  readonly versions: Map<Node, number>;
}

/** In place. Returns the opset version of nodes whose function imports another version than the model. */
export function inlineFunctions(model: Model): Map<Node, number> {
  const functions = new Map(model.functions.map((f) => [functionId(f), f]));
  const inliner: Inliner = { model, functions, versions: new Map() };
  if (functions.size > 0) {
    inlineIn(model.graph, inliner, []);
    uniqueNames(model.graph);
    model.functions = [];
  }
  return inliner.versions;
}

function inlineIn(graph: Graph, inliner: Inliner, stack: readonly string[]): void {
  const nodes = graph.nodes.flatMap((n) => inlineNode(n, inliner, stack));
  if (nodes.length !== graph.nodes.length || nodes.some((n, i) => n !== graph.nodes[i])) setNodes(graph, nodes);
}

function inlineNode(node: Node, inliner: Inliner, stack: readonly string[]): Node[] {
  const id = functionId({ domain: node.domain, name: node.op, overload: node.overload });
  const f = inliner.functions.get(id);
  if (f === undefined) {
    for (const b of node.bodies) inlineIn(b, inliner, stack);
    return [node];
  }
  if (stack.includes(id))
    throw badModel(`function "${f.name}" of domain "${f.domain}" calls itself`, {
      node: node.label,
      where: [...stack, id].join(' -> '),
    });
  return expand(node, f, inliner).flatMap((n) => inlineNode(n, inliner, [...stack, id]));
}

/** The body's nodes instead of a call: they write the call's own output values. */
function expand(call: Node, f: FunctionDef, { model, versions }: Inliner): Node[] {
  if (call.inputs.length > f.body.inputs.length || call.outputs.length > f.body.outputs.length)
    throw badModel(`node "${call.label}" gives function "${f.name}" more inputs or outputs than it has`, {
      node: call.label,
    });
  const map = cloneMap();
  f.body.inputs.forEach((v, i) => {
    map.values.set(v, call.inputs[i]);
  });
  // A result that is an input of the function, or that is already an output, needs a node to copy it.
  const copies: { readonly from: Value; readonly to: Value }[] = [];
  f.body.outputs.forEach((from, i) => {
    const to = call.outputs[i];
    if (to === undefined || to.name === '') return;
    if (map.values.has(from) || from.producer === undefined) copies.push({ from, to });
    else map.values.set(from, to);
  });

  const nodes = cloneNodes(f.body.nodes, map, attributesOf(call, f));
  const outer = new Set(call.outputs);
  for (const n of nodes) settle(n, call.label, outer);
  for (const { from, to } of copies) {
    const value = map.values.has(from) ? map.values.get(from) : from;
    if (value === undefined)
      throw badModel(`function "${f.name}" returns its input "${from.name}", which node "${call.label}" leaves out`, {
        node: call.label,
      });
    nodes.push(new Node({ op: 'Identity', name: `${call.label}/${from.name}`, inputs: [value], outputs: [to] }));
  }

  for (const [domain, version] of f.opsets)
    if (domain !== '') model.opsets.set(domain, Math.max(version, model.opsets.get(domain) ?? 0));
  const version = f.opsets.get('');
  if (version !== undefined && version !== model.opsets.get(''))
    for (const n of withInner(nodes)) versions.set(n, version);
  return nodes;
}

/**
 * Attribute references become the call's attributes, or the function's defaults; without either the attribute is left
 * out.
 */
function attributesOf(call: Node, f: FunctionDef): AttrChange {
  return (attr) => {
    if (attr.kind !== 'ref') return attr;
    const given = call.attrs.get(attr.value) ?? f.defaults.get(attr.value);
    if (given?.kind === 'graph') return { ...given, value: cloneGraph(given.value) };
    if (given?.kind === 'graphs') return { ...given, value: given.value.map((g) => cloneGraph(g)) };
    return given;
  };
}

/**
 * Names the copied nodes after the call. Symbolic dims of the body are not symbols of the model, so they are removed.
 */
function settle(node: Node, prefix: string, outer: ReadonlySet<Value>): void {
  if (node.name !== '') node.name = `${prefix}/${node.name}`;
  for (const v of node.outputs) if (!outer.has(v)) rename(v, prefix);
  for (const b of node.bodies) {
    for (const v of [...b.inputs, ...b.initializers]) rename(v, prefix);
    for (const n of b.nodes) settle(n, prefix, outer);
  }
}

function rename(v: Value, prefix: string): void {
  if (v.name !== '') v.name = `${prefix}/${v.name}`;
  if (v.type?.kind === 'tensor' && v.type.shape?.some((d) => typeof d === 'string'))
    v.type = { ...v.type, shape: v.type.shape.map((d) => (typeof d === 'string' ? null : d)) };
}

function* withInner(nodes: readonly Node[]): Iterable<Node> {
  for (const n of nodes) {
    yield n;
    for (const b of n.bodies) yield* b.allNodes();
  }
}
