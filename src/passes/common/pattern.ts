/**
 * Patterns of nodes, written like the code that builds them:
 *
 *     const x = any('x');
 *     const silu = pattern('SiLU', op.Mul(x, op.Sigmoid(oneOf(x, op.Mul(x, scalar('alpha')))).as('s')));
 *     for (const { root, bound } of silu.in(graph)) …          // bound: { x: Value; s: Value; alpha: number |
 * undefined }
 *
 * A pattern is matched from its root backwards. Both orders of the inputs of a commutative operator are tried. A name
 * that occurs twice is the same value twice. An optional input that a pattern leaves out must be absent; an attribute
 * that it leaves out may be anything.
 */
import type { Node, Value } from '../../graph/model.ts';
import { type AttrsOf, attrsOf, isOpName, type OpName, operators } from '../../graph/operators.ts';
import { numbersOf } from '../../graph/tensor.ts';

/** The values that a name can be bound to. */
export type Binding = Value | Node | number | undefined;
export type Bound = Readonly<Record<string, Binding>>;
/** `true`, or a sentence why not: `false` where no sentence is needed. */
export type Verdict = boolean | string;

/** The form that the matcher reads (patternSearch.ts). Names are empty where nothing is bound. */
export type Term =
  | { readonly kind: 'absent' }
  /** `fits` may give the number to bind in place of the value. */
  | ValueTerm
  | { readonly kind: 'optional'; readonly name: string }
  | { readonly kind: 'oneOf'; readonly terms: readonly Term[] }
  | NodeTerm;

export interface ValueTerm {
  readonly kind: 'value';
  readonly name: string;
  readonly fits: ((v: Value) => number | Verdict) | undefined;
  readonly once?: boolean;
  /** The name is bound to the number. */
  readonly numeric?: boolean;
}

export interface NodeTerm {
  readonly kind: 'node';
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly Term[];
  /** Which output of the node the value is. */
  readonly output: number;
  readonly valueName: string;
  readonly nodeName: string;
  /** Nothing else may read the value. */
  readonly once?: boolean;
  readonly checks: readonly ((bound: Bound, node: Node) => Verdict)[];
}

/** A value that a pattern describes; B holds the names that it binds. */
export class Pattern<out B = unknown> {
  readonly term: Term;
  /** For types only: never set. */
  readonly binds?: B;

  constructor(term: Term) {
    this.term = term;
  }

  /** Only the node that the pattern continues with reads the value, and it is not an output of a graph. */
  get once(): Pattern<B> {
    return new Pattern(readOnce(this.term));
  }
}

/** Conditions on attributes: a value, or a predicate. */
type Wanted<A> = { readonly [K in keyof A]?: A[K] | ((value: A[K]) => boolean) };

/** A value that a node makes. Methods give a new pattern. */
export class NodePattern<out B, A = unknown> extends Pattern<B> {
  readonly #term: NodeTerm;
  readonly #attrsOf: (node: Node) => A;

  constructor(term: NodeTerm, attributes: (node: Node) => A) {
    super(term);
    this.#term = term;
    this.#attrsOf = attributes;
  }

