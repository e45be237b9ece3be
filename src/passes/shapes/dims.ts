/**
 * Algebra of dims. A symbolic dim is a string: a plain symbol of the source, or an expression in one canonical form, so
 * that equal expressions are equal strings: `N*S`, `P+S`, `S-1`, `floor((H-1)/2)+1`, `min(512,S)`. Internally a
 * polynomial with integer coefficients over atoms (symbols and the functions floor, min and max). null is an unknown
 * dim.
 *
 * Only strings printed here are read as expressions. A symbol that a source calls "a*b" is an atom like any other. A
 * symbol is a dim, so it is never negative.
 */
import type { Dim } from '../../graph/model.ts';
import { remembered } from './remembered.ts';

interface Term {
  readonly coef: number;
  /** Sorted; an atom is repeated as often as its power. */
  readonly atoms: readonly string[];
}

/** Terms by their atoms; no zero coefficients. */
type Poly = ReadonlyMap<string, Term>;

/** Expressions printed so far: pure functions of their text, so that models can share them. */
const expressions = new Map<string, Poly>();
/** Atoms that are functions printed here; those need no quotes inside an expression. */
const functions = new Map<string, { readonly name: 'floor' | Extreme; readonly args: readonly Dim[] }>();

const keyOf = (atoms: readonly string[]): string => atoms.join('\0');
const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function parse(dim: number | string): Poly {
  if (typeof dim === 'number') return poly([{ coef: dim, atoms: [] }]);
  return expressions.get(dim) ?? poly([{ coef: 1, atoms: [dim] }]);
}

function poly(terms: Iterable<Term>): Poly {
  const out = new Map<string, Term>();
  for (const t of terms) {
    const key = keyOf(t.atoms);
    const coef = (out.get(key)?.coef ?? 0) + t.coef;
    if (coef === 0) out.delete(key);
    else out.set(key, { coef, atoms: t.atoms });
  }
  return out;
}

function spell(atom: string): string {
  return functions.has(atom) || /^[A-Za-z_][\w.]*$/.test(atom) ? atom : JSON.stringify(atom);
}

/** Positive terms first, higher degrees before lower ones, then by name. */
function order(a: Term, b: Term): number {
  const sign = Number(a.coef < 0) - Number(b.coef < 0);
  return sign || b.atoms.length - a.atoms.length || byName(keyOf(a.atoms), keyOf(b.atoms));
}

function print(p: Poly): Dim {
  const terms = [...p.values()].sort(order);
  if (terms.some((t) => !Number.isSafeInteger(t.coef))) return null;
  const [first] = terms;
  if (first === undefined) return 0;
  if (terms.length === 1 && first.atoms.length === 0) return first.coef;
  const [alone] = first.atoms;
  if (terms.length === 1 && first.atoms.length === 1 && first.coef === 1 && alone !== undefined) return alone;
  let text = '';
  for (const { coef, atoms } of terms) {
    const size = Math.abs(coef);
    const factors = [...(size === 1 && atoms.length > 0 ? [] : [String(size)]), ...atoms.map(spell)];
    text += `${coef < 0 ? '-' : text === '' ? '' : '+'}${factors.join('*')}`;
  }
  expressions.set(text, p);
  return text;
}

const scale = (t: Term, by: Term): Term => ({
  coef: t.coef * by.coef,
  atoms: [...t.atoms, ...by.atoms].sort(byName),
});

export function add(a: Dim, b: Dim): Dim {
  if (a === null || b === null) return null;
  if (typeof a === 'number' && typeof b === 'number') return safe(a + b);
  if (a === 0) return b;
  if (b === 0) return a;
  return print(poly([...parse(a).values(), ...parse(b).values()]));
}

export const neg = (a: Dim): Dim => mul(a, -1);
export const sub = (a: Dim, b: Dim): Dim => add(a, neg(b));

export function mul(a: Dim, b: Dim): Dim {
  if (a === 0 || b === 0) return 0;
  if (a === null || b === null) return null;
  if (typeof a === 'number' && typeof b === 'number') return safe(a * b);
  if (a === 1) return b;
  if (b === 1) return a;
  return symbolicProduct(a, b);
}

const symbolicProduct = remembered((a, b) => {
  const right = [...parse(b).values()];
  return print(poly([...parse(a).values()].flatMap((t) => right.map((u) => scale(t, u)))));
});

const safe = (n: number): Dim => (Number.isSafeInteger(n) ? (n === 0 ? 0 : n) : null);

