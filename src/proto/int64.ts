/** 64-bit integers between protobufjs (Long), the model (number where safe, bigint beyond) and the wire. */
import Long from 'long';
import { badModel } from '../errors.ts';

/** A number where it is exact, a bigint beyond 2^53. */
export function fromLong(value: Long): number | bigint {
  const n = value.toNumber();
  return Number.isSafeInteger(n) ? n : value.toBigInt();
}

/** Throws BAD_MODEL where the value is not an integer of 64 bits. */
export function toLong(value: number | bigint, what: string): Long {
  if (typeof value === 'number' ? !Number.isSafeInteger(value) : BigInt.asIntN(64, value) !== value)
    throw badModel(`${what}: ${value} is not a 64-bit integer`);
  return typeof value === 'number' ? Long.fromNumber(value) : Long.fromBigInt(value);
}
