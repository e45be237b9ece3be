/** A dense tensor. */

interface Dense {
  readonly dims: readonly number[];
  /** Row-major. */
  readonly data: Float32Array;
}

/**
 * Concatenates the parts along `axis` into a new array; their other dims are those of `shape`, whose entry at `axis` is
 * not read. Without parts the result is an empty tensor.
 */
export function concatenated(
  shape: readonly number[],
  axis: number,
  parts: readonly Dense[],
): { readonly dims: readonly number[]; readonly data: Float32Array<ArrayBuffer> } {
  const lengths = parts.map((p) => p.dims[axis] ?? 0);
  const total = lengths.reduce((a, b) => a + b, 0);
  const product = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
  const [outer, inner] = [product(shape.slice(0, axis)), product(shape.slice(axis + 1))];
  const data = new Float32Array(outer * total * inner);
  let at = 0;
  for (const [p, part] of parts.entries()) {
    const run = (lengths[p] ?? 0) * inner;
    for (let o = 0; o < outer; o++) data.set(part.data.subarray(o * run, (o + 1) * run), o * total * inner + at);
    at += run;
  }
  return { dims: shape.map((d, i) => (i === axis ? total : d)), data };
}
