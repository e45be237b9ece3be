/**
 * The model: graphs of nodes that are joined by values. This file does not depend on protobuf, the file system or ONNX
 * Runtime.
 *
 * A node refers to its inputs as objects, so a value captured by a subgraph is the outer graph's value itself and names
 * matter only where a model is read or written. Nodes made by a builder are detached: they are in no graph until
 * `Graph.adopt` reaches them from an output, so a rule may build results that remain unused.
 *
 * Longer than 300 lines because values, nodes and graphs maintain each other's use lists: one change touches all three.
 */
import { badModel } from '../errors.ts';
import type { DataType, Tensor } from './tensor.ts';

/** A dim: known, symbolic (equal names are equal dims) or unknown. */
export type Dim = number | string | null;

export interface TensorType {
  readonly kind: 'tensor' | 'sparse';
  /** undefined: the element type is not known. */
  readonly dtype: DataType | undefined;
  /** undefined: not even the rank is known. */
  readonly shape: readonly Dim[] | undefined;
  /** Per-dim denotations, if the source has any. */
  readonly denotations?: readonly (string | undefined)[];
}

export type ValueType =
  | TensorType
  | { readonly kind: 'sequence' | 'optional'; readonly elem: ValueType | undefined }
  | { readonly kind: 'map'; readonly key: DataType; readonly value: ValueType | undefined }
  | { readonly kind: 'opaque'; readonly domain: string; readonly name: string };

export const tensorType = (dtype: DataType | undefined, shape: readonly Dim[] | undefined): TensorType => ({
  kind: 'tensor',
  dtype,
  shape,
});

/** Wire bytes of fields that this version does not know; written back unchanged. */
export type Unknown = readonly Uint8Array[];
const nothing: Unknown = [];

/** A value: a graph input, an initializer, or an output of a node. */
export class Value {
  name: string;
  type: ValueType | undefined;
  /** The node that computes it, undefined for inputs and initializers. */
  producer: Node | undefined;
  /** The content of an initializer. */
  tensor: Tensor | undefined;
  /** Known elements of a small integer tensor (shape arithmetic), filled in by shape inference. */
  elements: readonly Dim[] | undefined;
  /** The source declared this value's type in value_info, so a writer should too. */
  declared = false;
  denotation = '';
  docString = '';
  unknown: Unknown = nothing;
  /** Undefined until the first entry, because few values have metadata. */
  #metadata: Map<string, string> | undefined;
  /** Nodes of graphs (not detached ones) that read this value, with the input's position. */
  readonly uses: Set<Use> = new Set();

  constructor(name: string, type?: ValueType) {
    this.name = name;
    this.type = type;
  }

  get metadata(): Map<string, string> {
    this.#metadata ??= new Map();
    return this.#metadata;
  }

  /** Copies everything from `from` except its name, producer and uses. */
  describeAs(from: Value): void {
    this.type = from.type;
    this.tensor = from.tensor;
    this.elements = from.elements;
    this.declared = from.declared;
    this.denotation = from.denotation;
    this.docString = from.docString;
    this.unknown = from.unknown;
    if (from.#metadata !== undefined) this.#metadata = new Map(from.#metadata);
  }

  get dtype(): DataType | undefined {
    if (this.type === undefined) return this.tensor?.dtype;
    return this.type.kind === 'tensor' ? this.type.dtype : undefined;
  }

  /** The shape of a tensor, undefined if even the rank is unknown. */
  get shape(): readonly Dim[] | undefined {
    if (this.type === undefined) return this.tensor?.dims;
    return this.type.kind === 'tensor' ? this.type.shape : undefined;
  }
}

export interface Use {
  readonly node: Node;
  readonly index: number;
}

/** An initializer value. */
export function constant(name: string, tensor: Tensor): Value {
  const v = new Value(name, tensorType(tensor.dtype, tensor.dims));
  v.tensor = tensor;
  return v;
}

/** Integers are numbers where they are safe, bigint beyond (for example Slice's 2^63-1). */
export type Int = number | bigint;

export type AttrValue =
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'int'; readonly value: Int }
  /** UTF-8 by convention, kept as bytes because some files contain other encodings. */
  | { readonly kind: 'string'; readonly value: Uint8Array }
  | { readonly kind: 'tensor'; readonly value: Tensor; readonly name: string }
  | { readonly kind: 'graph'; readonly value: Graph }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'ints'; readonly value: readonly Int[] }
  | { readonly kind: 'strings'; readonly value: readonly Uint8Array[] }
  | { readonly kind: 'tensors'; readonly value: readonly { readonly tensor: Tensor; readonly name: string }[] }
  | { readonly kind: 'graphs'; readonly value: readonly Graph[] }
  | { readonly kind: 'type'; readonly value: ValueType }
  | { readonly kind: 'types'; readonly value: readonly ValueType[] }
  | { readonly kind: 'sparse'; readonly value: SparseTensor }
  | { readonly kind: 'sparses'; readonly value: readonly SparseTensor[] }
  /** In a function body: the caller's attribute of this name. `type` is AttributeProto.AttributeType. */
  | { readonly kind: 'ref'; readonly value: string; readonly type: number };

