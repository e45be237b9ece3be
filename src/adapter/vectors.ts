/** Vectors in float64, and products of a weight with a few of them. */

export type Vector = Float64Array<ArrayBuffer>;

/** Row-major. */
export interface Weight {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float32Array;
}

/** Wᵀ·W·x for some columns x, in one pass over W. */
export function gram(w: Weight, x: readonly Vector[]): Vector[] {
  const wide = x.length;
  const from = interleaved(x);
  const sums = new Float64Array(from.length);
  const row = new Float64Array(wide);
  for (let i = 0; i < w.rows; i++) {
    rowTimes(w, i, from, row);
    for (let k = 0, at = i * w.columns; k < w.columns; k++, at++) {
      const value = w.data[at] ?? 0;
      for (let c = 0, to = k * wide; c < wide; c++, to++) sums[to] = (sums[to] ?? 0) + value * (row[c] ?? 0);
    }
  }
  return x.map((_, c) => Float64Array.from({ length: w.columns }, (_, k) => sums[k * wide + c] ?? 0));
}

/** W·x for some columns x. */
export function times(w: Weight, x: readonly Vector[]): Vector[] {
  const from = interleaved(x);
  const row = new Float64Array(x.length);
  const out = x.map(() => new Float64Array(w.rows));
  for (let i = 0; i < w.rows; i++) {
    rowTimes(w, i, from, row);
    for (let c = 0; c < out.length; c++) {
      const column = out[c];
      if (column !== undefined) column[i] = row[c] ?? 0;
    }
  }
  return out;
}

/** row = W[i]·x, the columns of x interleaved. */
function rowTimes(w: Weight, i: number, x: Vector, row: Vector): void {
  row.fill(0);
  const wide = row.length;
  for (let k = 0, at = i * w.columns; k < w.columns; k++, at++) {
    const value = w.data[at] ?? 0;
    for (let c = 0, from = k * wide; c < wide; c++, from++) row[c] = (row[c] ?? 0) + value * (x[from] ?? 0);
  }
}

function interleaved(columns: readonly Vector[]): Vector {
  const wide = columns.length;
  const out = new Float64Array(wide * (columns[0]?.length ?? 0));
  columns.forEach((column, c) => {
    for (let i = 0; i < column.length; i++) out[i * wide + c] = column[i] ?? 0;
  });
  return out;
}

export function transpose({ rows, columns, data }: Weight): Weight {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j] ?? 0;
  return { rows: columns, columns: rows, data: out };
}

export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

export const norm = (v: Float64Array): number => Math.sqrt(dot(v, v));

/** x += factor·v */
export function add(x: Float64Array, v: Float64Array, factor: number): void {
  for (let i = 0; i < v.length; i++) x[i] = (x[i] ?? 0) + factor * (v[i] ?? 0);
}

export function scale(v: Float64Array, factor: number): void {
  for (let i = 0; i < v.length; i++) v[i] = (v[i] ?? 0) * factor;
}

/** The entry with the largest absolute value, the first one of equals. */
export function largest(v: Float64Array): number | undefined {
  return v.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0);
}

/** A copy of `v` without its components along unit vectors. */
export function outside(v: Vector, units: readonly Vector[]): Vector {
  const rest = v.slice();
  for (const u of units) add(rest, u, -dot(u, rest));
  return rest;
}

export function combined(vectors: readonly Vector[], factors: Float64Array): Vector {
  const sum = new Float64Array(vectors[0]?.length ?? 0);
  vectors.forEach((v, i) => {
    add(sum, v, factors[i] ?? 0);
  });
  return sum;
}

/** Applies a plane rotation to two vectors, in place. */
export function rotate(a: Vector, b: Vector, c: number, s: number): void {
  for (let i = 0; i < a.length; i++) {
    const [p, q] = [a[i] ?? 0, b[i] ?? 0];
    a[i] = c * p - s * q;
    b[i] = s * p + c * q;
  }
}