export const product = (dims: readonly Dim[]): Dim => dims.reduce<Dim>(mul, 1);
export const sum = (dims: readonly Dim[]): Dim => dims.reduce<Dim>(add, 0);

/** a / b if b divides a as a polynomial, otherwise null. A symbolic b counts as not zero. */
export function divExact(a: Dim, b: Dim): Dim {
  if (a === null || b === null || b === 0) return null;
  if (typeof a === 'number' && typeof b === 'number') return a % b === 0 ? safe(a / b) : null;
  if (a === b) return 1;
  if (b === 1) return a;
  return symbolicQuotient(a, b);
}

const symbolicQuotient = remembered((a, b) => {
  const divisor = parse(b);
  const lead = leading(divisor);
  let rest = parse(a);
  const quotient: Term[] = [];
  for (let t = leading(rest); t !== undefined; t = leading(rest)) {
    const q = lead === undefined ? undefined : divideTerm(t, lead);
    if (q === undefined) return null;
    quotient.push(q);
    const taken = [...divisor.values()].map((u) => scale(u, { coef: -q.coef, atoms: q.atoms }));
    rest = poly([...rest.values(), ...taken]);
  }
  return print(poly(quotient));
});

/** The first term in graded lexicographic order, which multiplication preserves, so that the division terminates. */
function leading(p: Poly): Term | undefined {
  const names = [...new Set([...p.values()].flatMap((t) => t.atoms))].sort(byName);
  const power = (t: Term, name: string): number => t.atoms.filter((a) => a === name).length;
  const compare = (a: Term, b: Term): number => {
    if (a.atoms.length !== b.atoms.length) return b.atoms.length - a.atoms.length;
    for (const n of names) if (power(a, n) !== power(b, n)) return power(b, n) - power(a, n);
    return 0;
  };
  return [...p.values()].sort(compare)[0];
}

function divideTerm(a: Term, b: Term): Term | undefined {
  if (a.coef % b.coef !== 0) return undefined;
  const atoms = [...a.atoms];
  for (const atom of b.atoms) {
    const at = atoms.indexOf(atom);
    if (at < 0) return undefined;
    atoms.splice(at, 1);
  }
  return { coef: a.coef / b.coef, atoms };
}

/** True if a is known to be non-negative for all values of its symbols. */
export function isNonNegative(a: Dim): boolean {
  return a !== null && [...parse(a).values()].every((t) => t.coef >= 0 && t.atoms.every(isLength));
}

function isLength(atom: string): boolean {
  const f = functions.get(atom);
  return f === undefined || (f.name === 'max' ? f.args.some(isNonNegative) : f.args.every(isNonNegative));
}

/** a / n rounded down. */
export function floorDiv(a: Dim, n: Dim): Dim {
  if (a === null || n === null || n === 0) return null;
  if (typeof a === 'number' && typeof n === 'number') return safe(Math.floor(a / n));
  if (typeof n === 'string' || n < 0) return divExact(a, n);
  const terms = [...parse(a).values()];
  const whole = poly(terms.map((t) => ({ coef: Math.floor(t.coef / n), atoms: t.atoms })));
  const rest = poly(terms.map((t) => ({ coef: t.coef - n * Math.floor(t.coef / n), atoms: t.atoms })));
  const left = print(rest);
  if (typeof left === 'number') return print(whole);
  if (left === null) return null;
  const inner = rest.size > 1 ? `(${left})` : expressions.has(left) ? left : spell(left);
  return add(print(whole), call('floor', `floor(${inner}/${n})`, [left, n]));
}

/** a / n rounded up. */
export const ceilDiv = (a: Dim, n: Dim): Dim =>
  typeof n === 'number' && n > 0 ? floorDiv(add(a, n - 1), n) : neg(floorDiv(neg(a), n));

/** a / b rounded towards zero, as ONNX divides integers. */
export function truncDiv(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return b === 0 ? null : safe(Math.trunc(a / b));
  const exact = divExact(a, b);
  return exact ?? (isNonNegative(a) && isNonNegative(b) ? floorDiv(a, b) : null);
}

/** The remainder with the divisor's sign, as ONNX's Mod on integers. */
export function mod(a: Dim, b: Dim): Dim {
  if (b === null || b === 0) return null;
  if (typeof a === 'number' && typeof b === 'number') return safe(a - b * Math.floor(a / b));
  if (divExact(a, b) !== null) return 0;
  return typeof b === 'number' && b > 0 ? sub(a, mul(b, floorDiv(a, b))) : null;
}

function call(name: 'floor' | Extreme, text: string, args: readonly Dim[]): string {
  functions.set(text, { name, args });
  return text;
}

