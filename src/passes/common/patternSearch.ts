/**
 * Finds patterns (pattern.ts) in graphs. Of a pattern that does not match, a near-miss is a match of everything but one
 * thing: it is looked for only where a collector is given.
 */
import { type Graph, type Node, Value } from '../../graph/model.ts';
import { operatorRow } from '../../graph/operators.ts';
import {
  type Binding,
  type Bound,
  certainNames,
  isBound,
  type NodeTerm,
  type Pattern,
  quoted,
  scalarOf,
  type Term,
  type ValueTerm,
  type Verdict,
} from './pattern.ts';

/** Operators of which the order of two inputs does not matter. */
const isCommutative = ({ domain, op, inputs }: NodeTerm): boolean =>
  domain === '' && inputs.length === 2 && operatorRow(op)?.commutative === true;

export interface Match<B> {
  readonly root: Node;
  /** Each once, the root first. */
  readonly nodes: readonly Node[];
  readonly bound: B;
}

/** The one mismatch of a pattern that otherwise matches. */
export interface NearMiss {
  readonly pattern: string;
  /** The node that the pattern begins at. */
  readonly node: string;
  readonly reason: string;
}

/** Collects near-misses of several passes. */
export class NearMisses {
  readonly #found = new Map<string, { readonly root: Node; readonly miss: NearMiss }>();
  readonly #matched = new Set<Node>();

  match(nodes: readonly Node[]): void {
    for (const n of nodes) this.#matched.add(n);
  }

  miss(pattern: string, root: Node, reason: string): void {
    const miss = { pattern, node: root.label, reason };
    this.#found.set(Object.values(miss).join('\0'), { root, miss });
  }

  /** Without nodes that belong to a match of any pattern. */
  get list(): readonly NearMiss[] {
    return [...this.#found.values()].flatMap(({ root, miss }) => (this.#matched.has(root) ? [] : [miss]));
  }
}

export class Finder<B> {
  readonly name: string;
  readonly #term: Term;
  readonly #names: readonly string[];
  readonly #least: number;

  constructor(name: string, { term }: Pattern<B>, least: number) {
    this.name = name;
    this.#term = term;
    this.#names = certainNames(term);
    this.#least = least;
  }

  /** Matches in the order of the graph's nodes, bodies not included. Nodes may be added and removed meanwhile. */
  *in(graph: Graph, misses?: NearMisses): Generator<Match<B>> {
    for (const node of [...graph.nodes]) {
      if (node.graph !== graph) continue;
      const found = this.at(node, {}, misses);
      if (found !== undefined) yield found;
    }
  }