  #with<C = B>(change: Partial<NodeTerm>): NodePattern<C, A> {
    return new NodePattern<C, A>({ ...this.#term, ...change }, this.#attrsOf);
  }

  /** Binds the value. */
  as<const N extends string>(name: N): NodePattern<B & Record<N, Value>, A> {
    return this.#with({ valueName: name });
  }

  /** Binds the node. */
  node<const N extends string>(name: N): NodePattern<B & Record<N, Node>, A> {
    return this.#with({ nodeName: name });
  }

  /** The value is the node's output of this index, not the first. */
  output(index: number): NodePattern<B, A> {
    return this.#with({ output: index });
  }

  override get once(): NodePattern<B, A> {
    return this.#with({ once: true });
  }

  /** A condition on what is bound inside, checked after the inputs. */
  where(check: (bound: B, node: Node) => Verdict): NodePattern<B, A> {
    const names = certainNames(this.#term);
    // While a near-miss is looked for, part of the names may be missing.
    const guarded = (bound: Bound, node: Node): Verdict => !isBound<B>(bound, names) || check(bound, node);
    return this.#with({ checks: [...this.#term.checks, guarded] });
  }

  attrs(wanted: Wanted<A>): NodePattern<B, A> {
    const check = (_: Bound, node: Node): Verdict => {
      const found = this.#attrsOf(node);
      for (const name in wanted) {
        const [want, value] = [wanted[name], found[name]];
        const fits = want instanceof Function ? want(value) : want === value;
        if (!fits)
          return `${name} of "${node.label}" is ${String(value)}${want instanceof Function ? '' : `, not ${String(want)}`}`;
      }
      return true;
    };
    return this.#with({ checks: [...this.#term.checks, check] });
  }
}

/** Any value. */
export const any = <const N extends string>(name: N): Pattern<Record<N, Value>> => value(name);

/** A value of which the condition holds. */
export const value = <const N extends string>(name: N, fits?: (v: Value) => Verdict): Pattern<Record<N, Value>> =>
  new Pattern({ kind: 'value', name, fits });

/** An initializer of which the condition holds. */
export const constant = <const N extends string>(
  name: N,
  fits: (v: Value) => Verdict = () => true,
): Pattern<Record<N, Value>> =>
  value(name, (v) => (v.tensor === undefined ? `${quoted(v)} is not a constant` : fits(v)));

/** A value that no name is needed for. */
export const anything: Pattern = new Pattern({ kind: 'value', name: '', fits: undefined });

/** An optional input, present or not. */
export const maybe = <const N extends string>(name: N): Pattern<Record<N, Value | undefined>> =>
  new Pattern({ kind: 'optional', name });

/** An optional input that is left out before others. */
export const absent: Pattern = new Pattern({ kind: 'absent' });

/** The number of a constant of rank 0, which changes no shape: this number, or any, which is bound. */
export function scalar(is: number): Pattern;
export function scalar<const N extends string>(name: N): Pattern<Record<N, number>>;
export function scalar(is: number | string): Pattern {
  return numberTerm(is, isScalar);
}

/** As `scalar`, of any rank. */
export function single(is: number): Pattern;
export function single<const N extends string>(name: N): Pattern<Record<N, number>>;
export function single(is: number | string): Pattern {
  return numberTerm(
    is,
    (v) => v.shape?.every((d) => d === 1) === true || `${quoted(v)} has shape [${v.shape}], not one element`,
  );
}

function numberTerm(is: number | string, shape: (v: Value) => Verdict): Pattern {
  const fits = (v: Value): number | Verdict => {
    const verdict = shape(v);
    const [number] = v.tensor === undefined ? [] : (numbersOf(v.tensor) ?? []);
    if (number === undefined) return `${quoted(v)} is not a constant number`;
    if (verdict !== true || typeof is === 'string' || number === is || number === Math.fround(is))
      return verdict === true ? number : verdict;
    return `the scalar ${quoted(v)} is ${Number(number.toPrecision(7))}, not ${is}`;
  };
  return new Pattern({ kind: 'value', name: typeof is === 'string' ? is : '', fits, numeric: true });
}

/** A constant of rank 0, as a condition of `constant`. */
export const isScalar = (v: Value): Verdict =>
  (v.tensor !== undefined && v.tensor.dims.length === 0) ||
  `${quoted(v)} has shape [${v.shape}], so it is not a scalar`;

/** The number of a constant of rank 0. */
export const scalarOf = (v: Value | undefined): number | undefined =>
  v?.tensor?.dims.length === 0 ? numbersOf(v.tensor)?.[0] : undefined;

/** A constant list of integers, such as axes. */
export const ints = (...wanted: readonly number[]): Pattern =>
  new Pattern({
    kind: 'value',
    name: '',
    fits: (v) => {
      const found = v.tensor === undefined ? undefined : numbersOf(v.tensor);
      return (
        found?.join() === wanted.join() ||
        `${quoted(v)} is ${found === undefined ? 'not a constant' : `[${found}]`}, not [${wanted}]`
      );
    },
  });

type Keys<U> = U extends unknown ? keyof U : never;
type At<U, K> = U extends unknown ? (K extends keyof U ? U[K] : undefined) : never;
/** Bindings of alternatives: what only some of them bind may be undefined. */
type Either<U> = { readonly [K in Keys<U>]: At<U, K> };
type BindsOf<P> = P extends Pattern<infer B> ? B : never;

/** The first alternative with which the whole pattern matches. */
export const oneOf = <const A extends readonly Pattern[]>(...patterns: A): Pattern<Either<BindsOf<A[number]>>> =>
  new Pattern({ kind: 'oneOf', terms: patterns.map((p) => p.term) });

/** The arguments that an operator's row requires. */
type Arguments<T extends readonly string[]> = T extends readonly [
  infer H extends string,
  ...infer R extends readonly string[],
]
  ? H extends `...${string}`
    ? readonly [readonly Pattern[]]
    : H extends `${string}?`
      ? readonly [Pattern?, ...Arguments<R>]
      : readonly [Pattern, ...Arguments<R>]
  : readonly [];
type Join<A extends readonly unknown[]> = A extends readonly [infer H, ...infer R]
  ? (H extends readonly unknown[] ? Join<H> : BindsOf<H>) & Join<R>
  : unknown;
type Maker<O extends OpName> = <const A extends Arguments<(typeof operators)[O]['in']>>(
  ...inputs: A
) => NodePattern<Join<A>, AttrsOf<O>>;
type Makers = { readonly [O in OpName]: Maker<O> };

const makerOf =
  <O extends OpName>(name: O) =>
  (...inputs: readonly (Pattern | undefined | readonly Pattern[])[]): NodePattern<unknown, AttrsOf<O>> =>
    nodeOf('', name, inputs.flat(), (node) => attrsOf(node, name));

/** Only the types describe the bindings of a pattern. */
const isComplete = (all: Readonly<Record<string, unknown>>): all is Makers =>
  Object.keys(operators).every((name) => name in all);

function makers(): Makers {
  const all = Object.fromEntries(
    Object.keys(operators).flatMap((name): [string, unknown][] => (isOpName(name) ? [[name, makerOf(name)]] : [])),
  );
  if (!isComplete(all)) throw new Error('the operator table and the patterns differ');
  return all;
}

/** Nodes of ai.onnx, by operator. */
export const op: Makers = makers();

/** Nodes of other domains. */
export const opOf =
  (domain: string, name: string) =>
  <const A extends readonly Pattern[]>(...inputs: A): NodePattern<Join<A>> =>
    nodeOf(domain, name, inputs, () => ({}));

function nodeOf<B, A>(
  domain: string,
  name: string,
  inputs: readonly (Pattern | undefined)[],
  attributes: (node: Node) => A,
): NodePattern<B, A> {
  const terms = inputs.map((p) => p?.term ?? absent.term);
  return new NodePattern(
    { kind: 'node', op: name, domain, inputs: terms, output: 0, valueName: '', nodeName: '', checks: [] },
    attributes,
  );
}

function readOnce(term: Term): Term {
  if (term.kind === 'oneOf') return { kind: 'oneOf', terms: term.terms.map(readOnce) };
  return term.kind === 'node' || term.kind === 'value' ? { ...term, once: true } : term;
}

/** Names that every match binds. */
export function certainNames(term: Term): readonly string[] {
  if (term.kind === 'value') return [term.name];
  if (term.kind === 'node') return [term.valueName, term.nodeName, ...term.inputs.flatMap(certainNames)];
  if (term.kind !== 'oneOf') return [];
  const [first = [], ...others] = term.terms.map(certainNames);
  return first.filter((n) => others.every((o) => o.includes(n)));
}

/** All names of the pattern are bound, to the kinds of value in the pattern's type. */
export const isBound = <B>(bound: Bound, names: readonly string[]): bound is Bound & B =>
  names.every((n) => n === '' || bound[n] !== undefined);

export const quoted = (v: Value | undefined): string => (v === undefined ? 'nothing' : `"${v.name}"`);
