/**
 * Computes W + scale·A·B, or its columns scaled to given norms (DoRA), block by block: float64 accumulation, one
 * rounding to the type of W.
 */
import { mergeMismatch } from '../errors.ts';
import { bfloatToNumber, chunks, halfToNumber, type Tensor } from '../graph/tensor.ts';

/** The update of a weight. */
export interface Delta {
  /** [in, rank], row-major. */
  readonly A: Float32Array;
  /** [rank, out], row-major. */
  readonly B: Float32Array;
  readonly in: number;
  readonly out: number;
  readonly scale: number;
  /** The layout of the weight: [in, out] or [out, in]. */
  readonly layout: 'in_out' | 'out_in';
  /**
   * The first column of a layer that has only some columns of a weight [in, of]. Never used with a magnitude, or with
   * layout [out, in].
   */
  readonly part?: { readonly from: number; readonly of: number } | undefined;
  /**
   * [out]: the norms that the columns of each output are scaled to (peft/tuners/lora/variants.py,
   * DoraLinearVariant.merge_safe).
   */
  readonly magnitude?: Float32Array | undefined;
}

/**
 * Arithmetic on elements of one type in little-endian bytes, the order of JavaScript's arrays on every machine it runs
 * on.
 */
interface Codec {
  readonly bytes: number;
  /**
   * Adds `change` to the row of elements that begins at element `at`. Returns the index of an element that becomes
   * non-finite, or -1.
   */
  addRow(block: Uint8Array<ArrayBuffer>, at: number, change: Float64Array): number;
  /** Fills `row` with the elements from element `at`. */
  readRow(block: Uint8Array<ArrayBuffer>, at: number, row: Float64Array): void;
}

const floats = (bytes: number, view: (block: Uint8Array<ArrayBuffer>) => Float32Array | Float64Array): Codec => ({
  bytes,
  addRow(block, at, change) {
    const w = view(block);
    let bad = -1;
    for (let j = 0; j < change.length; j++) {
      const c = change[j] ?? 0;
      // Skipped so that -0 stays -0.
      if (c === 0) continue;
      const sum = (w[at + j] ?? 0) + c;
      w[at + j] = sum;
      if (!Number.isFinite(w[at + j])) bad = j;
    }
    return bad;
  },
  readRow(block, at, row) {
    row.set(view(block).subarray(at, at + row.length));
  },
});

/** 16-bit types: a table of all their values in one direction, rounding in the other. */
function narrow(toNumber: (bits: number) => number, round: (x: number) => number): Codec {
  let table: Float32Array | undefined;
  return {
    bytes: 2,
    addRow(block, at, change) {
      table ??= Float32Array.from({ length: 65536 }, (_, bits) => toNumber(bits));
      const w = new Uint16Array(block.buffer);
      let bad = -1;
      for (let j = 0; j < change.length; j++) {
        const c = change[j] ?? 0;
        if (c === 0) continue;
        const bits = round((table[w[at + j] ?? 0] ?? 0) + c);
        w[at + j] = bits;
        if (!Number.isFinite(table[bits])) bad = j;
      }
      return bad;
    },
    readRow(block, at, row) {
      const w = new Uint16Array(block.buffer);
      for (let j = 0; j < row.length; j++) row[j] = toNumber(w[at + j] ?? 0);
    },
  };
}

const codecs: Readonly<Partial<Record<Tensor['dtype'], Codec>>> = {
  float32: floats(4, (block) => new Float32Array(block.buffer)),
  float64: floats(8, (block) => new Float64Array(block.buffer)),
  float16: narrow(halfToNumber, roundToHalf),
  bfloat16: narrow(bfloatToNumber, roundToBfloat),
};

/** The number of columns of the stored weight. */
export const columnsOf = ({ layout, part, in: inputs, out }: Delta): number =>
  layout === 'in_out' ? (part?.of ?? out) : inputs;

