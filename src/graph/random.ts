/**
 * Random numbers that depend only on (seed, key): Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1,
 * 2, 3", SC 2011), a counter-based generator. The 64-bit seed is its key, a 64-bit hash of the string fills the upper
 * half of the counter, blocks are counted in the lower half. So one more layer or epoch changes no other stream.
 */

import { badOption } from '../errors.ts';

export interface Stream {
  /** The next number in [0, 1): k * 2^-24 with integer k, hence exact in float32. */
  uniform(): number;
  /** The next standard normal number (Box-Muller, both halves used), a float64. */
  normal(): number;
  /** The next integer in [0, bound), without bias. bound is an integer in 1 .. 2^32. */
  integer(bound: number): number;
}

/**
 * The stream of (seed, key). Two calls with the same arguments give the same numbers, on every platform.
 * @param seed a safe integer, negative ones included. Throws BAD_OPTION otherwise.
 * @param key the purpose of the numbers: a layer path, `shuffle/epoch 3`, ...
 */
export function stream(seed: number, key: string): Stream {
  if (!Number.isSafeInteger(seed)) throw badOption(`the seed must be an integer between -2^53 and 2^53, not ${seed}`);
  const seedWords = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0] as const;
  const [keyLow, keyHigh] = hash64(key);
  let block = 0;
  const words = new Uint32Array(4);
  let used = 4;
  let spare: number | undefined;

  const next = (): number => {
    if (used === 4) {
      words[0] = block;
      words[1] = Math.floor(block / 2 ** 32);
      words[2] = keyLow;
      words[3] = keyHigh;
      philox4x32(words, seedWords);
      block += 1;
      used = 0;
    }
    return words[used++] ?? 0;
  };

  return {
    uniform: () => (next() >>> 8) * 2 ** -24,
    normal: () => {
      if (spare !== undefined) {
        const value = spare;
        spare = undefined;
        return value;
      }
      const radius = Math.sqrt(-2 * Math.log((next() + 1) * 2 ** -32));
      const angle = 2 * Math.PI * (next() * 2 ** -32);
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
    integer: (bound) => {
      // Words at and above the largest multiple of bound are rejected and drawn again.
      const limit = 2 ** 32 - (2 ** 32 % bound);
      let word = next();
      while (word >= limit) word = next();
      return word % bound;
    },
  };
}

/**
 * One Philox4x32-10 block, in place: 128-bit counter (four words, low one first) and 64-bit key to four uint32 words.
 */
export function philox4x32(words: Uint32Array, key: readonly [number, number]): void {
  let c0 = words[0] ?? 0;
  let c1 = words[1] ?? 0;
  let c2 = words[2] ?? 0;
  let c3 = words[3] ?? 0;
  let k0 = key[0];
  let k1 = key[1];
  for (let round = 0; round < 10; round++) {
    const next0 = multiplyHigh(0xcd9e8d57, c2) ^ c1 ^ k0;
    const next2 = multiplyHigh(0xd2511f53, c0) ^ c3 ^ k1;
    c1 = Math.imul(0xcd9e8d57, c2);
    c3 = Math.imul(0xd2511f53, c0);
    c0 = next0;
    c2 = next2;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

/** The upper 32 bits of the product of two uint32, as an int32, from 16-bit halves: no sum exceeds 32 bits. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const first = Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16);
  const second = Math.imul(aLow, bHigh) + (first & 0xffff);
  return (Math.imul(aHigh, bHigh) + (first >>> 16) + (second >>> 16)) | 0;
}

/** FNV-1a (64 bit) over UTF-8, then MurmurHash3's finalizer: [low, high] words. */
function hash64(text: string): readonly [number, number] {
  let h = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) h = BigInt.asUintN(64, (h ^ BigInt(byte)) * 0x100000001b3n);
  h = BigInt.asUintN(64, (h ^ (h >> 33n)) * 0xff51afd7ed558ccdn);
  h = BigInt.asUintN(64, (h ^ (h >> 33n)) * 0xc4ceb9fe1a85ec53n);
  h ^= h >> 33n;
  return [Number(h & 0xffffffffn), Number(h >> 32n)];
}
