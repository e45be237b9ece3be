/**
 * The registry of gradient rules. A rule has the calculus only: accumulation, un-broadcasting, arity, pruning and
 * provenance are in walk.ts. Lookup: rule, decomposition, stop list, coded error.
 */

import { badModel, type LoraifyError } from '../../errors.ts';
import { fitsRow } from '../../graph/attributes.ts';
import type { Builder } from '../../graph/builder.ts';
import type { Attr, Node, Value } from '../../graph/model.ts';
import { opKey } from '../../graph/operators.ts';
import type { GradTools } from '../common/shapeTools.ts';
import { attrsOf } from '../dialect/nodes.ts';
import { type AttrsOf, type InputsOf, type OutputsOf, type RowKey, rows } from '../dialect/table.ts';

/** The inputs of a rule. `g` makes nodes; unused results cost nothing. */
export interface Site<I, O, A> {
  readonly node: Node;
  readonly inputs: I;
  readonly outputs: O;
  readonly attrs: A;
  /** Gradient of the first output, in that output's shape. */
  readonly dy: Value;
  /** Gradients of all outputs; undefined for an output that the loss does not depend on. */
  readonly dys: readonly (Value | undefined)[];
  readonly g: Builder & GradTools;
  /** For operators with bodies: the values captured from outside whose gradient is needed. */
  readonly captured: readonly Value[];
  /** Values whose gradient is needed. */
  readonly active: ReadonlySet<Value>;
  readonly onward: Onward;
}

/** Passed on to the walk through the body of a node. */
export interface Onward {
  readonly observer?: GradientObserver | undefined;
  /** The node, and the nodes after it up to the loss. */
  readonly behind: () => readonly Node[];
}

/**
 * Is called for every node between the outputs and `wrt`, last first. With an observer, a node that cannot be
 * differentiated does not stop the walk.
 */
export interface GradientObserver {
  readonly passed: (node: Node, how: 'rule' | 'decomposition' | 'stopped') => void;
  /** `path`: the node, and those after it up to the outputs. The walk continues as if the node had a gradient. */
  readonly refused: (node: Node, error: LoraifyError, path: readonly Node[]) => void;
}

export type SiteOf<O extends RowKey> = Site<InputsOf<O>, OutputsOf<O>, AttrsOf<O>>;
/** A node as the walk finds it, before its row types it. */
export type RawSite = Site<readonly (Value | undefined)[], readonly Value[], ReadonlyMap<string, Attr>>;

/** The input of a decomposition: the node alone. */
type Composite<S> = Omit<S, 'dy' | 'dys' | 'captured' | 'active' | 'onward'>;

/** Gradients in the order of the inputs, then of `captured`; undefined: no gradient, on purpose. May be shorter. */
export type Gradients = readonly (Value | undefined)[];
/** The same computation in simpler operators: the outputs of the decomposition, in order. */
export type Body = readonly (Value | undefined)[];

export interface Rule {
  readonly kind: 'grad' | 'decompose';
  /** The rule reads `dys`, so the first output of the node may have no gradient. */
  readonly many: boolean;
  /** Its integer outputs pass the gradient on, in terms of the floats they encode. */
  readonly integers: boolean;
  readonly apply: (site: RawSite) => Gradients;
}

const rules = new Map<string, Rule>();
const bodies = new Map<string, Rule>();
/** The reason why an operator has no gradient. */
const stops = new Map<string, string>();

export const ruleKey = (node: Node): string => opKey(node);
export const gradRule = (node: Node): Rule | undefined => rules.get(ruleKey(node));
export const decomposition = (node: Node): Rule | undefined => bodies.get(ruleKey(node));
export const isStopped = (node: Node): boolean => stops.has(ruleKey(node));

/** All operators with a rule, a body or a stop; an operator with two would occur twice. */
export const ruleKeys = (): readonly string[] => [...rules.keys(), ...bodies.keys(), ...stops.keys()];

/** The reason why a stopped operator has no gradient. */
export const stopReason = (key: string): string | undefined => stops.get(key);

/**
 * The state of an operator for docs and `inspect`: a rule, a decomposition, stopped on purpose, or not differentiable
 * yet.
 */
export function gradientState(key: string): 'rule' | 'decomposition' | 'stopped' | undefined {
  if (rules.has(key)) return 'rule';
  if (bodies.has(key)) return 'decomposition';
  return stops.has(key) ? 'stopped' : undefined;
}

function typed<O extends RowKey>(op: O, rule: (site: SiteOf<O>) => Gradients): Rule['apply'] {
  const row: (typeof rows)[O] = rows[op];
  return (site) => {
    if (!fitsRow(site, row))
      throw badModel(`${op} "${site.node.label}" lacks a required input`, { node: site.node.label });
    return rule({ ...site, inputs: site.inputs, outputs: site.outputs, attrs: attrsOf(site.node, op) });
  };
}

function put(map: Map<string, Rule>, key: string, rule: Rule): void {
  if (map.has(key)) throw new Error(`${key} has two rules`);
  map.set(key, rule);
}

/**
 * Registers a gradient rule for operators with one differentiable output, or a rule that reads the gradients `dys` of
 * all outputs.
 */
export function grad<O extends RowKey>(
  op: O,
  rule: (site: SiteOf<O>) => Gradients,
  { many = false, integers = false }: { many?: boolean; integers?: boolean } = {},
): void {
  put(rules, op, { kind: 'grad', many, integers, apply: typed(op, rule) });
}

/**
 * Registers a decomposition into simpler operators, which is differentiated instead of the node; the forward keeps the
 * node. It has no `dy`.
 */
export function decompose<O extends RowKey>(op: O, body: (site: Composite<SiteOf<O>>) => Body): void {
  put(bodies, op, { kind: 'decompose', many: true, integers: false, apply: typed(op, body) });
}

/** Does the same as `decompose` for operators outside the tables. */
export function decomposeRaw(key: string, body: (site: Composite<RawSite>) => Body): void {
  put(bodies, key, { kind: 'decompose', many: true, integers: false, apply: body });
}

/**
 * Registers operators whose derivative is zero or undefined: they have no gradient on purpose. The reason is for docs.
 */
export function stop(reason: string, keys: readonly string[]): void {
  for (const k of keys) {
    if (stops.has(k)) throw new Error(`${k} is stopped twice`);
    stops.set(k, reason);
  }
}
