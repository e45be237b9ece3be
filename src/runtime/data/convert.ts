/** Numbers of a data file as elements of a tensor type: exact for integers, rounded for floats, never out of range. */

import type { NumericArray } from '../../formats/rawTensor.ts';
import { numberToHalf } from '../../graph/tensor.ts';

/** Types of tensors that onnxruntime-node accepts as feeds. */
export type ElementType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'bool';

const limits: Readonly<Partial<Record<ElementType, readonly [number, number]>>> = {
  int8: [-128, 127],
  int16: [-32768, 32767],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint8: [0, 255],
  uint16: [0, 65535],
  uint32: [0, 2 ** 32 - 1],
};

const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;

export function isElementType(type: string): type is ElementType {
  return Object.hasOwn(arrays, type);
}

/** Zeros of a type: float16 as uint16 bit patterns, bool as uint8. */
export function newArray(type: ElementType, length: number): NumericArray {
  return new arrays[type](length);
}

/** Makes an error from a reason, the index of the element concerned, and a hint. */
export type FailAt = (reason: string, index?: number, hint?: string) => Error;

/**
 * The values as elements of `type`. Booleans count as 0 and 1, null as NaN in float types.
 * @param failAt makes the error for a value that is not a number, not an integer, out of range, or an integer beyond
 * 2^53 that JSON has already rounded.
 */
export function convert(type: ElementType, values: ArrayLike<unknown>, failAt: FailAt): NumericArray {
  const out = newArray(type, values.length);
  let at = 0;
  const fail = (reason: string): Error => failAt(reason, at);
  if (out instanceof BigInt64Array || out instanceof BigUint64Array) {
    const [low, high] = type === 'int64' ? [-(2n ** 63n), 2n ** 63n - 1n] : [0n, 2n ** 64n - 1n];
    for (; at < out.length; at++) {
      const value = integer(values[at], type, fail);
      if (value < low || value > high) throw fail(`${value} is out of range for ${type}`);
      out[at] = value;
    }
    return out;
  }
  const element = elementOf(type, fail);
  for (; at < out.length; at++) out[at] = element(values[at]);
  return out;
}

/** The element for a value, as the number to store. */
function elementOf(type: ElementType, fail: (reason: string) => Error): (value: unknown) => number {
  switch (type) {
    case 'float64':
      return (value) => float(value, fail);
    case 'float32':
      return (value) => {
        const exact = float(value, fail);
        if (Number.isFinite(exact) && !Number.isFinite(Math.fround(exact)))
          throw fail(`${exact} is out of range for float32`);
        return exact;
      };
    case 'float16':
      return (value) => {
        const exact = float(value, fail);
        if (Number.isFinite(exact) && Math.abs(exact) >= 65520) throw fail(`${exact} is out of range for float16`);
        return numberToHalf(exact);
      };
    case 'bool':
      return (value) => {
        const bit = number(value, fail);
        if (bit !== 0 && bit !== 1) throw fail(`${bit} is not a bool`);
        return bit;
      };
    default: {
      const [low, high] = limits[type] ?? [0, 0];
      return (value) => {
        const exact = number(value, fail);
        if (!Number.isInteger(exact)) throw fail(`${exact} is not an integer`);
        if (exact < low || exact > high) throw fail(`${exact} is out of range for ${type}`);
        return exact;
      };
    }
  }
}

/** null is NaN in JSON and Parquet. */
const float = (value: unknown, fail: (reason: string) => Error): number =>
  value === null || value === undefined ? Number.NaN : number(value, fail);

function number(value: unknown, fail: (reason: string) => Error): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint' || typeof value === 'boolean') return Number(value);
  throw fail(`${describe(value)} is not a number`);
}

function integer(value: unknown, type: ElementType, fail: (reason: string) => Error): bigint {
  if (typeof value === 'bigint') return value;
  const exact = number(value, fail);
  if (!Number.isInteger(exact)) throw fail(`${exact} is not an integer`);
  if (!Number.isSafeInteger(exact)) throw fail(`${exact} is too large to be an exact ${type} here (beyond 2^53)`);
  return BigInt(exact);
}

function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}
