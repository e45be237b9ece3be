/** Attributes, inputs and outputs of a node as the row of its operator types them. */
import type { Attr, Int, Node, Value } from './model.ts';
import type { AttrRow, AttrTypes, OpRow } from './operatorRow.ts';

type Named<T extends readonly string[], V> = T extends readonly []
  ? []
  : T extends readonly [infer H extends string, ...infer R extends readonly string[]]
    ? H extends `...${string}`
      ? V[]
      : [H extends `${string}?` ? V | undefined : V, ...Named<R, V>]
    : never;

/** Inputs of a node as a tuple: optional ones may be undefined, variadic ones are the rest. */
export type RowInputs<R extends OpRow> = Readonly<Named<R['in'], Value>>;
export type RowOutputs<R extends OpRow> = Readonly<Named<R['out'], Value>>;

type AttrRows<R extends OpRow> = R extends { readonly attrs: infer A } ? A : Record<never, never>;

/** Attributes with defaults applied. */
export type RowAttrs<R extends OpRow> = {
  readonly [N in keyof AttrRows<R>]: AttrRows<R>[N] extends AttrRow<infer K, infer D>
    ? D extends true
      ? AttrTypes[K]
      : AttrRows<R>[N] extends { readonly required: true }
        ? AttrTypes[K]
        : AttrTypes[K] | undefined
    : never;
};

/** Attributes as one writes them: those that a row does not require are optional. */
export type RowAttrsIn<R extends OpRow> = {
  readonly [N in keyof AttrRows<R> as AttrRows<R>[N] extends { readonly required: true }
    ? N
    : never]: AttrRows<R>[N] extends AttrRow<infer K> ? AttrTypes[K] : never;
} & {
  readonly [N in keyof AttrRows<R> as AttrRows<R>[N] extends { readonly required: true }
    ? never
    : N]?: AttrRows<R>[N] extends AttrRow<infer K> ? AttrTypes[K] | undefined : never;
};

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const toNumber = (i: Int): number => Number(i);

function plain(attr: Attr): AttrTypes[keyof AttrTypes] | undefined {
  switch (attr.kind) {
    case 'int':
      return toNumber(attr.value);
    case 'ints':
      return attr.value.map(toNumber);
    case 'string':
      return decoder.decode(attr.value);
    case 'strings':
      return attr.value.map((s) => decoder.decode(s));
    case 'float':
    case 'floats':
    case 'tensor':
    case 'graph':
    case 'sparse':
    case 'type':
      return attr.value;
    default:
      return undefined;
  }
}

/** The kind of the stored attribute. */
const kinds: { readonly [K in keyof AttrTypes]: Attr['kind'] } = {
  float: 'float',
  int: 'int',
  str: 'string',
  floats: 'floats',
  ints: 'ints',
  strs: 'strings',
  tensor: 'tensor',
  graph: 'graph',
  sparse: 'sparse',
  type: 'type',
};

/** Whether a stored attribute is of the kind that its row names. */
export const isOfKind = (attr: Attr, { kind }: AttrRow): boolean => attr.kind === kinds[kind];

/**
 * The plain value of a node's attribute, or the default of its row where the node lacks it or has it of another kind.
 */
export function attrValue(node: Node, name: string, r: AttrRow): AttrTypes[keyof AttrTypes] | undefined {
  const attr = node.attrs.get(name);
  return attr !== undefined && isOfKind(attr, r) ? plain(attr) : r.default;
}

/**
 * The attributes of a node as its row types them. int64 values beyond 2^53 are rounded, which keeps their meaning as
 * "to the end". An attribute of another kind than the row's counts as absent.
 */
export function readAttrs<R extends OpRow>(node: Node, row: R): RowAttrs<R> {
  const entries: unknown[][] = Object.entries(row.attrs ?? {}).map(([name, r]) => [name, attrValue(node, name, r)]);
  // The row determines both the keys and the kinds, as the type declares; Object.fromEntries cannot express it.
  return typed<RowAttrs<R>>(Object.fromEntries(entries));
}

function typed<T>(value: T): T {
  return value;
}

/** One attribute made from its plain value, with the kind in the table. */
export function attrFrom(r: AttrRow, value: AttrTypes[keyof AttrTypes]): Attr | undefined {
  if (r.kind === 'float' && typeof value === 'number') return { kind: 'float', value };
  if (r.kind === 'int' && typeof value === 'number') return { kind: 'int', value };
  if (r.kind === 'str' && typeof value === 'string') return { kind: 'string', value: encoder.encode(value) };
  if (Array.isArray(value)) {
    const list: readonly unknown[] = value;
    const numbers = list.filter((v) => typeof v === 'number');
    if (r.kind === 'floats') return { kind: 'floats', value: numbers };
    if (r.kind === 'ints') return { kind: 'ints', value: numbers };
    const texts = list.filter((v) => typeof v === 'string');
    if (r.kind === 'strs') return { kind: 'strings', value: texts.map((s) => encoder.encode(s)) };
  }
  if (typeof value !== 'object') return undefined;
  if (r.kind === 'tensor' && 'payload' in value) return { kind: 'tensor', value, name: '' };
  if (r.kind === 'graph' && 'nodes' in value) return { kind: 'graph', value };
  return undefined;
}

/** True where a node's attribute has the default value of its row. */
export function isDefaultOf(node: Node, name: string, r: AttrRow): boolean {
  const attr = node.attrs.get(name);
  if (attr === undefined || r.default === undefined || !isOfKind(attr, r)) return false;
  const value = plain(attr);
  if (r.kind === 'float') return Math.fround(Number(value)) === Math.fround(Number(r.default));
  return value === r.default;
}

interface Ends {
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly (Value | undefined)[];
}

/** Whether no input or output that a row requires is missing: what the typed tuples promise. */
export function fitsRow<S extends Ends, R extends OpRow>(
  node: S,
  row: R,
): node is S & { readonly inputs: RowInputs<R>; readonly outputs: RowOutputs<R> } {
  return fits(row.in, node.inputs) && fits(row.out, node.outputs);
}

const fits = (names: readonly string[], values: readonly (Value | undefined)[]): boolean =>
  names.every((n, i) => n.endsWith('?') || n.startsWith('...') || values[i] !== undefined);
