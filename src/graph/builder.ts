/**
 * Makes nodes in the notation of the operator table: `g.Add(g.MatMul(x, A), b)`. Results are detached: they join a
 * graph when `Graph.adopt` reaches them from an output.
 */
import { attrFrom } from './attributes.ts';
import { bodyOf } from './body.ts';
import { type ConstantPool, constantPool } from './constantPool.ts';
import { type Graph, type Int, Node, readsOf, Value } from './model.ts';
import { type AttrsIn, isDefaultAttr, isOpName, type OpName, operatorRow, operators, opKey } from './operators.ts';
import { isFloat } from './tensor.ts';

type Args<T extends readonly string[]> = T extends readonly []
  ? []
  : T extends readonly [infer H extends string, ...infer R extends readonly string[]]
    ? H extends `...${string}`
      ? [readonly Value[]]
      : H extends `${string}?`
        ? [(Value | undefined)?, ...Args<R>]
        : [Value, ...Args<R>]
    : never;

/** Arguments of a builder method: the inputs of the row in order (a variadic one as an array), then the attributes. */
export type OpArgs<O extends OpName> = [...Args<(typeof operators)[O]['in']>, AttrsIn<O>?];

type OpMethods = { readonly [O in OpName]: (...args: OpArgs<O>) => Value };

export interface BuilderTools extends Omit<ConstantPool, 'local'> {
  /** A node with several outputs, of any domain. Attributes of operators in the table may be plain values. */
  node(init: {
    op: string;
    domain?: string;
    inputs: readonly (Value | undefined)[];
    attrs?: object;
    outputs: number;
  }): Value[];
  /** Registers a node made elsewhere: it gets names, provenance and types like the builder's own nodes. */
  own(node: Node): Node;
  /** Registers complete nodes made elsewhere, such as copies, as this builder's own. */
  take(nodes: readonly Node[]): void;
  /** True for nodes of this builder's body. A builder that builds no body owns every node. */
  owns(node: Node): boolean;
  /**
   * A body for If, Loop or Scan. What `make` builds with its builder stays inside, constants included; it captures all
   * other values. `inputs` are read after `make` returns.
   */
  body(name: string, inputs: readonly Value[], make: (g: Builder) => readonly Value[]): Graph;
  /** A builder for an existing body; `place` inserts the nodes made since the last call before a node of the body. */
  inside(body: Graph): { readonly g: Builder; readonly place: (before: Node) => void };
  /** A scalar of `ref`'s element type (through CastLike where that is unknown). */
  like(ref: Value, value: number): Value;
  /**
   * An int64 vector of one element: the size that this symbol, or product of symbols, has, if graph inputs have it as a
   * dim.
   */
  symbol(name: string): Value | undefined;
  /** Runs `body` with nodes named after `origin` and marked with this rule and gradient origin. */
  within<T>(mark: Mark, body: () => T): T;
}

export interface Mark {
  /** The value or node of the source that the new values are named after. */
  readonly origin: string;
  /** The `loraify.rule` metadata of the nodes. */
  readonly rule?: string;
  /** The `loraify.grad_of` metadata of the nodes: the forward node they differentiate. */
  readonly gradOf?: string;
}

export type Builder = OpMethods & BuilderTools;

/**
 * Creates a builder. `infer` types the outputs of a new node once, as soon as it is made. Symbolic dims are looked up
 * among `inputs`, so that all shapes of a graph come from a few nodes. Constants that another builder made for the same
 * graph are reused from `existing`.
 */
export function createBuilder(
  infer: (node: Node) => void = () => {},
  inputs: readonly Value[] = [],
  existing: readonly Value[] = [],
): Builder {
  return build(infer, inputs, existing).g;
}

/** The builder that created a body's builder. */
interface Outer {
  readonly g: Builder;
  readonly mark: Mark;
}

interface Built {
  readonly g: Builder;
  readonly made: Set<Node>;
  /** Constants that belong to this graph. */
  readonly local: ReadonlySet<Value>;
}

function build(
  infer: (node: Node) => void,
  inputs: readonly Value[],
  existing: readonly Value[],
  outer?: Outer,
): Built {
  const made = new Set<Node>();
  const { local, ...constants } = constantPool(existing);
  let mark: Mark = outer?.mark ?? { origin: '' };

  const own = (node: Node): Node => {
    if (outer !== undefined) made.add(node);
    describe(node, mark);
    infer(node);
    return node;
  };
  const within: BuilderTools['within'] = (next, body) => {
    const before = mark;
    mark = next;
    try {
      return body();
    } finally {
      mark = before;
    }
  };
  const node: BuilderTools['node'] = (init) => own(nodeOf(init)).outputs;
  const methods = operatorMethods(node);
  const tools: BuilderTools = {
    own,
    take: (nodes) => {
      if (outer !== undefined) for (const n of nodes) made.add(n);
    },
    owns: (n) => outer === undefined || made.has(n),
    body: (name, ins, make) => {
      const inner = build(infer, ins, [], { g: self, mark });
      const results = make(inner.g);
      const graph = bodyOf(results, inner, (v) => inner.g.Identity(v));
      graph.name = name;
      graph.inputs.push(...ins);
      return graph;
    },
    inside: (body) => {
      const inner = build(infer, body.inputs, body.initializers, { g: self, mark });
      return { g: inner.g, place: (before) => placeBefore(before, body, inner) };
    },
    node,
    ...constants,
    like: (ref, value) => {
      const { dtype } = ref;
      if (dtype === undefined) return methods.CastLike(constants.float(value), ref);
      return constants.constant(dtype, [], [isFloat(dtype) ? value : Math.trunc(value)]);
    },
    symbol: symbolLengths(() => self, inputs, outer?.g),
    within,
  };
  const self: Builder = Object.assign(methods, tools);
  return { g: self, made, local };
}

