/**
 * Decompositions of one weight, in float64: the leading singular vectors, an approximation of them, and the first
 * columns of a QR decomposition. Only as many as the rank needs are computed, so the cost is that of matrix products
 * with the weight, not of a cubic algorithm. Memory: the weight and the vectors.
 */
import { createRequire } from 'node:module';
import type * as Matrices from 'ml-matrix';
import type { Stream } from '../graph/random.ts';
import {
  add,
  combined,
  dot,
  gram,
  largest,
  norm,
  outside,
  rotate,
  scale,
  times,
  transpose,
  type Vector,
  type Weight,
} from './vectors.ts';

/** Loaded on first use, because most commands need no decomposition. */
let matrices: typeof Matrices | undefined;
function load(): typeof Matrices {
  matrices ??= createRequire(import.meta.url)('ml-matrix');
  if (matrices === undefined) throw new Error('ml-matrix has no exports');
  return matrices;
}

/** W ~ Σ values[k] · left[k] · right[k]ᵀ: left of length rows, right of length columns, values descending. */
export interface Singular {
  readonly values: readonly number[];
  readonly left: readonly Vector[];
  readonly right: readonly Vector[];
}

/**
 * A Ritz pair counts as exact if its residual is this small relative to the largest eigenvalue: a float32 weight is
 * exact to 1e-7.
 */
const exact = 1e-10;

/**
 * Columns beyond the rank: equal singular values are separated as long as there are no more of them than columns in the
 * block.
 */
const spare = 4;

/**
 * The `rank` leading singular triplets: block Lanczos with full reorthogonalization on the smaller Gram matrix (Golub,
 * Luk & Overton, ACM TOMS 7, 1981), until the triplets are exact to float64 or the basis spans the whole space; then
 * one Jacobi rotation of the result, which undoes the squaring. `random` only sets the starting block. At most
 * min(rows, columns) triplets.
 */
export function leadingSingular(weight: Weight, rank: number, random: Stream): Singular {
  const tall = weight.rows >= weight.columns ? weight : transpose(weight);
  const n = tall.columns;
  const count = Math.min(rank, n);
  const basis: Vector[] = [];
  /** projected[i][j] = basis[i] · G · basis[j], for i up to the last block of j. */
  const projected: Vector[] = [];
  let block = orthonormal(randomVectors(n, Math.min(n, count + spare), random), []);
  for (let checkAt = 0; ; ) {
    const images = gram(tall, block);
    const start = basis.length;
    basis.push(...block);
    for (const image of images) projected.push(Float64Array.from(basis, (q) => dot(q, image)));
    const size = basis.length;
    const next = orthonormal(images, basis);
    const done = next.length === 0 || size === n;
    if (done || size >= checkAt) {
      checkAt = Math.ceil(1.4 * size);
      const { values, vectors } = ritz(projected, count);
      // The component of a basis vector's image outside the basis comes from the last block alone.
      const rests = done ? [] : images.map((image) => outside(image, basis));
      const error = (y: Vector): number => norm(combined(rests, y.subarray(start)));
      if (done || vectors.every((y) => error(y) <= exact * (values[0] ?? 0)))
        return polished(
          tall,
          vectors.map((y) => combined(basis, y)),
          tall !== weight,
        );
    }
    block = next;
  }
}

/**
 * torch.svd_lowrank(W, q = rank, niter = rounds): Algorithm 5.1 of Halko, Martinsson & Tropp (2009) over the range that
 * their Algorithm 4.4 finds, started from `random`.
 */
export function approximateSingular(weight: Weight, rank: number, rounds: number, random: Stream): Singular {
  const tall = weight.rows >= weight.columns ? weight : transpose(weight);
  const wide = transpose(tall);
  const step = (w: Weight, x: readonly Vector[]): Vector[] => orthonormal(times(w, x), []);
  let range = step(tall, randomVectors(tall.columns, Math.min(rank, tall.columns), random));
  for (let i = 0; i < rounds; i++) range = step(tall, step(wide, range));
  // range · (rangeᵀ·W) = range · (V·Σ·Uᵀ)ᵀ
  const { values, left: right, right: turn } = jacobi(times(wide, range));
  const left = turn.map((y) => combined(range, y));
  return tall === weight ? { values, left, right } : { values, left: right, right: left };
}

/**
 * W = Q·R by Householder reflections with LAPACK's signs (dgeqrf: a diagonal entry of R has the opposite sign of the
 * entry it replaces): the first `rank` columns of Q and rows of R, at most min(rows, columns).
 */
