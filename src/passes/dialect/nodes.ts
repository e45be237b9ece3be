/** Nodes of the dialect, read and made by the rows of its table. */
import { badModel } from '../../errors.ts';
import { attrFrom, fitsRow, isOfKind, type RowAttrsIn, readAttrs } from '../../graph/attributes.ts';
import { type Attr, type Layer, Node, type Value } from '../../graph/model.ts';
import type { AttrTypes } from '../../graph/operatorRow.ts';
import { opKey } from '../../graph/operators.ts';
import { internalDomain } from '../common/internalDomain.ts';
import {
  type AttrsOf,
  type DialectKey,
  type dialect,
  dialectFacts,
  type InputsOf,
  isDialectKey,
  type OutputsOf,
  type RowKey,
  rows,
} from './table.ts';

export const isA = (node: Node, key: DialectKey): boolean => opKey(node) === key;

/** The operator's name without the domain. */
export const nameOf = (key: DialectKey): string => key.slice(internalDomain.length + 1);

const invalid = (node: Node, what: string): Error =>
  badModel(`${opKey(node)} "${node.label}" ${what}`, { node: node.label });

/**
 * The attributes of a node by the row of its operator. Nodes of the dialect are the compiler's own, so one that lacks a
 * required attribute or has one of another kind is refused; elsewhere it counts as absent, as does a reference to an
 * attribute of a function.
 */
export function attrsOf<O extends RowKey>(node: Node, op: O): AttrsOf<O> {
  if (isDialectKey(op)) checkAttrs(node, op);
  return readAttrs(node, rows[op]);
}

function checkAttrs(node: Node, key: DialectKey): void {
  for (const [name, row] of Object.entries(dialectFacts(key).attrs ?? {})) {
    const attr = node.attrs.get(name);
    if (attr === undefined && row.required === true) throw invalid(node, `lacks its attribute "${name}"`);
    if (attr !== undefined && attr.kind !== 'ref' && !isOfKind(attr, row))
      throw invalid(node, `has attribute "${name}" of kind ${attr.kind}, not ${row.kind}`);
  }
}

interface Form<O extends DialectKey> {
  readonly inputs: InputsOf<O>;
  readonly outputs: OutputsOf<O>;
  readonly attrs: AttrsOf<O>;
}

/**
 * A node with the types of its row. Throws BAD_MODEL if it lacks an input, or if an attribute differs from its
 * declaration.
 */
export function formOf<O extends DialectKey>(node: Node, op: O): Form<O> {
  const attrs = attrsOf(node, op);
  const row: (typeof rows)[O] = rows[op];
  if (!fitsRow(node, row)) throw invalid(node, 'lacks a required input');
  return { inputs: node.inputs, outputs: node.outputs, attrs };
}

/** The layer of a node whose row declares one. */
export function layerOf(node: Node): Layer {
  if (node.layer === undefined) throw invalid(node, 'has lost its layer');
  return node.layer;
}

export type AttrsIn<O extends DialectKey> = RowAttrsIn<(typeof dialect)[O]>;

/** Attributes as a node stores them; those that are undefined are left out. */
export function attrEntries<O extends DialectKey>(op: O, values: AttrsIn<O>): [string, Attr][] {
  const { attrs = {} } = dialectFacts(op);
  return Object.entries(values).flatMap(([name, value]): [string, Attr][] => {
    const row = attrs[name];
    const attr = row !== undefined && isGiven(value) ? attrFrom(row, value) : undefined;
    return attr === undefined ? [] : [[name, attr]];
  });
}

/** The values of `AttrsIn` have this type unless they are undefined; Object.entries cannot express it. */
const isGiven = (value: unknown): value is AttrTypes[keyof AttrTypes] => value !== undefined;

/** A node of the dialect, detached. */
export const dialectNode = <O extends DialectKey>(
  op: O,
  attrs: AttrsIn<O>,
  { name = '', inputs, outputs }: Site,
): Node => new Node({ op: nameOf(op), domain: internalDomain, name, inputs, outputs, attrs: attrEntries(op, attrs) });

interface Site {
  readonly name?: string;
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly Value[];
}
