/**
 * Deep copies. Graphs, nodes and values are new objects; tensors, types, layers and byte sources are shared, so a copy
 * takes memory in proportion to the graph, not to its weights.
 */
import { type Attr, type FunctionDef, Graph, type Model, Node, Value } from './model.ts';

/** The copy of each value and node. A value that maps to undefined is an optional input that the caller left out. */
export interface CloneMap {
  readonly values: Map<Value, Value | undefined>;
  readonly nodes: Map<Node, Node>;
}

/** Changes an attribute while it is copied; undefined leaves it out. */
export type AttrChange = (attr: Attr) => Attr | undefined;

export const cloneMap = (): CloneMap => ({ values: new Map(), nodes: new Map() });

/** A copy of a whole file that shares nothing mutable with it. */
export function cloneModel(model: Model): { model: Model; map: CloneMap } {
  const map = cloneMap();
  const functions = model.functions.map(
    (f): FunctionDef => ({
      ...f,
      body: copyGraph(f.body, map),
      defaults: new Map([...f.defaults].map(([name, attr]) => [name, copyAttr(attr, map)])),
    }),
  );
  const copy: Model = {
    ...model,
    opsets: new Map(model.opsets),
    metadata: new Map(model.metadata),
    graph: copyGraph(model.graph, map),
    functions,
  };
  return { model: copy, map };
}

/**
 * A copy of a graph. Values of outer graphs that it reads are shared with the original, or replaced as `captured` maps
 * them.
 */
export function cloneGraph(graph: Graph, captured: ReadonlyMap<Value, Value | undefined> = new Map()): Graph {
  return copyGraph(graph, { values: new Map(captured), nodes: new Map() });
}

/**
 * Detached copies of nodes, for moving a body to another place. Values in `map` (the body's inputs, and outputs that
 * already exist at that place) are replaced by what they map to; all other copies are added to `map`.
 */
export function cloneNodes(nodes: readonly Node[], map: CloneMap, change: AttrChange = (a) => a): Node[] {
  for (const n of nodes) defineOutputs(n, map);
  return nodes.map((n) => copyNode(n, map, change));
}

/** A copy of a value, without its producer and uses. */
export function cloneValue(value: Value): Value {
  const copy = new Value(value.name);
  copy.describeAs(value);
  return copy;
}

/** A copy of a graph that fills `map` with the copy of each value and node. */
export function copyGraph(graph: Graph, map: CloneMap, change: AttrChange = (a) => a): Graph {
  const copy = new Graph(graph.name);
  copy.docString = graph.docString;
  copy.unknown = graph.unknown;
  for (const [k, v] of graph.metadata) copy.metadata.set(k, v);
  // Definitions before references: a file's nodes need not be in order, and its outputs may be captured values.
  copy.inputs.push(...graph.inputs.map((v) => define(v, map)));
  copy.initializers.push(...graph.initializers.map((v) => define(v, map)));
  for (const n of graph.nodes) defineOutputs(n, map);
  defineSparse(graph, map);
  copy.append(...graph.nodes.map((n) => copyNode(n, map, change)));
  copy.outputs.push(...graph.outputs.map((v) => lookup(v, map) ?? define(v, map)));
  copy.strayInfo.push(...graph.strayInfo.map(cloneValue));
  copy.sparseInitializers.push(...graph.sparseInitializers);
  copy.quantization.push(...graph.quantization);
  return copy;
}

function copyNode(node: Node, map: CloneMap, change: AttrChange): Node {
  const attrs: [string, Attr][] = [];
  node.attrs.forEach((attr, name) => {
    const changed = change(copyAttr(attr, map, change));
    if (changed !== undefined) attrs.push([name, changed]);
  });
  const copy = new Node({
    op: node.op,
    domain: node.domain,
    overload: node.overload,
    name: node.name,
    inputs: node.inputs.map((v) => (v === undefined ? undefined : lookup(v, map))),
    outputs: node.outputs.map((v) => define(v, map)),
    attrs,
  });
  copy.describeAs(node);
  copy.layer = node.layer;
  map.nodes.set(node, copy);
  return copy;
}

function copyAttr(attr: Attr, map: CloneMap, change: AttrChange = (a) => a): Attr {
  if (attr.kind === 'graph') return { ...attr, value: copyGraph(attr.value, map, change) };
  if (attr.kind === 'graphs') return { ...attr, value: attr.value.map((g) => copyGraph(g, map, change)) };
  return attr;
}

/** Values of sparse initializers are in no list; only their readers know them. */
function defineSparse(graph: Graph, map: CloneMap): void {
  const names = new Set(graph.sparseInitializers.map((s) => s.values.name));
  if (names.size === 0) return;
  for (const n of graph.allNodes())
    for (const v of n.inputs)
      if (v !== undefined && v.producer === undefined && !map.values.has(v) && names.has(v.name)) define(v, map);
}

function defineOutputs(node: Node, map: CloneMap): void {
  for (const v of node.outputs) define(v, map);
}

function define(value: Value, map: CloneMap): Value {
  const known = map.values.get(value);
  if (known !== undefined) return known;
  const copy = cloneValue(value);
  map.values.set(value, copy);
  return copy;
}

function lookup(value: Value, map: CloneMap): Value | undefined {
  return map.values.get(value) ?? (map.values.has(value) ? undefined : value);
}

/** A model like this one with an empty graph. */
export function emptyModel(like: Model, name: string): Model {
  return {
    ...like,
    opsets: new Map(like.opsets),
    metadata: new Map(like.metadata),
    graph: new Graph(name),
    functions: [],
  };
}