export type Attr = AttrValue & { readonly docString?: string; readonly unknown?: Unknown };

export interface SparseTensor {
  readonly values: { readonly name: string; readonly tensor: Tensor };
  readonly indices: { readonly name: string; readonly tensor: Tensor };
  readonly dims: readonly number[];
}

/** The facts about one adapted weight. Plain data: every clone of the graph shares it. */
export interface Layer {
  /** Module path as PEFT users know it, for example `encoder.layer.0.attention.self.query`. */
  readonly path: string;
  /** The operator that reads the weight (graph/layers.ts defines the shapes of A and B). */
  readonly op: string;
  /** The kernel shape of a convolution. */
  readonly kernel?: readonly number[] | undefined;
  /** Name of the stored tensor that a merge changes. */
  readonly weight: string;
  /**
   * The layout of the stored tensor: [in, out] or [out, in] (of the two-dimensional result, if a Reshape follows the
   * tensor).
   */
  readonly layout: 'in_out' | 'out_in';
  readonly in: number;
  readonly out: number;
  readonly rank: number;
  readonly alpha: number;
  /** The factor on (x·A)·B. */
  readonly scale: number;
  /** Names of A and B in model.onnx. */
  readonly A: string;
  readonly B: string;
  /** Name of the magnitude vector [out] of a weight-decomposed layer (DoRA). */
  readonly magnitude?: string | undefined;
}

export interface NodeInit {
  readonly op: string;
  readonly domain?: string;
  readonly overload?: string;
  readonly name?: string;
  readonly inputs?: readonly (Value | undefined)[];
  readonly outputs?: readonly Value[];
  readonly attrs?: Iterable<readonly [string, Attr]>;
}

let made = 0;
let changes = 0;

/**
 * A number that grows with every change of a connection between a node and a value, in any graph. Two equal readings
 * around a pass show that it changed nothing but the order of nodes, names and types.
 */
export const revision = (): number => changes;

/** The number of nodes made so far: equal readings around a pass show that it only changed or removed nodes. */
export const nodesMade = (): number => made;

const none: readonly Graph[] = [];

/**
 * Attributes by name. The attributes that are graphs are cached, because they are read far more often than an attribute
 * changes.
 */
class Attributes extends Map<string, Attr> {
  #bodies: readonly Graph[] | undefined = none;

