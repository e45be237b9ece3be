/**
 * Conversions of numbers and float32 bits to the half-precision types and back: ties to even, subnormals kept. Imports
 * nothing, because the thread that copies weights uses it too. Formats: IEEE 754-2019 binary16; bfloat16 is the upper
 * half of binary32 (https://onnx.ai/onnx/technical/float8.html names both).
 */

export type HalfType = 'float16' | 'bfloat16';

/**
 * Rounds the first `count` elements of `from`, float32 as bits, into `to`, bits of the type. Returns the index of the
 * first finite number beyond the type's range, where rounding stops, or -1. Infinity and NaN are kept.
 */
export function roundBits(from: Uint32Array, to: Uint16Array, count: number, type: HalfType): number {
  return type === 'float16' ? toFloat16(from, to, count) : toBfloat16(from, to, count);
}

const infinity = 0x7f800000;

function toFloat16(from: Uint32Array, to: Uint16Array, count: number): number {
  for (let i = 0; i < count; i++) {
    const bits = from[i] ?? 0;
    const sign = (bits >>> 16) & 0x8000;
    const size = bits & 0x7fffffff;
    if (size >= 0x38800000 && size < 0x477ff000) {
      // Normal: 13 bits of the fraction are dropped, and a carry moves into the exponent by itself.
      to[i] = sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
    } else if (size < 0x38800000) {
      // Below 2^-14: a multiple of 2^-24, whose rounding half is 2^-25.
      const shift = 126 - (size >>> 23);
      if (shift > 24) {
        to[i] = sign;
        continue;
      }
      const fraction = (size & 0x7fffff) | 0x800000;
      const units = fraction >>> shift;
      const rest = fraction - (units << shift);
      const half = 1 << (shift - 1);
      to[i] = sign | (rest > half || (rest === half && (units & 1) === 1) ? units + 1 : units);
    } else if (size >= infinity) to[i] = sign | (size > infinity ? 0x7e00 : 0x7c00);
    else return i;
  }
  return -1;
}

function toBfloat16(from: Uint32Array, to: Uint16Array, count: number): number {
  for (let i = 0; i < count; i++) {
    const bits = from[i] ?? 0;
    const size = bits & 0x7fffffff;
    if (size < 0x7f7f8000) to[i] = (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
    else if (size >= infinity) to[i] = size > infinity ? (bits >>> 16) | 0x40 : bits >>> 16;
    else return i;
  }
  return -1;
}

const scratch = new DataView(new ArrayBuffer(8));

/** Converts IEEE binary16 bits to a number. */
export function halfToNumber(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Converts a number to IEEE binary16 bits, rounded once, ties to even. */
export function numberToHalf(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const a = Math.abs(x);
  if (a >= 65520) return sign | 0x7c00;
  const exponent = a < 2 ** -14 ? -14 : Math.floor(Math.log2(a));
  const unit = 2 ** (exponent - 10);
  const scaled = a / unit;
  let n = Math.floor(scaled);
  const rest = scaled - n;
  if (rest > 0.5 || (rest === 0.5 && n % 2 === 1)) n += 1;
  // A carry out of the fraction moves into the exponent by itself because the fields are adjacent.
  return sign | (a < 2 ** -14 ? n : ((exponent + 15) << 10) + (n - 1024));
}

/** Converts bfloat16 bits to a number. */
export function bfloatToNumber(b: number): number {
  scratch.setUint32(0, b << 16);
  return scratch.getFloat32(0);
}

/** Converts a number to bfloat16 bits, rounded to float32 first and then to nearest even. */
export function numberToBfloat(x: number): number {
  if (Number.isNaN(x)) return 0x7fc0;
  scratch.setFloat32(0, x);
  const bits = scratch.getUint32(0);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