/** Names a new node and its outputs after the mark, where they have no names, and notes rule and forward node. */
function describe(node: Node, { origin, rule, gradOf }: Mark): void {
  const base = origin === '' ? node.op : `${origin}.${node.op}`;
  node.outputs.forEach((v, i) => {
    if (v.name === '') v.name = i === 0 ? base : `${base}_${i}`;
  });
  if (node.name === '') node.name = node.outputs[0]?.name ?? base;
  if (rule !== undefined) node.metadata.set('loraify.rule', rule);
  if (gradOf !== undefined) node.metadata.set('loraify.grad_of', gradOf);
}

/** A node without names and types; attributes that have their default value are left out. */
function nodeOf({ op, domain = '', inputs, attrs = {}, outputs }: Parameters<BuilderTools['node']>[0]): Node {
  const rows = operatorRow(opKey({ domain, op }))?.attrs ?? {};
  const list = Object.entries(attrs).flatMap(([name, value]) => {
    if (value === undefined) return [];
    const r = rows[name];
    const attr = r === undefined ? guess(value) : attrFrom(r, value);
    if (attr === undefined) throw new Error(`attribute ${name} of ${op} cannot be made from ${String(value)}`);
    return [[name, attr] as const];
  });
  const ins = [...inputs];
  while (ins.length > 0 && ins.at(-1) === undefined) ins.pop();
  const outs: Value[] = [];
  while (outs.length < outputs) outs.push(new Value(''));
  const node = new Node({ op, domain, inputs: ins, outputs: outs, attrs: list });
  for (const name of [...node.attrs.keys()]) if (isDefaultAttr(node, name)) node.attrs.delete(name);
  return node;
}

/** Inserts what the builder of a body made since the last call, with the constants that it reads. */
function placeBefore(before: Node, body: Graph, { made, local }: Built): void {
  const nodes = [...made];
  made.clear();
  body.insertAfter(body.nodes[body.nodes.indexOf(before) - 1], ...nodes);
  const known = new Set(body.initializers);
  const read = new Set(nodes.flatMap(readsOf));
  body.initializers.push(...[...local].filter((v) => read.has(v) && !known.has(v)));
}

/** Symbolic lengths, each computed once: by the builder around a body where that can, else from `inputs`. */
function symbolLengths(
  builder: () => Builder,
  inputs: readonly Value[],
  around: Builder | undefined,
): BuilderTools['symbol'] {
  const symbols = new Map<string, Value>();
  /** "seq" as an input has it, "2*seq" as a product of such. */
  const lengthOf = (name: string, g: Builder): Value | undefined => {
    const source = inputs.find((v) => v.shape?.includes(name));
    if (source !== undefined) return g.Gather(g.Shape(source), g.ints([source.shape?.indexOf(name) ?? 0]));
    const factors = /^[\w.]+(\*[\w.]+)+$/.test(name) ? name.split('*') : [];
    const lengths = factors.map((f) => (/^\d+$/.test(f) ? g.ints([Number(f)]) : g.symbol(f)));
    const [first, ...rest] = lengths.filter((l) => l !== undefined);
    return rest.length < factors.length - 1 ? undefined : first && rest.reduce((x, y) => g.Mul(x, y), first);
  };
  return (name) => {
    const found = symbols.get(name) ?? around?.symbol(name);
    if (found !== undefined) return found;
    const g = builder();
    const length = g.within({ origin: `dim.${name.replaceAll('*', '_')}` }, () => lengthOf(name, g));
    if (length === undefined) return undefined;
    length.elements = [name];
    symbols.set(name, length);
    return length;
  };
}

/** A method for every row of the operator table: the inputs in order, then the attributes. */
function operatorMethods(node: BuilderTools['node']): OpMethods {
  const method = (op: string, row: { readonly in: readonly string[] }) => {
    const variadicAt = row.in.findIndex((n) => n.startsWith('...'));
    return (...args: readonly unknown[]): Value => {
      const given = args.slice(0, row.in.length);
      const attrs = args[row.in.length];
      const inputs = given.flatMap((a, i): (Value | undefined)[] =>
        i === variadicAt && Array.isArray(a)
          ? a.filter((v): v is Value => v instanceof Value)
          : [a instanceof Value ? a : undefined],
      );
      const plain = typeof attrs === 'object' && attrs !== null ? attrs : {};
      const [out] = node({ op, inputs, attrs: plain, outputs: 1 });
      if (out === undefined) throw new Error(`${op} has no output`);
      return out;
    };
  };
  const all: { -readonly [O in OpName]?: OpMethods[O] } = {};
  for (const [op, row] of Object.entries(operators)) if (isOpName(op)) all[op] = method(op, row);
  if (!isComplete(all)) throw new Error('the operator table and the builder differ');
  return all;
}

const isComplete = (m: { readonly [O in OpName]?: OpMethods[O] }): m is OpMethods =>
  Object.keys(operators).every((op) => op in m);

function guess(value: unknown): ReturnType<typeof attrFrom> {
  if (typeof value === 'string') return { kind: 'string', value: new TextEncoder().encode(value) };
  if (typeof value === 'number') return Number.isInteger(value) ? { kind: 'int', value } : { kind: 'float', value };
  if (Array.isArray(value)) {
    const list: readonly unknown[] = value;
    const ints = list.filter((v): v is Int => typeof v === 'number' || typeof v === 'bigint');
    return { kind: 'ints', value: ints };
  }
  return undefined;
}
