/**
 * Data types and tensors. A tensor's bytes are inline, or a range of a source that was not read, or computed on demand;
 * they are read as chunks, so that no operation on weights needs memory in proportion to them.
 *
 * Source of the numbering and packing: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (TensorProto).
 */
import { badTensor, precisionRange } from '../errors.ts';
import { bfloatToNumber, type HalfType, halfToNumber, numberToBfloat, numberToHalf, roundBits } from './rounding.ts';

export { bfloatToNumber, halfToNumber, numberToBfloat, numberToHalf } from './rounding.ts';

/** Bits of an element in raw_data (strings have none). Order and numbering are TensorProto.DataType's. */
const dataTypes = {
  float32: { onnx: 1, bits: 32, text: 'float' },
  uint8: { onnx: 2, bits: 8, text: 'uint8' },
  int8: { onnx: 3, bits: 8, text: 'int8' },
  uint16: { onnx: 4, bits: 16, text: 'uint16' },
  int16: { onnx: 5, bits: 16, text: 'int16' },
  int32: { onnx: 6, bits: 32, text: 'int32' },
  int64: { onnx: 7, bits: 64, text: 'int64' },
  string: { onnx: 8, bits: 0, text: 'string' },
  bool: { onnx: 9, bits: 8, text: 'bool' },
  float16: { onnx: 10, bits: 16, text: 'float16' },
  float64: { onnx: 11, bits: 64, text: 'double' },
  uint32: { onnx: 12, bits: 32, text: 'uint32' },
  uint64: { onnx: 13, bits: 64, text: 'uint64' },
  complex64: { onnx: 14, bits: 64, text: 'complex64' },
  complex128: { onnx: 15, bits: 128, text: 'complex128' },
  bfloat16: { onnx: 16, bits: 16, text: 'bfloat16' },
  float8e4m3fn: { onnx: 17, bits: 8, text: 'float8e4m3fn' },
  float8e4m3fnuz: { onnx: 18, bits: 8, text: 'float8e4m3fnuz' },
  float8e5m2: { onnx: 19, bits: 8, text: 'float8e5m2' },
  float8e5m2fnuz: { onnx: 20, bits: 8, text: 'float8e5m2fnuz' },
  uint4: { onnx: 21, bits: 4, text: 'uint4' },
  int4: { onnx: 22, bits: 4, text: 'int4' },
  float4e2m1: { onnx: 23, bits: 4, text: 'float4e2m1' },
  float8e8m0: { onnx: 24, bits: 8, text: 'float8e8m0' },
  uint2: { onnx: 25, bits: 2, text: 'uint2' },
  int2: { onnx: 26, bits: 2, text: 'int2' },
} as const;

/** An element type, named as ONNX Runtime's JavaScript API and NumPy name it. */
export type DataType = keyof typeof dataTypes;

const names = Object.keys(dataTypes).filter((k): k is DataType => k in dataTypes);
const byNumber = new Map<number, DataType>(names.map((n) => [dataTypes[n].onnx, n]));
const byText = new Map<string, DataType>(names.map((n) => [dataTypes[n].text, n]));

export const dataTypeNumber = (t: DataType): number => dataTypes[t].onnx;
export const dataTypeText = (t: DataType): string => dataTypes[t].text;
export const dataTypeBits = (t: DataType): number => dataTypes[t].bits;
/** The type with this TensorProto number, undefined for UNDEFINED (0) and unknown numbers. */
export const dataTypeFromNumber = (n: number): DataType | undefined => byNumber.get(n);
/** The type names of ONNX's textual syntax. */
export const dataTypeTexts: readonly string[] = [...byText.keys()];
export const dataTypeFromText = (s: string): DataType | undefined => byText.get(s);
export const isFloat = (t: DataType): boolean => ['float32', 'float64', 'float16', 'bfloat16'].includes(t);

/** Tensors of at most this many bytes stay inside the graph files of a package. */
export const inlineBytes = 1024;

/**
 * Whether a tensor stays inside the graph files: small tensors, and vectors of integers, because axes, sizes or split
 * lists are read during type inference, when a loader has no data files yet (otherwise ONNX Runtime refuses a Split
 * inside a Scan).
 */
export const staysInside = ({ byteLength, dims, dtype }: Tensor): boolean =>
  byteLength <= inlineBytes ||
  (dims.length <= 1 && (dtype === 'int64' || dtype === 'int32') && byteLength <= 64 * inlineBytes);

/** Bytes that are read on demand: a file, a region of memory, or concatenated pieces of several files. */
export interface ByteSource {
  /** The name in messages. */
  readonly name: string;
  readonly size: number;
  /** The open file that holds the bytes, if they are in one file: another thread may read it as long as it is open. */
  readonly fd?: number;
  /**
   * Reads exactly `length` bytes from `offset`; the caller must not keep the array beyond the next read, or change it.
   */
  read(offset: number, length: number): Uint8Array;
}

