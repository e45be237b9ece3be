/**
 * The registry of gradient rules. A rule holds the calculus only: accumulation, un-broadcasting, arity, pruning and provenance
 * live in walk.ts. Lookup: rule, decomposition, stop list, coded error.
 */

import { badModel, type LoraifyError } from '../../errors.ts';
import { fitsRow } from '../../graph/attributes.ts';
import type { Builder } from '../../graph/builder.ts';
import type { Attr, Node, Value } from '../../graph/model.ts';
import { opKey } from '../../graph/operators.ts';
import type { GradTools } from '../common/shapeTools.ts';
import { attrsOf } from '../dialect/nodes.ts';
import { type AttrsOf, type InputsOf, type OutputsOf, type RowKey, rows } from '../dialect/table.ts';

/** What a rule sees of the node it differentiates. `g` makes nodes; results nobody reaches cost nothing. */
export interface Site<I, O, A> {
  readonly node: Node;
  readonly inputs: I;
  readonly outputs: O;
  readonly attrs: A;
  /** Gradient of the first output, of that output's shape. */
  readonly dy: Value;
  /** Gradients of all outputs; undefined where nothing depends on one. */
  readonly dys: readonly (Value | undefined)[];
  readonly g: Builder & GradTools;
  /** For operators with bodies: the values captured from outside whose gradient is needed. */
  readonly captured: readonly Value[];
  /** Values whose gradient is needed. */
  readonly active: ReadonlySet<Value>;
  readonly onward: Onward;
}

/** What a walk through the body of a node goes on with. */
export interface Onward {
  readonly observer?: GradientObserver | undefined;
  /** The node, and those behind it up to the loss. */
  readonly behind: () => readonly Node[];
}

/** Hears of every node between the outputs and `wrt`, last first. With one, a node that cannot be differentiated stops nothing. */
export interface GradientObserver {
  readonly passed: (node: Node, how: 'rule' | 'decomposition' | 'stopped') => void;
  /** `path`: the node, and those behind it up to the outputs. The walk goes on as if the node had a gradient. */
  readonly refused: (node: Node, error: LoraifyError, path: readonly Node[]) => void;
}

export type SiteOf<O extends RowKey> = Site<InputsOf<O>, OutputsOf<O>, AttrsOf<O>>;
/** A node as the walk finds it, before its row types it. */
export type RawSite = Site<readonly (Value | undefined)[], readonly Value[], ReadonlyMap<string, Attr>>;

/** What a body in simpler operators is made from: the node alone. */
type Whole<S> = Omit<S, 'dy' | 'dys' | 'captured' | 'active' | 'onward'>;

/** Gradients in the order of the inputs, then of `captured`; undefined: none, on purpose. May be shorter. */
export type Gradients = readonly (Value | undefined)[];
/** The same computation in simpler operators: the outputs that the body gives, in order. */
export type Body = readonly (Value | undefined)[];

export interface Rule {
  readonly kind: 'grad' | 'decompose';
  /** The rule reads `dys`, so a node whose first output has no gradient is fine. */
  readonly many: boolean;
  /** Its integer outputs carry the gradient of what they stand for. */
  readonly integers: boolean;
  readonly apply: (site: RawSite) => Gradients;
}

const rules = new Map<string, Rule>();
const bodies = new Map<string, Rule>();
/** Why nothing flows, by operator. */
const stops = new Map<string, string>();

export const ruleKey = (node: Node): string => opKey(node);
export const gradRule = (node: Node): Rule | undefined => rules.get(ruleKey(node));
export const decomposition = (node: Node): Rule | undefined => bodies.get(ruleKey(node));
export const isStopped = (node: Node): boolean => stops.has(ruleKey(node));

/** All operators that have a rule, a body or a stop; one that had two would come twice. */
export const ruleKeys = (): readonly string[] => [...rules.keys(), ...bodies.keys(), ...stops.keys()];

/** Why nothing flows through a stopped operator. */
export const stopReason = (key: string): string | undefined => stops.get(key);

/** State of an operator for docs and `inspect`: by rule, by decomposition, stopped on purpose, or not differentiable yet. */
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

/** A gradient rule for operators with one differentiable output, or whose other outputs' gradients `dys` it reads. */
export function grad<O extends RowKey>(
  op: O,
  rule: (site: SiteOf<O>) => Gradients,
  { many = false, integers = false }: { many?: boolean; integers?: boolean } = {},
): void {
  put(rules, op, { kind: 'grad', many, integers, apply: typed(op, rule) });
}

/** A body in simpler operators, differentiated instead of the node; the forward keeps the node. `dy` is not given. */
export function decompose<O extends RowKey>(op: O, body: (site: Whole<SiteOf<O>>) => Body): void {
  put(bodies, op, { kind: 'decompose', many: true, integers: false, apply: typed(op, body) });
}

/** As `decompose`, for operators outside the tables. */
export function decomposeRaw(key: string, body: (site: Whole<RawSite>) => Body): void {
  put(bodies, key, { kind: 'decompose', many: true, integers: false, apply: body });
}

/** Operators whose derivative is zero or that have none, on purpose: nothing flows through them. The reason is for docs. */
export function stop(reason: string, keys: readonly string[]): void {
  for (const k of keys) {
    if (stops.has(k)) throw new Error(`${k} is stopped twice`);
    stops.set(k, reason);
  }
}
