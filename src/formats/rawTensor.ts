/** A tensor of a data file: little-endian bytes in C order. The type names are those of safetensors. */

import { bfloatToNumber, bytesOf as contentOf, halfToNumber, type Tensor } from '../graph/tensor.ts';

/** Bytes per element, ordered as the safetensors library orders its types (files are laid out in the reverse of it). */
export const rawDtypes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

export type RawDtype = keyof typeof rawDtypes;

export interface RawTensor {
  readonly dtype: RawDtype;
  readonly shape: readonly number[];
  /** elementCount(shape) * rawDtypes[dtype] bytes; not necessarily aligned. */
  readonly data: Uint8Array;
}

export type NumberArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array;
export type NumericArray = NumberArray | BigInt64Array | BigUint64Array;

export function isRawDtype(name: unknown): name is RawDtype {
  return typeof name === 'string' && Object.hasOwn(rawDtypes, name);
}

/** The product of the dims, 1 for a scalar; undefined if it is not a safe integer or a dim is not a size. */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const dim of shape) {
    if (!Number.isSafeInteger(dim) || dim < 0) return undefined;
    count *= dim;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

/**
 * The elements as a typed array, in C order: a view of `data` if its alignment allows, else a copy. F16 and BF16 are
 * converted to float32, BOOL is uint8.
 */
export function elements(tensor: Pick<RawTensor, 'dtype' | 'data'>): NumericArray {
  const { dtype } = tensor;
  const data = aligned(tensor.data, rawDtypes[dtype]);
  const at = [data.buffer, data.byteOffset, data.byteLength / rawDtypes[dtype]] as const;
  switch (dtype) {
    case 'BOOL':
    case 'U8':
      return new Uint8Array(...at);
    case 'I8':
      return new Int8Array(...at);
    case 'I16':
      return new Int16Array(...at);
    case 'U16':
      return new Uint16Array(...at);
    case 'F16':
      return Float32Array.from(new Uint16Array(...at), halfToNumber);
    case 'BF16':
      return Float32Array.from(new Uint16Array(...at), bfloatToNumber);
    case 'I32':
      return new Int32Array(...at);
    case 'U32':
      return new Uint32Array(...at);
    case 'F32':
      return new Float32Array(...at);
    case 'F64':
      return new Float64Array(...at);
    case 'I64':
      return new BigInt64Array(...at);
    case 'U64':
      return new BigUint64Array(...at);
  }
}

/** The elements as float32: no copy for aligned F32, rounded from F64 and the integers. */
export function toFloat32(tensor: Pick<RawTensor, 'dtype' | 'data'>): Float32Array {
  const values = elements(tensor);
  if (values instanceof Float32Array) return values;
  if (values instanceof BigInt64Array || values instanceof BigUint64Array) return Float32Array.from(values, Number);
  return Float32Array.from(values);
}

/** The elements of a float tensor of a model as float32. */
export const floatsOf = (tensor: Tensor): Float32Array =>
  toFloat32({ dtype: floatTypes[tensor.dtype] ?? 'F32', data: contentOf(tensor) });

const floatTypes: Readonly<Partial<Record<Tensor['dtype'], RawDtype>>> = {
  float32: 'F32',
  float64: 'F64',
  float16: 'F16',
  bfloat16: 'BF16',
};

/** The bytes of a typed array, as a view. */
export function bytesOf(values: NumericArray): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function aligned(data: Uint8Array, size: number): Uint8Array {
  return data.byteOffset % size === 0 ? data : new Uint8Array(data); // Buffer.slice would not copy
}