  /** The match that begins at a node, with names that are bound already. */
  at(root: Node, given?: Bound, misses?: NearMisses): Match<B> | undefined {
    const [value] = root.outputs;
    if (possible(this.#term, value)) {
      const search = new Search(given, false);
      const { bound } = search;
      if (search.solve(startAt(this.#term, value)) && isBound<B>(bound, this.#names)) {
        const nodes = [...new Set(search.nodes)];
        misses?.match(nodes);
        return { root, nodes, bound };
      }
    }
    if (misses !== undefined && startsAt(this.#term, root)) this.#explain(root, given, misses);
    return undefined;
  }

  /** The match that begins at the only node that reads a value, which is bound to `name`. */
  behind(name: string, value: Value): Match<B> | undefined {
    const [use, ...more] = value.uses;
    return use === undefined || more.length > 0 ? undefined : this.at(use.node, { [name]: value });
  }

  #explain(root: Node, given: Bound | undefined, misses: NearMisses): void {
    const search = new Search(given, true);
    search.solve(startAt(this.#term, root.outputs[0]));
    const { nearest } = search;
    if (nearest !== undefined && nearest.nodes >= this.#least) misses.miss(this.name, root, nearest.reason);
  }
}

/** A pattern to look for; a near-miss is reported if at least `least` of its nodes match. */
export const pattern = <B>(
  name: string,
  root: Pattern<B>,
  { least = 2 }: { readonly least?: number } = {},
): Finder<B> => new Finder(name, root, least);

/** Whether the operators fit: decides most cases, and allocates nothing. */
function possible(term: Term, value: Value | undefined): boolean {
  if (term.kind === 'absent') return value === undefined;
  if (term.kind === 'oneOf') {
    for (const t of term.terms) if (possible(t, value)) return true;
    return false;
  }
  if (term.kind !== 'node') return true;
  const node = value?.producer;
  if (!isMadeBy(node, term)) return false;
  const { inputs } = term;
  let straight = true;
  for (let i = 0; straight && i < inputs.length; i++) straight = possible(inputs[i] ?? nothing, node.inputs[i]);
  if (straight || !isCommutative(term)) return straight;
  return possible(inputs[0] ?? nothing, node.inputs[1]) && possible(inputs[1] ?? nothing, node.inputs[0]);
}

const nothing: Term = { kind: 'absent' };
const isMadeBy = (node: Node | undefined, { op, domain }: NodeTerm): node is Node =>
  node !== undefined && node.op === op && node.domain === domain;
const startsAt = (term: Term, node: Node): boolean =>
  term.kind === 'oneOf' ? term.terms.some((t) => startsAt(t, node)) : term.kind === 'node' && isMadeBy(node, term);

/** The goals that are left to match: a linked list, so that backtracking is a return to an earlier cell. */
type Goal = { readonly next: Goal | undefined; readonly reader: Node | undefined } & (
  | { readonly kind: 'match'; readonly term: Term; readonly value: Value | undefined }
  | { readonly kind: 'bind'; readonly name: string; readonly to: Binding }
  | { readonly kind: 'check'; readonly check: (bound: Bound) => Verdict }
);

const startAt = (term: Term, value: Value | undefined): Goal => ({
  kind: 'match',
  term,
  value,
  reader: undefined,
  next: undefined,
});

class Search {
  readonly bound: Record<string, Binding>;
  readonly nodes: Node[] = [];
  /** The match with one deviation that has most nodes. */
  nearest: { readonly reason: string; readonly nodes: number } | undefined;
  readonly #explains: boolean;
  #deviation: string | undefined;

  constructor(given: Bound | undefined, explains: boolean) {
    this.bound = { ...given };
    this.#explains = explains;
  }

  /** True with the first match. While near-misses are looked for every way is tried, and none is a match. */
  solve(goal: Goal | undefined): boolean {
    if (goal === undefined) return this.#end();
    if (goal.kind === 'bind') return this.#bind(goal.name, goal.to, goal);
    if (goal.kind === 'match') return this.#match(goal.term, goal.value, goal);
    const verdict = goal.check(this.bound);
    if (verdict === true) return this.solve(goal.next);
    return this.#deviate(verdict || `"${goal.reader?.label}" does not fit`, goal.next);
  }

  #match(term: Term, value: Value | undefined, goal: Goal): boolean {
    const { reader, next } = goal;
    switch (term.kind) {
      case 'absent':
        if (value === undefined) return this.solve(next);
        return this.#explains && this.#deviate(`"${reader?.label}" also reads ${quoted(value)}`, next);
      case 'optional':
        return this.#bind(term.name, value, goal);
      case 'oneOf':
        return term.terms.some((t) => this.#match(t, value, goal));
      case 'node':
        return this.#node(term, value, goal);
      case 'value':
        return value !== undefined && this.#value(term, value, goal);
    }
  }

  #value(term: ValueTerm, value: Value, goal: Goal): boolean {
    const fits = term.fits?.(value) ?? true;
    const next = term.once ? onceGoal(value, goal) : goal.next;
    if (fits === true || typeof fits === 'number')
      return this.#bind(term.name, fits === true ? value : fits, { ...goal, next });
    if (!this.#explains) return false;
    // The name is bound all the same: conditions that follow are asked.
    const to = term.numeric ? (scalarOf(value) ?? Number.NaN) : value;
    const { reader } = goal;
    return this.#deviate(fits || `${quoted(value)} does not fit`, { kind: 'bind', name: term.name, to, reader, next });
  }

  #node(term: NodeTerm, value: Value | undefined, { reader, next }: Goal): boolean {
    const node = value?.producer;
    if (value === undefined || !isMadeBy(node, term) || node.outputs[term.output] !== value)
      return this.#explains && this.#deviate(`"${reader?.label}" reads ${described(value)}, not ${term.op}`, next);
    let after = next;
    for (const check of term.checks.toReversed())
      after = { kind: 'check', check: (bound) => check(bound, node), reader, next: after };
    const count = Math.max(term.inputs.length, node.inputs.length);
    const ordered = (swap: boolean): boolean => {
      let goals = after;
      for (let i = count - 1; i >= 0; i--) {
        const input = node.inputs[swap ? 1 - i : i];
        goals = { kind: 'match', term: term.inputs[i] ?? nothing, value: input, reader: node, next: goals };
      }
      if (term.once) goals = onceGoal(value, { reader, next: goals });
      if (term.nodeName !== '') goals = { kind: 'bind', name: term.nodeName, to: node, reader, next: goals };
      if (term.valueName !== '') goals = { kind: 'bind', name: term.valueName, to: value, reader, next: goals };
      return this.solve(goals);
    };
    this.nodes.push(node);
    const done = ordered(false) || (isCommutative(term) && ordered(true));
    if (!done) this.nodes.pop();
    return done;
  }

  #bind(name: string, to: Binding, { reader, next }: Goal): boolean {
    const before = this.bound[name];
    if (name === '' || before === to) return this.solve(next);
    if (before !== undefined)
      return this.#explains && this.#deviate(`"${reader?.label}" reads ${shown(to)}, not ${shown(before)}`, next);
    this.bound[name] = to;
    const done = this.solve(next);
    if (!done) this.bound[name] = undefined;
    return done;
  }

  /** Continues after one mismatch, in a search for near-misses. */
  #deviate(reason: string, next: Goal | undefined): boolean {
    if (!this.#explains || this.#deviation !== undefined) return false;
    this.#deviation = reason;
    this.solve(next);
    this.#deviation = undefined;
    return false;
  }

  #end(): boolean {
    if (!this.#explains) return true;
    const nodes = new Set(this.nodes).size;
    if (this.#deviation !== undefined && nodes > (this.nearest?.nodes ?? 0))
      this.nearest = { reason: this.#deviation, nodes };
    return false;
  }
}

/** A condition before the goals that follow: nothing but the reader reads the value. */
const onceGoal = (value: Value, { reader, next }: Pick<Goal, 'reader' | 'next'>): Goal | undefined =>
  reader === undefined ? next : { kind: 'check', check: () => usedElsewhere(value, reader) ?? true, reader, next };

function usedElsewhere(value: Value, { graph, label }: Node): string | undefined {
  const readers = new Set([...value.uses].map((u) => u.node));
  if (readers.size > 1) return `${quoted(value)} is used by ${readers.size} nodes`;
  if (value.uses.size > 1) return `${quoted(value)} is used ${value.uses.size} times by "${label}"`;
  if (value.producer !== undefined && value.producer.graph !== graph)
    return `${quoted(value)} is made outside of the body that reads it`;
  const leaves = graph?.allGraphs().some((g) => g.outputs.includes(value));
  return leaves ? `${quoted(value)} is an output of the graph` : undefined;
}

const described = (v: Value | undefined): string =>
  v?.producer === undefined
    ? `${quoted(v)}, ${v?.tensor === undefined ? 'an input' : 'a constant'}`
    : `${quoted(v)} of ${v.producer.op}`;

const shown = (to: Binding): string =>
  to instanceof Value ? quoted(to) : typeof to === 'number' || to === undefined ? String(to) : `"${to.label}"`;
