/**
 * Makes nodes in the notation of the operator table: `g.Add(g.MatMul(x, A), b)`. Results are detached: they join a graph when
 * `Graph.adopt` reaches them from an output.
 */
import { bodyOf } from './body.ts';
import { constant, type Graph, type Int, Node, readsOf, Value } from './model.ts';
import {
  type AttrsIn,
  attrFrom,
  isDefaultAttr,
  isOpName,
  type OpName,
  operatorRow,
  operators,
  opKey,
} from './operators.ts';
import { bytesOf, type DataType, isFloat, type Tensor, tensorOf } from './tensor.ts';

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

export interface BuilderTools {
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
  /** A constant; equal constants of one builder are one value. */
  constant(dtype: DataType, dims: readonly number[], values: readonly number[]): Value;
  /** A constant with an existing tensor. */
  tensor(name: string, tensor: Tensor): Value;
  /** An int64 vector. */
  ints(values: readonly number[]): Value;
  /** An int64 scalar. */
  int(value: number): Value;
  /** A float32 scalar. */
  float(value: number): Value;
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
  const symbols = new Map<string, Value>();
  const constants = new Map<string, Value>();
  const named = new Map(existing.map((v) => [v.name, v]));
  const made = new Set<Node>();
  const local = new Set<Value>();
  let mark: Mark = outer?.mark ?? { origin: '' };

  const own = (node: Node): Node => {
    if (outer !== undefined) made.add(node);
    const base = mark.origin === '' ? node.op : `${mark.origin}.${node.op}`;
    node.outputs.forEach((v, i) => {
      if (v.name === '') v.name = i === 0 ? base : `${base}_${i}`;
    });
    if (node.name === '') node.name = node.outputs[0]?.name ?? base;
    if (mark.rule !== undefined) node.metadata.set('loraify.rule', mark.rule);
    if (mark.gradOf !== undefined) node.metadata.set('loraify.grad_of', mark.gradOf);
    infer(node);
    return node;
  };

  /** Resolves "seq", a dim of an input, and "2*seq", a product of such dims. */
  const lengthOf = (name: string): Value | undefined => {
    const source = inputs.find((v) => v.shape?.includes(name));
    if (source !== undefined)
      return methods.Gather(methods.Shape(source), tools.ints([source.shape?.indexOf(name) ?? 0]));
    const factors = /^[\w.]+(\*[\w.]+)+$/.test(name) ? name.split('*') : [];
    const lengths = factors.map((f) => (/^\d+$/.test(f) ? tools.ints([Number(f)]) : tools.symbol(f)));
    const [first, ...rest] = lengths.filter((l) => l !== undefined);
    return rest.length < factors.length - 1 ? undefined : first && rest.reduce((x, y) => methods.Mul(x, y), first);
  };
  const tools: BuilderTools = {
    own,
    take: (nodes) => {
      if (outer !== undefined) for (const n of nodes) made.add(n);
    },
    owns: (node) => outer === undefined || made.has(node),
    body: (name, ins, make) => {
      const inner = build(infer, ins, [], { g: self, mark });
      const results = make(inner.g);
      const graph = bodyOf(results, inner, (v) => inner.g.Identity(v));
      graph.name = name;
      graph.inputs.push(...ins);
      return graph;
    },
    inside: (body) => {
      const { g, made: fresh, local: own } = build(infer, body.inputs, body.initializers, { g: self, mark });
      const place = (before: Node): void => {
        const nodes = [...fresh];
        fresh.clear();
        body.insertAfter(body.nodes[body.nodes.indexOf(before) - 1], ...nodes);
        const known = new Set(body.initializers);
        const read = new Set(nodes.flatMap(readsOf));
        body.initializers.push(...[...own].filter((v) => read.has(v) && !known.has(v)));
      };
      return { g, place };
    },
    node: ({ op, domain = '', inputs, attrs = {}, outputs }) => {
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
      return own(node).outputs;
    },
    constant: (dtype, dims, values) => {
      const key = `${dtype}[${dims.join(',')}]${values.map((v) => (Object.is(v, -0) ? '-0' : v)).join(',')}`;
      const found = constants.get(key);
      if (found !== undefined) return found;
      const text =
        values.length <= 8
          ? values.map((v) => (dtype === 'float32' ? shortest(v) : String(v))).join('_')
          : `${values.length}`;
      const name = `const.${dtype}${dims.length > 0 ? `x${dims.join('x')}` : ''}.${text}`;
      const tensor = tensorOf(dtype, dims, values);
      const before = named.get(name);
      const value = before?.tensor !== undefined && sameTensor(before.tensor, tensor) ? before : constant(name, tensor);
      if (dtype === 'int64' && dims.length <= 1) value.elements = values;
      constants.set(key, value);
      local.add(value);
      return value;
    },
    tensor: (name, t) => {
      const value = constant(name, t);
      local.add(value);
      return value;
    },
    ints: (values) => tools.constant('int64', [values.length], values),
    int: (value) => tools.constant('int64', [], [value]),
    float: (value) => tools.constant('float32', [], [value]),
    like: (ref, value) => {
      const dtype = ref.dtype;
      if (dtype === undefined) return methods.CastLike(tools.float(value), ref);
      return tools.constant(dtype, [], [isFloat(dtype) ? value : Math.trunc(value)]);
    },
    symbol: (name) => {
      const found = symbols.get(name);
      if (found !== undefined) return found;
      const around = outer?.g.symbol(name);
      if (around !== undefined) return around;
      const length = tools.within({ origin: `dim.${name.replaceAll('*', '_')}` }, () => lengthOf(name));
      if (length === undefined) return undefined;
      length.elements = [name];
      symbols.set(name, length);
      return length;
    },
    within: (next, body) => {
      const before = mark;
      mark = next;
      try {
        return body();
      } finally {
        mark = before;
      }
    },
  };

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
      const [out] = tools.node({
        op,
        inputs,
        attrs: typeof attrs === 'object' && attrs !== null ? attrs : {},
        outputs: 1,
      });
      if (out === undefined) throw new Error(`${op} has no output`);
      return out;
    };
  };
  const all: { -readonly [O in OpName]?: OpMethods[O] } = {};
  for (const [op, row] of Object.entries(operators)) if (isOpName(op)) all[op] = method(op, row);
  if (!isComplete(all)) throw new Error('the operator table and the builder differ');
  const methods: OpMethods = all;
  const self: Builder = Object.assign(methods, tools);
  return { g: self, made, local };
}

const sameTensor = (a: Tensor, b: Tensor): boolean =>
  a.dtype === b.dtype && a.dims.join() === b.dims.join() && bytesOf(a).every((x, i) => x === bytesOf(b)[i]);

/** The shortest decimal that parses to the same float32. */
function shortest(value: number): string {
  const wanted = Math.fround(value);
  for (let digits = 1; digits < 9; digits++) {
    const text = String(Number(wanted.toPrecision(digits)));
    if (Math.fround(Number(text)) === wanted) return text;
  }
  return String(Number(wanted.toPrecision(9)));
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
