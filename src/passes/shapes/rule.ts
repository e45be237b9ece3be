/**
 * The registry of shape rules. A rule gives the outputs of one operator for its inputs; an unknown type or rank is
 * undefined, an unknown dim is null. Operators are in their forms of opset 18 and later.
 */
import type { Dim, Graph, Node, Value, ValueType } from '../../graph/model.ts';
import { opKey } from '../../graph/operators.ts';
import type { DataType } from '../../graph/tensor.ts';
import { attrsOf } from '../dialect/nodes.ts';
import type { AttrsOf, RowKey } from '../dialect/table.ts';

export type Shape = readonly Dim[] | undefined;

/** The facts about one output. */
export interface Typed {
  readonly type: ValueType | undefined;
  /** Elements of a small integer or bool tensor, flattened. */
  readonly elements?: readonly Dim[] | undefined;
}

export interface Site<A> {
  readonly node: Node;
  readonly inputs: readonly (Value | undefined)[];
  /** The number of outputs of the node. */
  readonly count: number;
  readonly attrs: A;
  /** Infers a body, after the rule has typed its inputs. */
  readonly infer: (body: Graph) => void;
}

export type Rule = (site: Site<unknown>) => readonly (Typed | undefined)[];

const rules = new Map<string, Rule>();

export const shapeRule = (node: Node): Rule | undefined => rules.get(opKey(node));

/** Operators that have a rule, as registry keys. */
export const shapeRuleKeys = (): string[] => [...rules.keys()];

function put(key: string, rule: Rule): void {
  if (rules.has(key)) throw new Error(`${key} has two shape rules`);
  rules.set(key, rule);
}

/** The rule of an operator of the tables, or of several with the same attributes. */
export function shape<O extends RowKey>(
  ops: O | readonly O[],
  rule: (site: Site<AttrsOf<O>>) => readonly (Typed | undefined)[],
): void {
  for (const op of typeof ops === 'string' ? [ops] : ops)
    put(op, (site) => rule({ ...site, attrs: attrsOf(site.node, op) }));
}

/** The rule of operators outside the tables, or of several with different attributes that it does not read. */
export function shapeRaw(keys: string | readonly string[], rule: Rule): void {
  for (const key of typeof keys === 'string' ? [keys] : keys) put(key, rule);
}

export const out = (dtype: DataType | undefined, dims: Shape, elements?: readonly Dim[] | undefined): Typed => ({
  type: { kind: 'tensor', dtype, shape: dims },
  elements,
});

/** An output with the type and shape of `v`, but not its elements. */
export const like = (v: Value | undefined): Typed =>
  v?.type === undefined ? out(v?.dtype, v?.shape) : { type: v.type };

/** A non-negative axis, undefined if it is out of range. */
export function axisIn(axis: number, rank: number): number | undefined {
  const a = axis < 0 ? axis + rank : axis;
  return Number.isInteger(a) && a >= 0 && a < rank ? a : undefined;
}

/** All as non-negative axes, undefined if one is out of range. */
export function axesIn(axes: readonly number[], rank: number): number[] | undefined {
  const list = axes.flatMap((a) => axisIn(a, rank) ?? []);
  return list.length === axes.length ? list : undefined;
}

export const unknownDims = (rank: number): Dim[] => new Array<Dim>(rank).fill(null);

/** `dims` with one dim replaced. */
export const withDim = (dims: readonly Dim[], axis: number, d: Dim): Dim[] =>
  dims.map((old, i) => (i === axis ? d : old));

/** The dim at an axis (from the end if negative); null if unknown or absent. */
export const dimAt = (dims: Shape, axis: number): Dim => dims?.at(axis) ?? null;

/** An int attribute of an operator outside the table. */
export function intAttr(node: Node, name: string): number | undefined;
export function intAttr(node: Node, name: string, fallback: number): number;
export function intAttr(node: Node, name: string, fallback?: number): number | undefined {
  const attr = node.attrs.get(name);
  return attr?.kind === 'int' ? Number(attr.value) : fallback;
}