type Extreme = 'min' | 'max';

function extreme(name: Extreme, a: Dim, b: Dim): Dim {
  if (a === null || b === null) return null;
  // min(n, min(m, S)) is one minimum of three, without those that are never below another one.
  const all = [...argsOf(name, a), ...argsOf(name, b)];
  const wins = (p: Dim, q: Dim): boolean => isNonNegative(name === 'min' ? sub(q, p) : sub(p, q));
  const args = all.filter((d, i) => !all.some((other, j) => i !== j && wins(other, d) && (!wins(d, other) || j < i)));
  const [only] = args;
  if (only !== undefined && args.length === 1) return only;
  const text = (d: Dim): string => (typeof d === 'string' && !expressions.has(d) ? spell(d) : String(d));
  const isText = (d: Dim): number => Number(typeof d === 'string');
  args.sort((p, q) => isText(p) - isText(q) || byName(text(p), text(q)));
  return call(name, `${name}(${args.map(text).join(',')})`, args);
}

function argsOf(name: Extreme, d: Dim): readonly Dim[] {
  const f = typeof d === 'string' ? functions.get(d) : undefined;
  return f?.name === name ? f.args : [d];
}

/** The smaller of both; a `min` expression if that depends on a symbol. */
export const min = (a: Dim, b: Dim): Dim => extreme('min', a, b);
export const max = (a: Dim, b: Dim): Dim => extreme('max', a, b);

/** n if `a` is `min(n, b)` with a known n > 0: the part of a table of n rows that a sequence of b uses. */
export function cutFrom(a: Dim, b: Dim): number | undefined {
  const f = typeof a === 'string' ? functions.get(a) : undefined;
  if (f?.name !== 'min' || f.args.length !== 2 || !f.args.includes(b)) return undefined;
  const n = f.args.find((d) => typeof d === 'number');
  return typeof n === 'number' && n > 0 ? n : undefined;
}

/** The dim of two axes that broadcast. Shapes that the model would refuse at run time are not considered. */
export function broadcastDim(a: Dim, b: Dim): Dim {
  if (a === 1) return b;
  if (b === 1 || a === b) return a;
  if (typeof a === 'number') return typeof b === 'number' ? null : a;
  if (typeof b === 'number') return b;
  // min(n, S) is S, or 1 beside 1, or does not broadcast with S at all.
  if (cutFrom(a, b) !== undefined) return b;
  return cutFrom(b, a) === undefined ? null : a;
}

/** The shape that all shapes broadcast to, undefined if a rank is unknown. */
export function broadcast(...shapes: readonly (readonly Dim[] | undefined)[]): Dim[] | undefined {
  let out: Dim[] = [];
  for (const s of shapes) {
    if (s === undefined) return undefined;
    const rank = Math.max(out.length, s.length);
    const at = (list: readonly Dim[], i: number): Dim => {
      const d = list[i - (rank - list.length)];
      return d === undefined ? 1 : d;
    };
    const left = out;
    out = Array.from({ length: rank }, (_, i) => broadcastDim(at(left, i), at(s, i)));
  }
  return out;
}

export const isStatic = (shape: readonly Dim[] | undefined): shape is readonly number[] =>
  shape?.every((d) => typeof d === 'number') ?? false;

/** The value of a dim for these values of its symbols; undefined if one is missing. */
export function evaluate(d: Dim, numbers: ReadonlyMap<string, number>): number | undefined {
  if (typeof d !== 'string') return d ?? undefined;
  let total = 0;
  for (const { coef, atoms } of parse(d).values()) {
    let product = coef;
    for (const atom of atoms) {
      const n = evaluateAtom(atom, numbers);
      if (n === undefined) return undefined;
      product *= n;
    }
    total += product;
  }
  return total;
}

function evaluateAtom(atom: string, numbers: ReadonlyMap<string, number>): number | undefined {
  const f = functions.get(atom);
  if (f === undefined) return numbers.get(atom);
  const args = f.args.map((a) => evaluate(a, numbers));
  const [a, b] = args;
  if (args.some((n) => n === undefined) || a === undefined) return undefined;
  if (f.name === 'floor') return b === undefined ? undefined : Math.floor(a / b);
  return Math[f.name](...args.filter((n) => n !== undefined));
}

/** The symbols in a dim. */
export function symbolsOf(d: Dim): string[] {
  if (typeof d !== 'string') return [];
  return [...parse(d).values()].flatMap((t) =>
    t.atoms.flatMap((atom) => functions.get(atom)?.args.flatMap(symbolsOf) ?? [atom]),
  );
}
