/**
 * GELU as exporters write it, y = h·x·(a + f(v)) with constants h and a and f = erf or tanh of a polynomial v of x: five to eight
 * nodes, whose derivatives one after another pass over the tensor ten times and more. Where a provider has the operator (of the domain
 * com.microsoft) one node takes their place, and nothing but x is kept for the backward. Elsewhere the forward stays as it is; an
 * internal node behind it carries y on, and has a gradient of its own.
 */
import { type Graph, Node, takePlace, Value } from '../../graph/model.ts';
import { scalarOf } from '../common/patterns.ts';
import { insertMarker } from '../dialect/customGradient.ts';

const internal = { Erf: 'Gelu', Tanh: 'GeluTanh' } as const;
const contributed = { Erf: 'Gelu', Tanh: 'FastGelu' } as const;

/**
 * In place. The internal nodes have inputs x, v, t = a + f(v), y and h, the attribute slope (of v at x = 0), and one output, y again.
 * With `fused`, float32 ones that have the standard's constants become com.microsoft Gelu or FastGelu; true where one did.
 */
export function compactGelu(graph: Graph, fused = false): boolean {
  let replaced = false;
  for (const inner of [...graph.nodes]) {
    const { op } = inner;
    if ((op !== 'Erf' && op !== 'Tanh') || inner.domain !== '') continue;
    const found = match(inner);
    const after = found?.y.producer;
    if (found === undefined || after?.graph !== graph) continue;
    const { x, v, t, y, h, polynomial } = found;
    if (fused && y.dtype === 'float32' && isStandard(op, found)) {
      const out = new Value(y.name, y.type);
      const node = new Node({
        op: contributed[op],
        domain: 'com.microsoft',
        name: after.name,
        inputs: [x],
        outputs: [out],
      });
      takePlace(y, out, [graph], '.unfused');
      graph.insertAfter(after, node);
      replaced = true;
      continue;
    }
    insertMarker(graph, internal[op], [x, v, t, y, h], [['slope', { kind: 'float', value: polynomial[1] ?? 0 }]]);
  }
  if (replaced) graph.prune();
  return replaced;
}

interface Candidate {
  readonly x: Value;
  readonly t: Value;
  readonly y: Value;
  readonly h: Value;
}

interface Found extends Candidate {
  readonly v: Value;
  /** v by powers of x. */
  readonly polynomial: readonly number[];
}

/** Odd polynomials, the constant a, and the factor h: Hendrycks, Gimpel 2016. */
function isStandard(op: 'Erf' | 'Tanh', { polynomial, t, h }: Found): boolean {
  const c = Math.sqrt(2 / Math.PI);
  const wanted = op === 'Erf' ? [0, Math.SQRT1_2] : [0, c, 0, 0.044715 * c];
  // Constants are written with seven digits and more.
  const near = (a: number, b: number): boolean => Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(b), 1e-3);
  const offset = t.producer?.inputs.map(scalarOf).find((s) => s !== undefined);
  return (
    polynomial.length === wanted.length &&
    wanted.every((w, i) => near(polynomial[i] ?? 0, w)) &&
    offset === 1 &&
    scalarOf(h) === 0.5
  );
}

function match({ op, inputs: [v], outputs: [e] }: Node): Found | undefined {
  if (v === undefined || e === undefined) return undefined;
  for (const candidate of candidates(e)) {
    const polynomial = polynomialOf(v, candidate.x);
    const odd = polynomial?.every((c, power) => power % 2 === 1 || c === 0) ?? false;
    if (polynomial === undefined || !odd) continue;
    // Of erf the derivative is written for a multiple of x, of tanh for a cubic whose cube is what v leaves behind.
    if (op === 'Erf' ? polynomial.length === 2 : polynomial.length <= 4) return { ...candidate, v, polynomial };
  }
  return undefined;
}

/** Every way in which y = h·x·(a + e) can be written. */
function* candidates(e: Value): Generator<Candidate> {
  for (const t of results(e, 'Add', isScalar))
    for (const { other, result } of products(t)) {
      if (isScalar(other)) {
        // t halved, times x
        for (const last of products(result))
          if (!isScalar(last.other)) yield { x: last.other, t, y: last.result, h: other };
        continue;
      }
      // x·t, halved behind
      for (const last of products(result))
        if (isScalar(last.other)) yield { x: other, t, y: last.result, h: last.other };
      // x halved, times t
      const [x, h]: readonly (Value | undefined)[] = scaled(other.producer) ?? [];
      if (x !== undefined && h !== undefined) yield { x, t, y: result, h };
    }
}

/** The value and the constant of value·constant. */
function scaled(node: Node | undefined): readonly [Value, Value] | undefined {
  const [a, b] = node?.inputs ?? [];
  if (a === undefined || b === undefined || node?.domain !== '' || node.op !== 'Mul') return undefined;
  return isScalar(b) ? [a, b] : isScalar(a) ? [b, a] : undefined;
}

/** v by powers of x, up to the third; undefined where v is something else. */
function polynomialOf(v: Value, x: Value, depth = 8): readonly number[] | undefined {
  if (v === x) return [0, 1];
  const constant = scalarOf(v);
  if (constant !== undefined) return [constant];
  const node = v.producer;
  if (node?.domain !== '' || depth === 0) return undefined;
  const [a, b] = node.inputs.map((i) => (i === undefined ? undefined : polynomialOf(i, x, depth - 1)));
  if (a === undefined || b === undefined) return undefined;
  const [by] = b;
  if (node.op === 'Add')
    return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => (a[i] ?? 0) + (b[i] ?? 0));
  if (node.op === 'Mul') return times(a, b);
  if (b.length > 1 || by === undefined) return undefined;
  if (node.op === 'Div' && by !== 0) return a.map((c) => c / by);
  if (node.op === 'Pow' && (by === 2 || by === 3)) return times(a, by === 2 ? a : times(a, a));
  return undefined;
}

function times(a: readonly number[] | undefined, b: readonly number[] | undefined): readonly number[] | undefined {
  if (a === undefined || b === undefined || a.length + b.length > 5) return undefined;
  const product = new Array<number>(a.length + b.length - 1).fill(0);
  for (const [i, p] of a.entries()) for (const [j, q] of b.entries()) product[i + j] = (product[i + j] ?? 0) + p * q;
  return product;
}

interface Step {
  readonly other: Value;
  readonly result: Value;
}

function steps(value: Value, op: string): Step[] {
  return [...value.uses].flatMap(({ node, index }) => {
    const [other, result] = [node.inputs[1 - index], node.outputs[0]];
    return node.op !== op || node.domain !== '' || other === undefined || result === undefined
      ? []
      : [{ other, result }];
  });
}

const products = (value: Value): Step[] => steps(value, 'Mul');
const results = (value: Value, op: string, fits: (other: Value) => boolean): Value[] =>
  steps(value, op).flatMap(({ other, result }) => (fits(other) ? [result] : []));

/** A constant that changes no shape. */
const isScalar = (v: Value): boolean => v.tensor !== undefined && v.tensor.dims.length === 0;