/** Whether a weight of this type can be written. */
export const canMerge = (dtype: Tensor['dtype']): boolean => codecs[dtype] !== undefined;

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/**
 * Bits of a float32 from which a narrower type can be rounded as if from the number itself: the inexact part sets its
 * last bit (round to odd).
 */
function oddFloatBits(x: number): number {
  const f = Math.fround(x);
  single[0] = f;
  const bits = singleBits[0] ?? 0;
  if (f === x || Number.isNaN(x)) return bits;
  return (Math.abs(f) > Math.abs(x) ? bits - 1 : bits) | 1;
}

/** bfloat16 bits of a number, ties to even, with a single rounding. */
export function roundToBfloat(x: number): number {
  if (Number.isNaN(x)) return 0x7fc0;
  const bits = oddFloatBits(x) >>> 0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** IEEE binary16 bits of a number, ties to even, with a single rounding. */
export function roundToHalf(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const bits = oddFloatBits(x) >>> 0;
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 255) - 112;
  const fraction = bits & 0x7fffff;
  if (exponent >= 31) return sign | 0x7c00;
  // Below the normal range the leading one moves into the fraction; the bits shifted out are kept in the last bit.
  const shift = exponent > 0 ? 13 : 14 - exponent;
  if (shift > 25) return sign;
  const whole = exponent > 0 ? (exponent << 23) | fraction : fraction | 0x800000;
  const kept = whole >>> shift;
  const rest = whole & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}

const blockBytes = 1 << 20;

/**
 * raw_data of the changed weight, in blocks of whole rows (about 1 MiB, at least a row). Errors: MERGE_MISMATCH if an
 * element is not finite or out of range.
 */
export function* mergedBlocks(
  tensor: Tensor,
  deltas: readonly Delta[],
  layer: string,
  weight?: string,
): Iterable<Uint8Array> {
  const codec = codecs[tensor.dtype];
  const [first] = deltas;
  if (codec === undefined || first === undefined) throw new Error(`a ${tensor.dtype} weight cannot be changed`);
  const columns = columnsOf(first);
  const sides = deltas.map((d) => factors(d, columns, layer));
  const scales = deltas.map((d) => (d.magnitude === undefined ? undefined : directed(tensor, d, layer)));
  const rowBytes = columns * codec.bytes;
  const rows = Math.max(1, Math.floor(blockBytes / rowBytes));
  const [sum, own, old] = [new Float64Array(columns), new Float64Array(columns), new Float64Array(columns)];
  /** Adds the update: scale·A·B, or with a magnitude c·(W + scale·A·B) - W. */
  const change = (side: Factors, i: number, block: Uint8Array<ArrayBuffer>, at: number): void => {
    const scale = scales[i];
    if (scale === undefined) {
      addRow(sum, side, row);
      return;
    }
    own.fill(0);
    addRow(own, side, row);
    codec.readRow(block, at, old);
    const byColumn = deltas[i]?.layout === 'in_out';
    for (let j = 0; j < columns; j++) {
      const w = old[j] ?? 0;
      sum[j] = (sum[j] ?? 0) + (scale[byColumn ? j : row] ?? 0) * (w + (own[j] ?? 0)) - w;
    }
  };
  let row = 0;
  for (const block of inBlocks(tensor, rows * rowBytes)) {
    for (let at = 0; at < block.length / codec.bytes; at += columns, row++) {
      sum.fill(0);
      for (const [i, side] of sides.entries()) change(side, i, block, at);
      const bad = codec.addRow(block, at, sum);
      if (bad >= 0)
        throw mergeMismatch(
          `layer "${layer}": element [${row}, ${bad}] of the merged weight${weight === undefined ? '' : ` "${weight}"`} is not a finite ${tensor.dtype}`,
        );
    }
    yield block;
  }
}