export function leadingQr(
  weight: Weight,
  rank: number,
): { readonly q: readonly Vector[]; readonly r: readonly Vector[] } {
  const { rows, columns } = weight;
  const count = Math.min(rank, rows, columns);
  const work = Array.from({ length: columns }, (_, j) =>
    Float64Array.from({ length: rows }, (_, i) => weight.data[i * columns + j] ?? 0),
  );
  const reflectors: { v: Vector; tau: number }[] = [];
  for (let k = 0; k < count; k++) {
    const below = work[k]?.subarray(k) ?? new Float64Array();
    const alpha = below[0] ?? 0;
    const rest = norm(below.subarray(1));
    // A column that is already zero below the diagonal is left unchanged.
    const beta = rest === 0 ? alpha : -Math.sign(alpha || 1) * Math.hypot(alpha, rest);
    const v = Float64Array.from(below, (x, i) => (i === 0 ? 1 : rest === 0 ? 0 : x / (alpha - beta)));
    const tau = rest === 0 ? 0 : (beta - alpha) / beta;
    for (const column of work.slice(k)) reflect(column.subarray(k), v, tau);
    reflectors.push({ v, tau });
  }
  const r = Array.from({ length: count }, (_, k) =>
    Float64Array.from({ length: columns }, (_, j) => (j < k ? 0 : (work[j]?.[k] ?? 0))),
  );
  const q = Array.from({ length: count }, (_, k) => {
    const unit = new Float64Array(rows);
    unit[k] = 1;
    reflectors.forEach((_, i) => {
      const { v, tau } = reflectors[count - 1 - i] ?? { v: new Float64Array(), tau: 0 };
      reflect(unit.subarray(rows - v.length), v, tau);
    });
    return unit;
  });
  return { q, r };
}

/** x -= tau·v·(v·x) */
function reflect(x: Float64Array, v: Vector, tau: number): void {
  if (tau !== 0) add(x, v, -tau * dot(v, x));
}

/** The singular triplets of a tall weight from vectors that span the right ones; `swapped`: of its transpose. */
function polished(tall: Weight, span: readonly Vector[], swapped: boolean): Singular {
  const { values, left, right: turn } = jacobi(times(tall, span));
  const right = turn.map((y) => combined(span, y));
  return swapped ? { values, left: right, right: left } : { values, left, right };
}

/**
 * The `count` largest eigenvalues of a symmetric matrix, whose rows are given up to the end of their block, with their
 * vectors.
 */
function ritz(rows: readonly Vector[], count: number): { values: number[]; vectors: Vector[] } {
  const { EigenvalueDecomposition, Matrix } = load();
  const size = rows.length;
  const matrix = Matrix.zeros(size, size);
  rows.forEach((row, j) => {
    row.forEach((x, i) => {
      matrix.set(i, j, x);
      matrix.set(j, i, x);
    });
  });
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(matrix, { assumeSymmetric: true });
  const order = realEigenvalues.map((value, at) => ({ value, at })).sort((a, b) => b.value - a.value);
  const largest = order.slice(0, count);
  return {
    values: largest.map((e) => e.value),
    vectors: largest.map((e) => Float64Array.from(eigenvectorMatrix.getColumn(e.at))),
  };
}

/**
 * One-sided Jacobi (Hestenes 1958) on a few long columns: X = Σ values[k] · left[k] · right[k]ᵀ, right in the
 * coordinates of the columns. Accurate for small values too. Signs are chosen so that the largest entry of each left
 * vector is positive.
 */
function jacobi(columns: readonly Vector[]): Singular {
  const x = columns.map((c) => c.slice());
  const size = x.length;
  const turn = x.map((_, i) => Float64Array.from({ length: size }, (_, j) => (i === j ? 1 : 0)));
  // Sweeps converge quadratically: even ten are more than enough.
  for (let sweep = 0, rotated = true; rotated && sweep < 40; sweep++) {
    rotated = false;
    for (let i = 0; i < size; i++) {
      for (let j = i + 1; j < size; j++) {
        const [a, b, ta, tb] = [x[i], x[j], turn[i], turn[j]];
        if (a === undefined || b === undefined || ta === undefined || tb === undefined) continue;
        const [aa, bb, ab] = [dot(a, a), dot(b, b), dot(a, b)];
        if (Math.abs(ab) <= 1e-14 * Math.sqrt(aa * bb)) continue;
        rotated = true;
        const zeta = (bb - aa) / (2 * ab);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const c = 1 / Math.hypot(1, t);
        rotate(a, b, c, c * t);
        rotate(ta, tb, c, c * t);
      }
    }
  }
  const found = x
    .map((left, k) => ({ value: norm(left), left, right: turn[k] ?? new Float64Array() }))
    .sort((a, b) => b.value - a.value);
  for (const { value, left, right } of found) {
    const sign = (largest(left) ?? 0) < 0 ? -1 : 1;
    scale(left, value === 0 ? 0 : sign / value);
    scale(right, sign);
  }
  return { values: found.map((f) => f.value), left: found.map((f) => f.left), right: found.map((f) => f.right) };
}

/** Vectors orthonormal to each other and to `against`; linearly dependent ones are left out. */
function orthonormal(vectors: readonly Vector[], against: readonly Vector[]): Vector[] {
  const kept: Vector[] = [];
  const largest = Math.max(...vectors.map(norm));
  for (const given of vectors) {
    let v = given;
    // Twice is enough (Giraud, Langou & Rozložník, 2005).
    for (let pass = 0; pass < 2; pass++) v = outside(v, [...against, ...kept]);
    const length = norm(v);
    if (!(length > 1e-13 * largest)) continue;
    scale(v, 1 / length);
    // The relative rounding error of a short remainder is large, so it is orthogonalized once more.
    const unit = outside(v, [...against, ...kept]);
    scale(unit, 1 / norm(unit));
    kept.push(unit);
  }
  return kept;
}

function randomVectors(length: number, count: number, random: Stream): Vector[] {
  return Array.from({ length: count }, () => Float64Array.from({ length }, () => random.normal()));
}