/** A source over bytes that are in memory. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return { name, size: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) };
}

export type Payload =
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  /** Little-endian elements as raw_data holds them. */
  | { readonly kind: 'range'; readonly source: ByteSource; readonly offset: number }
  /** Any other source of the tensor's raw_data bytes; the same bytes each time it is called. */
  | { readonly kind: 'computed'; readonly chunks: () => Iterable<Uint8Array> }
  /** The elements of a float32 tensor, rounded when they are read. `name` is for messages. */
  | { readonly kind: 'rounded'; readonly from: Tensor; readonly name: string }
  | { readonly kind: 'strings'; readonly values: readonly Uint8Array[] };

/** An immutable tensor, compared by identity; layers and graphs share tensors freely. */
export interface Tensor {
  readonly dtype: DataType;
  readonly dims: readonly number[];
  /** Length of raw_data; 0 for strings. */
  readonly byteLength: number;
  readonly payload: Payload;
  readonly docString?: string;
  readonly metadata?: ReadonlyMap<string, string>;
  /** The form and place of the tensor in the source, kept so that a copy can be verbatim. Opaque to the passes. */
  readonly origin?: TensorOrigin;
}

export interface TensorOrigin {
  /** External data as the source declared it: the file name relative to the model's folder, and the range in it. */
  readonly external?: { readonly location: string; readonly offset: number; readonly length: number };
  /** Wire bytes of fields that this version does not know. */
  readonly unknown?: readonly Uint8Array[];
}

/** Largest number of elements and of bytes that can be addressed exactly. */
const limit = Number.MAX_SAFE_INTEGER;

/** The number of elements of a shape. Throws BAD_TENSOR if the product overflows or a dim is negative. */
export function elementCount(dims: readonly number[], name = ''): number {
  let n = 1;
  for (const d of dims) {
    if (!Number.isSafeInteger(d) || d < 0) throw badTensor(name, `dim ${d} is not a non-negative integer`);
    n *= d;
    if (n > limit) throw badTensor(name, `dims [${dims.join(', ')}] overflow`);
  }
  return n;
}

/** The size of raw_data in bytes for this type and shape; sub-byte types are packed and rounded up. */
export function rawByteLength(dtype: DataType, dims: readonly number[], name = ''): number {
  const bits = elementCount(dims, name) * dataTypes[dtype].bits;
  if (bits > limit) throw badTensor(name, `dims [${dims.join(', ')}] overflow`);
  return Math.ceil(bits / 8);
}

/**
 * Small enough to stay in a core's cache between reading and writing: pieces of some MiB take four times the CPU time.
 */
const chunkBytes = 96 << 10;

/**
 * The tensor's raw_data in pieces of at most 4 MiB (a computed tensor chooses its own). Strings have none. Throws
 * PRECISION_RANGE if a rounded tensor has a value out of range for its type.
 */
export function* chunks(tensor: Tensor): Iterable<Uint8Array> {
  const p = tensor.payload;
  if (p.kind === 'inline') {
    if (p.bytes.length > 0) yield p.bytes;
  } else if (p.kind === 'range') {
    for (let at = 0; at < tensor.byteLength; at += chunkBytes)
      yield p.source.read(p.offset + at, Math.min(chunkBytes, tensor.byteLength - at));
  } else if (p.kind === 'computed') yield* p.chunks();
  else if (p.kind === 'rounded') yield* roundedChunks(p.from, halfType(tensor.dtype), p.name);
}

const halfType = (dtype: DataType): HalfType => (dtype === 'bfloat16' ? 'bfloat16' : 'float16');

/** A float32 tensor rounded to a 16-bit type when it is read. */
export const rounded = (from: Tensor, dtype: HalfType, name: string): Tensor => ({
  dtype,
  dims: from.dims,
  byteLength: rawByteLength(dtype, from.dims, name),
  payload: { kind: 'rounded', from, name },
});

/** The same, with every finite value clamped to [-most, most]. */
export function roundedWithin(from: Tensor, dtype: HalfType, name: string, most: number): Tensor {
  const chunks = (): Iterable<Uint8Array> => roundedChunks(from, dtype, name, most);
  return { ...rounded(from, dtype, name), payload: { kind: 'computed', chunks } };
}

