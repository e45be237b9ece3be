/**
 * The wire form of types that were read from a file. Types are immutable objects: a type that is still the same object
 * is written back byte for byte, with denotations and fields that this version does not know.
 */
import type { ValueType } from '../graph/model.ts';

const remembered = new WeakMap<ValueType, Uint8Array>();

export function rememberTypeBytes(type: ValueType, bytes: Uint8Array): void {
  remembered.set(type, bytes);
}

export const typeBytesOf = (type: ValueType): Uint8Array | undefined => remembered.get(type);