  get bodies(): readonly Graph[] {
    this.#bodies ??= [...this.values()].flatMap((a) =>
      a.kind === 'graph' ? [a.value] : a.kind === 'graphs' ? a.value : [],
    );
    return this.#bodies;
  }

  override set(name: string, attr: Attr): this {
    if (this.#bodies !== none || attr.kind === 'graph' || attr.kind === 'graphs') this.#bodies = undefined;
    return super.set(name, attr);
  }

  override delete(name: string): boolean {
    if (this.#bodies !== none) this.#bodies = undefined;
    return super.delete(name);
  }

  override clear(): void {
    this.#bodies = none;
    super.clear();
  }
}

/** One application of an operator or function. */
export class Node {
  /** The order of creation, used to sort nodes where no dependency decides. */
  readonly serial = made++;
  op: string;
  /** '' is the default domain ai.onnx. */
  domain: string;
  overload: string;
  name: string;
  docString = '';
  readonly #attrs: Attributes = new Attributes();
  #metadata: Map<string, string> | undefined;
  unknown: Unknown = nothing;
  /** Set on `loraify.Adapted` and `loraify.Branch` nodes, and on the final Add of a lowered branch. */
  layer: Layer | undefined;
  /** The graph that contains the node, undefined while detached. */
  graph: Graph | undefined;
  readonly outputs: Value[];
  #inputs: (Value | undefined)[];
  /** The entry of each input in its value's use list. */
  readonly #uses: (Use | undefined)[] = [];

  constructor(init: NodeInit) {
    this.op = init.op;
    this.domain = init.domain ?? '';
    this.overload = init.overload ?? '';
    this.name = init.name ?? '';
    this.#inputs = [...(init.inputs ?? [])];
    this.outputs = [...(init.outputs ?? [])];
    if (init.attrs !== undefined) for (const [name, attr] of init.attrs) this.#attrs.set(name, attr);
    for (const o of this.outputs) o.producer = this;
    changes++;
  }

  get attrs(): Map<string, Attr> {
    return this.#attrs;
  }

  get metadata(): Map<string, string> {
    this.#metadata ??= new Map();
    return this.#metadata;
  }

  /** Copies the annotations of `from`, not what it computes. */
  describeAs(from: Node): void {
    this.docString = from.docString;
    this.unknown = from.unknown;
    if (from.#metadata !== undefined) this.#metadata = new Map(from.#metadata);
  }

  /** Inputs in order; undefined where an optional input is left out. */
  get inputs(): readonly (Value | undefined)[] {
    return this.#inputs;
  }

  setInput(index: number, value: Value | undefined): void {
    if (this.graph !== undefined) this.#unuse(index);
    while (this.#inputs.length < index) this.#inputs.push(undefined);
    this.#inputs[index] = value;
    if (this.graph !== undefined) this.#use(index);
  }

  /** Graphs in attributes (bodies of If, Loop, Scan). */
  get bodies(): readonly Graph[] {
    return this.#attrs.bodies;
  }

  /** For messages: the name, or the first output if the node has no name. */
  get label(): string {
    return this.name || this.outputs[0]?.name || this.op;
  }

  /** Truncates the input list to `length`. */
  dropInputs(length: number): void {
    for (let i = length; i < this.#inputs.length; i++) if (this.graph !== undefined) this.#unuse(i);
    this.#inputs.length = Math.min(this.#inputs.length, length);
  }

  /** Makes this node the producer of `value`, instead of its current output at `index`. */
  replaceOutput(index: number, value: Value): void {
    this.outputs[index] = value;
    value.producer = this;
    changes++;
  }

  attach(graph: Graph): void {
    this.graph = graph;
    for (let i = 0; i < this.#inputs.length; i++) this.#use(i);
  }

  detach(): void {
    for (let i = 0; i < this.#inputs.length; i++) this.#unuse(i);
    this.graph = undefined;
  }

  #use(index: number): void {
    const v = this.#inputs[index];
    if (v === undefined) return;
    const use: Use = { node: this, index };
    this.#uses[index] = use;
    v.uses.add(use);
    changes++;
  }

  #unuse(index: number): void {
    const use = this.#uses[index];
    if (use === undefined) return;
    this.#inputs[index]?.uses.delete(use);
    changes++;
    this.#uses[index] = undefined;
  }
}

/** Whether a node has bodies. */
const holds = (n: Node): boolean => n.bodies.length > 0;

/** A list of nodes with inputs and outputs. Bodies of control flow are graphs too. */
export class Graph {
  name: string;
  docString = '';
  readonly inputs: Value[] = [];
  readonly outputs: Value[] = [];
  /**
   * Values with a tensor. An initializer that is also in `inputs` is an overridable default (IR 3 lists all of them in
   * both).
   */
  readonly initializers: Value[] = [];
  readonly sparseInitializers: SparseTensor[] = [];
  readonly nodes: Node[] = [];
  readonly metadata: Map<string, string> = new Map();
  /** value_info entries whose name is not defined in this graph; kept for a faithful copy. */
  readonly strayInfo: Value[] = [];
  readonly quantization: { readonly tensor: string; readonly parameters: ReadonlyMap<string, string> }[] = [];
  unknown: Unknown = nothing;

  constructor(name = 'graph') {
    this.name = name;
  }

  append(...nodes: Node[]): void {
    for (const n of nodes) {
      n.attach(this);
      this.nodes.push(n);
    }
  }

  /** Inserts after `anchor` (at the start for undefined). */
  insertAfter(anchor: Node | undefined, ...nodes: Node[]): void {
    const at = anchor === undefined ? 0 : this.nodes.indexOf(anchor) + 1;
    for (const n of nodes) n.attach(this);
    this.nodes.splice(at, 0, ...nodes);
  }

  remove(node: Node): void {
    const at = this.nodes.indexOf(node);
    if (at >= 0) this.nodes.splice(at, 1);
    node.detach();
  }

  /** Removes many nodes at once. */
  removeAll(nodes: ReadonlySet<Node>): void {
    if (nodes.size === 0) return;
    const kept = this.nodes.filter((n) => !nodes.has(n));
    for (const n of nodes) n.detach();
    this.nodes.length = 0;
    this.nodes.push(...kept);
  }

  /** Nodes of this graph and of all bodies below it, outer before inner. */
  allNodes(): Node[] {
    if (!this.nodes.some(holds)) return [...this.nodes];
    return this.nodes.flatMap((n) => [n, ...n.bodies.flatMap((b) => b.allNodes())]);
  }

  /** This graph and all bodies below it, outer before inner. */
  allGraphs(): Graph[] {
    return [this, ...this.bodies().flatMap((b) => b.allGraphs())];
  }

  /** The bodies of its nodes. */
  bodies(): Graph[] {
    return this.nodes.filter(holds).flatMap((n) => n.bodies);
  }

  /**
   * Replaces the node list by the nodes that the outputs need, in a stable topological order: nodes already in the
   * graph keep their relative order, detached ones follow in the order of creation, or precede the first node that
   * needs them. Detached constants become initializers, unused initializers are removed. Names are made unique.
   */
  adopt(): void {
    const order: Node[] = [];
    const state = new Map<Node, 'open' | 'done'>();
    const visit = (root: Node): void => {
      const stack: { node: Node; next: number; needs: readonly Node[] }[] = [];
      const open = (node: Node): void => {
        state.set(node, 'open');
        stack.push({ node, next: 0, needs: reached.get(node) ?? [] });
      };
      open(root);
      for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
        const need = top.needs[top.next++];
        if (need === undefined) {
          state.set(top.node, 'done');
          order.push(top.node);
          stack.pop();
        } else if (!state.has(need)) {
          if (need.graph === undefined || need.graph === this) open(need);
        } else if (state.get(need) === 'open') {
          throw badModel(`the graph has a cycle through node "${need.label}"`, { node: need.label });
        }
      }
    };
    /** The dependencies of each node. */
    const reached = new Map<Node, readonly Node[]>();
    const mark: Node[] = this.outputs.flatMap((o) => (o.producer === undefined ? [] : [o.producer]));
    for (let n = mark.pop(); n !== undefined; n = mark.pop()) {
      if (reached.has(n) || (n.graph !== undefined && n.graph !== this)) continue;
      const needs = producersOf(n);
      reached.set(n, needs);
      mark.push(...needs);
    }
    const detached = [...reached.keys()].filter((n) => n.graph === undefined).sort((a, b) => a.serial - b.serial);
    for (const n of this.nodes) if (reached.has(n) && !state.has(n)) visit(n);
    for (const n of detached) if (!state.has(n)) visit(n);
    for (const n of this.nodes)
      if (!state.has(n)) {
        n.detach();
        // Bodies of a removed node drop their uses of outer values.
        for (const b of n.bodies) for (const inner of b.allNodes()) inner.detach();
      }
    for (const n of order) if (n.graph === undefined) n.attach(this);
    this.nodes.length = 0;
    this.nodes.push(...order);
    this.settle();
  }

  /**
   * Appends the detached nodes that the outputs need to the existing nodes, and updates initializers and names as
   * `adopt` does.
   */
  extend(): void {
    const fresh = new Set<Node>();
    const todo: Node[] = this.outputs.flatMap((o) => (o.producer === undefined ? [] : [o.producer]));
    for (let n = todo.pop(); n !== undefined; n = todo.pop()) {
      if (n.graph !== undefined || fresh.has(n)) continue;
      fresh.add(n);
      todo.push(...producersOf(n));
    }
    // Inputs of a node are made before the node, so the order by serial is topological.
    this.append(...[...fresh].sort((a, b) => a.serial - b.serial));
    this.prune();
  }

  /** Removes unused nodes, last first, and updates initializers and names. */
  prune(): void {
    const handedOut = new Set(this.allGraphs().flatMap((g) => g.outputs));
    const needed = (v: Value): boolean => v.uses.size > 0 || handedOut.has(v);
    const dead = new Set<Node>();
    for (const n of this.nodes.toReversed()) {
      if (n.outputs.some(needed)) continue;
      dead.add(n);
      n.detach();
      for (const b of n.bodies) for (const inner of b.allNodes()) inner.detach();
    }
    this.removeAll(dead);
    this.settle();
  }

  /** Makes constants that are read initializers, removes unused initializers and makes names unique. */
  settle(): void {
    const inside = new Set(this.bodies().flatMap((b) => b.allGraphs().flatMap((g) => g.initializers)));
    /** The constants that nodes read. */
    const read = new Set<Value>();
    const note = (v: Value | undefined): void => {
      if (v?.tensor !== undefined && v.producer === undefined) read.add(v);
    };
    const look = (n: Node): void => {
      n.inputs.forEach(note);
      if (!holds(n)) return;
      for (const b of n.bodies) {
        b.outputs.forEach(note);
        b.nodes.forEach(look);
      }
    };
    this.outputs.forEach(note);
    this.nodes.forEach(look);
    const known = new Set(this.initializers);
    const kept = this.initializers.filter((v) => read.has(v));
    const added = [...read].filter((v) => !known.has(v) && !inside.has(v));
    this.initializers.length = 0;
    this.initializers.push(...kept, ...added);
    uniqueNames(this);
  }
}

/** Nodes whose results `node` needs, including those captured by its bodies, in the order of the inputs. */
export function producersOf(node: Node): Node[] {
  const needs: Node[] = [];
  for (const v of node.inputs) if (v?.producer !== undefined) needs.push(v.producer);
  if (!holds(node)) return needs;
  for (const body of node.bodies) {
    const inside = new Set(body.allNodes());
    for (const n of inside)
      for (const v of n.inputs) if (v?.producer !== undefined && !inside.has(v.producer)) needs.push(v.producer);
    for (const g of body.allGraphs())
      for (const v of g.outputs) if (v.producer !== undefined && !inside.has(v.producer)) needs.push(v.producer);
  }
  return needs;
}

/** Values that a node reads, including those that its bodies read or output. */
export function readsOf(node: Node): Value[] {
  const reads = node.inputs.filter((v) => v !== undefined);
  if (!holds(node)) return reads;
  for (const body of node.bodies) {
    for (const n of body.nodes) reads.push(...readsOf(n));
    reads.push(...body.outputs);
  }
  return reads;
}

/** Values of enclosing graphs that a node's bodies read or output, each once, in the order of use. */
export function capturedBy(node: Node): Value[] {
  if (node.bodies.length === 0) return [];
  const inside = new Set<Value>();
  for (const body of node.bodies)
    for (const g of body.allGraphs()) {
      for (const v of g.inputs) inside.add(v);
      for (const v of g.initializers) inside.add(v);
      for (const n of g.nodes) for (const v of n.outputs) inside.add(v);
    }
  const reads = node.bodies.flatMap((b) => [...b.nodes.flatMap(readsOf), ...b.outputs]);
  return [...new Set(reads)].filter((v) => !inside.has(v));
}

/** Makes the names of the graph's values and nodes unique; names that are unique already are kept. */
export function uniqueNames(graph: Graph): void {
  const fresh = nameGiver();
  const settle = (v: Value): void => {
    v.name = fresh(v.name || 'value');
  };
  // Interface names take precedence, because they are part of the contract.
  const fixed = new Set<Value>([...graph.inputs, ...graph.outputs]);
  for (const v of fixed) settle(v);
  const each = (g: Graph): void => {
    for (const v of g.initializers) if (!fixed.has(v)) settle(v);
    if (g !== graph) for (const v of g.inputs) settle(v);
    for (const n of g.nodes) {
      for (const v of n.outputs) if (!fixed.has(v) && v.name !== '') settle(v);
      if (holds(n)) n.bodies.forEach(each);
    }
  };
  each(graph);
  const freshNode = nameGiver();
  for (const n of graph.allNodes()) if (n.name !== '') n.name = freshNode(n.name);
}

/** The main graph of a model, its functions and all bodies below them, outer before inner. */
export const graphsOf = ({ graph, functions }: Pick<Model, 'graph' | 'functions'>): Graph[] =>
  [graph, ...functions.map((f) => f.body)].flatMap((g) => g.allGraphs());

/** The names of all values in these graphs: inputs, initializers and outputs of nodes. */
export function namesIn(graphs: readonly Graph[]): Set<string> {
  const names = new Set<string>();
  for (const g of graphs) {
    for (const v of g.inputs) names.add(v.name);
    for (const v of g.initializers) names.add(v.name);
    for (const n of g.nodes) for (const v of n.outputs) names.add(v.name);
  }
  return names;
}

/** Gives `freshName` of each base and adds it to `taken`, without trying every number again. */
export function nameGiver(taken: Set<string> = new Set()): (base: string) => string {
  const counts = new Map<string, number>();
  return (base) => {
    let name = base;
    if (!taken.has(base)) {
      taken.add(base);
      return base;
    }
    for (let i = counts.get(base) ?? 1; taken.has(name); i++) {
      name = `${base}.${i}`;
      counts.set(base, i + 1);
    }
    taken.add(name);
    return name;
  };
}

/** `base`, or `base.1`, `base.2` … if it is taken. */
export function freshName(base: string, taken: { has(name: string): boolean }): string {
  if (!taken.has(base)) return base;
  for (let i = 1; ; i++) if (!taken.has(`${base}.${i}`)) return `${base}.${i}`;
}

/** A model-local function (FunctionProto). Its body sees only its own inputs. */
export interface FunctionDef {
  readonly domain: string;
  readonly name: string;
  readonly overload: string;
  /** Inputs, outputs and nodes of the body. */
  readonly body: Graph;
  /** Attributes without and with a default. */
  readonly attributes: readonly string[];
  readonly defaults: ReadonlyMap<string, Attr>;
  readonly opsets: ReadonlyMap<string, number>;
  readonly docString: string;
  readonly metadata: ReadonlyMap<string, string>;
  readonly unknown: Unknown;
}

/** A complete ONNX file. */
export interface Model {
  irVersion: number;
  readonly opsets: Map<string, number>;
  graph: Graph;
  functions: FunctionDef[];
  producerName: string;
  producerVersion: string;
  domain: string;
  modelVersion: Int;
  docString: string;
  readonly metadata: Map<string, string>;
  /** training_info, configuration and fields of newer versions, as wire bytes. */
  unknown: Unknown;
}

/** Points every use of `from` in graphs, and graph outputs that are `from`, to `to`. */
export function replaceUses(from: Value, to: Value, except: (use: Use) => boolean = () => false): void {
  for (const use of [...from.uses]) if (!except(use)) use.node.setInput(use.index, to);
}

/** Does the same as `replaceUses`, and replaces the value among the outputs of these graphs. */
export function replaceValue(from: Value, to: Value, graphs: readonly Graph[]): void {
  replaceUses(from, to);
  for (const g of graphs)
    g.outputs.forEach((o, i) => {
      if (o === from) g.outputs[i] = to;
    });
}

/** Does the same as `replaceValue`, and gives `to` the name of `from`, which keeps its producer and gets the suffix. */
export function takePlace(from: Value, to: Value, graphs: readonly Graph[], suffix: string): void {
  const { name } = from;
  from.name = `${name}${suffix}`;
  to.name = name;
  replaceValue(from, to, graphs);
}
