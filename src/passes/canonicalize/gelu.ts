/**
 * Finds GELU as exporters write it, y = h·x·(a + f(v)) with constants h and a, and f = erf or tanh of a polynomial v of
 * x: five to eight nodes, whose separate derivatives read and write the tensor ten times and more. If the provider has
 * the operator (domain com.microsoft), one node replaces them, and the backward keeps only x. Otherwise the forward is
 * unchanged, and a pass-through marker behind it has one gradient rule.
 */
import { type Graph, Node, takePlace, Value } from '../../graph/model.ts';
import { any, constant, isScalar, oneOf, op, scalar, scalarOf, type Verdict } from '../common/pattern.ts';
import { type NearMisses, pattern } from '../common/patternSearch.ts';
import { insertMarker } from '../dialect/customGradient.ts';

const internal = { Erf: 'loraify.Gelu', Tanh: 'loraify.GeluTanh' } as const;
const contributed = { Erf: 'Gelu', Tanh: 'FastGelu' } as const;

const [x, v, h] = [any('x'), any('v'), constant('h', isScalar)];
const t = op.Add(oneOf(op.Erf(v).node('f'), op.Tanh(v).node('f')), scalar('a')).as('t');
const gelu = pattern(
  'GELU',
  oneOf(
    op.Mul(op.Mul(t, h), x).where(isPolynomial),
    op.Mul(op.Mul(x, t), h).where(isPolynomial),
    op.Mul(op.Mul(x, h), t).where(isPolynomial),
  ),
  { least: 4 },
);

/**
 * In place. A marker has the inputs x, v, t = a + f(v), y and h, the attribute slope (of v at x = 0), and one output,
 * equal to y. With `fused`, a float32 GELU with the standard's constants becomes com.microsoft Gelu or FastGelu. True
 * if any did.
 */
export function compactGelu(graph: Graph, fused = false, misses?: NearMisses): boolean {
  let replaced = false;
  for (const { root, bound } of gelu.in(graph, misses)) {
    const { x, v, t, a, h } = bound;
    const [y] = root.outputs;
    const f = bound.f.op === 'Erf' ? 'Erf' : 'Tanh';
    const polynomial = polynomialOf(v, x) ?? [];
    if (y === undefined) continue;
    if (fused && y.dtype === 'float32' && a === 1 && scalarOf(h) === 0.5 && isStandard(f, polynomial)) {
      const out = new Value(y.name, y.type);
      const node = new Node({
        op: contributed[f],
        domain: 'com.microsoft',
        name: root.name,
        inputs: [x],
        outputs: [out],
      });
      takePlace(y, out, [graph], '.unfused');
      graph.insertAfter(root, node);
      replaced = true;
      continue;
    }
    insertMarker(graph, internal[f], [x, v, t, y, h], { slope: polynomial[1] ?? 0 });
  }
  if (replaced) graph.prune();
  return replaced;
}

/** The polynomials of Hendrycks, Gimpel 2016. */
function isStandard(f: 'Erf' | 'Tanh', polynomial: readonly number[]): boolean {
  const c = Math.sqrt(2 / Math.PI);
  const wanted = f === 'Erf' ? [0, Math.SQRT1_2] : [0, c, 0, 0.044715 * c];
  // Constants are written with seven digits and more.
  const near = (a: number, b: number): boolean => Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(b), 1e-3);
  return polynomial.length === wanted.length && wanted.every((w, i) => near(polynomial[i] ?? 0, w));
}

/** Checks the form that the gradient rule covers: erf of a multiple of x, or tanh of an odd cubic in x. */
function isPolynomial({ x, v, f }: { readonly x: Value; readonly v: Value; readonly f: Node }): Verdict {
  const polynomial = polynomialOf(v, x);
  if (polynomial === undefined) return `${f.op} reads "${v.name}", which is not a polynomial of "${x.name}"`;
  if (polynomial.some((c, power) => power % 2 === 0 && c !== 0)) return `"${v.name}" is not odd in "${x.name}"`;
  return (
    polynomial.length <= (f.op === 'Erf' ? 2 : 4) || `"${v.name}" is of degree ${polynomial.length - 1} in "${x.name}"`
  );
}

/** The coefficients of v as a polynomial in x, up to the third power; undefined if v is not one. */
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