function* roundedChunks(from: Tensor, type: HalfType, name: string, most?: number): Iterable<Uint8Array> {
  const bits = new Uint32Array(chunkBytes / 4);
  const bytes = new Uint8Array(bits.buffer);
  const halves = new Uint16Array(bits.length);
  // A piece may end inside an element.
  let filled = 0;
  for (const piece of chunks(from))
    for (let at = 0; at < piece.length; ) {
      const part = piece.subarray(at, at + bytes.length - filled);
      bytes.set(part, filled);
      filled += part.length;
      at += part.length;
      const whole = filled >>> 2;
      if (most !== undefined) keepWithin(new Float32Array(bits.buffer, 0, whole), most);
      const beyond = roundBits(bits, halves, whole, type);
      if (beyond >= 0) throw precisionRange(name, type, new Float32Array(bits.buffer)[beyond] ?? Number.NaN);
      yield new Uint8Array(halves.buffer, 0, 2 * whole);
      bytes.copyWithin(0, 4 * whole, filled);
      filled -= 4 * whole;
    }
}

function keepWithin(numbers: Float32Array, most: number): void {
  for (const [i, x] of numbers.entries())
    if (Math.abs(x) > most && Number.isFinite(x)) numbers[i] = Math.sign(x) * most;
}

/** All of raw_data in one new array: for tensors that are known to be small, such as shapes and axes. */
export function bytesOf(tensor: Tensor): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(tensor.byteLength);
  let at = 0;
  for (const c of chunks(tensor)) {
    out.set(c, at);
    at += c.length;
  }
  return out;
}

/**
 * The elements as numbers (int64 beyond 2^53 is rounded), for small tensors of the ordinary types; undefined for other
 * types.
 */
export function numbersOf(tensor: Tensor): number[] | undefined {
  const { buffer } = bytesOf(tensor);
  switch (tensor.dtype) {
    case 'float32':
      return [...new Float32Array(buffer)];
    case 'float64':
      return [...new Float64Array(buffer)];
    case 'float16':
      return [...new Uint16Array(buffer)].map(halfToNumber);
    case 'bfloat16':
      return [...new Uint16Array(buffer)].map(bfloatToNumber);
    case 'int64':
      return [...new BigInt64Array(buffer)].map(Number);
    case 'uint64':
      return [...new BigUint64Array(buffer)].map(Number);
    case 'int32':
      return [...new Int32Array(buffer)];
    case 'uint32':
      return [...new Uint32Array(buffer)];
    case 'int16':
      return [...new Int16Array(buffer)];
    case 'uint16':
      return [...new Uint16Array(buffer)];
    case 'int8':
      return [...new Int8Array(buffer)];
    case 'uint8':
    case 'bool':
      return [...new Uint8Array(buffer)];
    default:
      return undefined;
  }
}

/** An inline tensor of the given elements. Floats are rounded to the type (ties to even), integers must be in range. */
export function tensorOf(dtype: DataType, dims: readonly number[], values: readonly number[]): Tensor {
  if (values.length !== elementCount(dims))
    throw badTensor('', `${values.length} values for dims [${dims.join(', ')}]`);
  return inlineTensor(dtype, dims, new Uint8Array(encode(dtype, values)));
}

/** An inline tensor over raw_data bytes. */
export function inlineTensor(dtype: DataType, dims: readonly number[], bytes: Uint8Array): Tensor {
  const byteLength = rawByteLength(dtype, dims);
  if (bytes.length !== byteLength) throw badTensor('', `${bytes.length} bytes for ${byteLength}`);
  return { dtype, dims, byteLength, payload: { kind: 'inline', bytes } };
}

/** A float32 tensor over these values, which are not copied. */
export const floatTensor = (dims: readonly number[], values: Float32Array): Tensor =>
  inlineTensor('float32', dims, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));

function encode(dtype: DataType, values: readonly number[]): ArrayBufferLike {
  switch (dtype) {
    case 'float32':
      return new Float32Array(values).buffer;
    case 'float64':
      return new Float64Array(values).buffer;
    case 'float16':
      return new Uint16Array(values.map(numberToHalf)).buffer;
    case 'bfloat16':
      return new Uint16Array(values.map(numberToBfloat)).buffer;
    case 'int64':
      return new BigInt64Array(values.map(BigInt)).buffer;
    case 'uint64':
      return new BigUint64Array(values.map(BigInt)).buffer;
    case 'int32':
      return new Int32Array(values).buffer;
    case 'uint32':
      return new Uint32Array(values).buffer;
    case 'int16':
      return new Int16Array(values).buffer;
    case 'uint16':
      return new Uint16Array(values).buffer;
    case 'int8':
      return new Int8Array(values).buffer;
    case 'uint8':
    case 'bool':
      return new Uint8Array(values).buffer;
    default:
      throw badTensor('', `cannot make a ${dtype} tensor from numbers`);
  }
}