/** The norm of each output's weights in W + scale·A·B: float64 [out]. Reads the tensor once. */
export function outputLengths(tensor: Tensor, delta: Delta, layer: string): Float64Array<ArrayBuffer> {
  const codec = codecs[tensor.dtype];
  if (codec === undefined) throw new Error(`a ${tensor.dtype} weight has no norms`);
  const byColumn = delta.layout === 'in_out';
  const columns = byColumn ? delta.out : delta.in;
  const side = factors(delta, columns, layer);
  const squares = new Float64Array(delta.out);
  const [own, old] = [new Float64Array(columns), new Float64Array(columns)];
  const rows = Math.max(1, Math.floor(blockBytes / (columns * codec.bytes)));
  let row = 0;
  for (const block of inBlocks(tensor, rows * columns * codec.bytes)) {
    for (let at = 0; at < block.length / codec.bytes; at += columns, row++) {
      own.fill(0);
      addRow(own, side, row);
      codec.readRow(block, at, old);
      for (let j = 0; j < columns; j++) {
        const w = (old[j] ?? 0) + (own[j] ?? 0);
        const o = byColumn ? j : row;
        squares[o] = (squares[o] ?? 0) + w * w;
      }
    }
  }
  return squares.map(Math.sqrt);
}

/** The factor of each output of W + scale·A·B that gives it its magnitude. */
function directed(tensor: Tensor, delta: Delta, layer: string): Float64Array {
  return outputLengths(tensor, delta, layer).map((n, o) => (delta.magnitude?.[o] ?? 0) / n);
}

/** scale·A·B as left [rows, rank] times right [rank, columns] in the weight's own layout. */
interface Factors {
  /** The column of the weight where `right` begins. */
  readonly from: number;
  readonly left: Float64Array;
  readonly right: Float64Array;
  readonly rank: number;
}

function factors(d: Delta, columns: number, layer: string): Factors {
  if (!d.A.every(Number.isFinite) || !d.B.every(Number.isFinite))
    throw mergeMismatch(`layer "${layer}": the adapter has values that are not finite`);
  const rank = d.in === 0 ? 0 : d.A.length / d.in;
  const [from, of] = [d.part?.from ?? 0, d.part?.of ?? d.out];
  const left = new Float64Array((d.layout === 'in_out' ? d.in : of) * rank);
  const width = d.layout === 'in_out' ? d.out : columns;
  const right = new Float64Array(rank * width);
  for (let k = 0; k < rank; k++) {
    for (let i = 0; i < d.in; i++) {
      const a = d.A[i * rank + k] ?? 0;
      if (d.layout === 'in_out') left[i * rank + k] = a * d.scale;
      else right[k * width + i] = a;
    }
    for (let o = 0; o < d.out; o++) {
      const b = d.B[k * d.out + o] ?? 0;
      if (d.layout === 'in_out') right[k * width + o] = b;
      else left[(from + o) * rank + k] = b * d.scale;
    }
  }
  return { from: d.layout === 'in_out' ? from : 0, left, right, rank };
}

function addRow(sum: Float64Array, { from, left, right, rank }: Factors, row: number): void {
  const columns = rank === 0 ? 0 : right.length / rank;
  for (let k = 0; k < rank; k++) {
    const a = left[row * rank + k] ?? 0;
    if (a === 0) continue;
    const base = k * columns;
    for (let j = 0; j < columns; j++) sum[from + j] = (sum[from + j] ?? 0) + a * (right[base + j] ?? 0);
  }
}

/** A tensor's raw_data in new pieces of exactly `size` bytes, except the last one. */
function* inBlocks(tensor: Tensor, size: number): Iterable<Uint8Array<ArrayBuffer>> {
  let block = new Uint8Array(Math.min(size, tensor.byteLength));
  let filled = 0;
  let left = tensor.byteLength;
  for (const chunk of chunks(tensor)) {
    let at = 0;
    while (at < chunk.length) {
      const n = Math.min(chunk.length - at, block.length - filled);
      block.set(chunk.subarray(at, at + n), filled);
      at += n;
      filled += n;
      if (filled < block.length) continue;
      left -= filled;
      yield block;
      block = new Uint8Array(Math.min(size, left));
      filled = 0;
    }
  }
}
