/**
 * Protobuf's wire format over a ByteSource, read lazily: fields are visited with their places, and unused fields are
 * skipped without being read. Source: https://protobuf.dev/programming-guides/encoding/
 */
import { badProtobuf } from '../errors.ts';
import type { ByteSource } from '../graph/tensor.ts';

/**
 * The deepest nesting of messages. Protobuf's own readers stop at 100 (CodedInputStream), so nothing deeper could be
 * loaded anyway.
 */
export const maxDepth = 100;

/** Protobuf's own limit for a message. */
export const maxFileBytes = 2 ** 31 - 1;

/**
 * One field on the wire; `at` is the offset of its tag, `from` to `end` its value (the content, for a length-delimited
 * field).
 */
export interface WireField {
  readonly number: number;
  readonly wireType: number;
  readonly at: number;
  readonly from: number;
  readonly end: number;
}

/** Reads varints at a position of a source, through a window that moves with it. */
export interface Cursor {
  readonly source: ByteSource;
  position: number;
  byte(): number;
  /** A varint of at most 10 bytes; exact up to 2^53, which tags and sizes stay below. */
  varint(): number;
}

/**
 * Window of a cursor: large enough to read a graph's own bytes in few reads, small compared to a payload that is
 * skipped.
 */
const windowBytes = 64 << 10;

const cutShort = 'the file was cut short: download, copy or export it again';

export function cursorOver(source: ByteSource): Cursor {
  let window: Uint8Array = new Uint8Array(0);
  let start = 0;
  const cursor: Cursor = {
    source,
    position: 0,
    byte() {
      let i = cursor.position - start;
      if (i < 0 || i >= window.length) {
        if (cursor.position >= source.size)
          throw badProtobuf(source.name, `it ends at byte ${source.size}, within a field`, cutShort);
        start = cursor.position;
        // A copy, because sources may reuse their buffer at the next read.
        window = source.read(start, Math.min(windowBytes, source.size - start)).slice();
        i = 0;
      }
      cursor.position++;
      return window[i] ?? 0;
    },
    varint() {
      const at = cursor.position;
      let value = 0;
      let unit = 1;
      for (let i = 0; i < 10; i++) {
        const b = cursor.byte();
        value += (b & 127) * unit;
        if (b < 128) return value;
        unit *= 128;
      }
      throw badProtobuf(source.name, `a varint longer than 10 bytes at byte ${at}`);
    },
  };
  return cursor;
}

/**
 * Visits the fields of the message in [from, end). The visitor may walk inside a field with the same cursor. The record
 * passed to it is reused for the next field. Groups are visited as one field. Errors: BAD_PROTOBUF.
 */
export function walkFields(cursor: Cursor, from: number, end: number, visit: (field: WireField) => void): void {
  const { name } = cursor.source;
  const field = { number: 0, wireType: 0, at: 0, from: 0, end: 0 };
  cursor.position = from;
  while (cursor.position < end) {
    field.at = cursor.position;
    readTag(cursor, field);
    field.from = cursor.position;
    if (field.wireType === 2) {
      const length = cursor.varint();
      field.from = cursor.position;
      field.end = field.from + length;
    } else if (field.wireType === 3) {
      skipGroup(cursor, field.number, end);
      field.end = cursor.position;
    } else field.end = skipScalar(cursor, field.wireType);
    if (field.end > end)
      throw badProtobuf(
        name,
        `field ${field.number} at byte ${field.at} reaches to byte ${field.end}, but ${end === cursor.source.size ? 'the file' : 'its message'} ends at byte ${end}`,
        end === cursor.source.size ? cutShort : undefined,
      );
    visit(field);
    cursor.position = field.end;
  }
}

function readTag(cursor: Cursor, into: { number: number; wireType: number }): void {
  const at = cursor.position;
  const tag = cursor.varint();
  into.wireType = tag % 8;
  into.number = Math.floor(tag / 8);
  if (into.number === 0 || tag >= 2 ** 32 || into.wireType > 5)
    throw badProtobuf(cursor.source.name, `no field can start at byte ${at}`);
}

function skipScalar(cursor: Cursor, wireType: number): number {
  if (wireType === 0) {
    cursor.varint();
    return cursor.position;
  }
  if (wireType === 1) return cursor.position + 8;
  if (wireType === 5) return cursor.position + 4;
  throw badProtobuf(cursor.source.name, `a group without a start ends at byte ${cursor.position}`);
}

/** Skips a group (a deprecated encoding that unknown fields may still have) whose start tag was just read. */
function skipGroup(cursor: Cursor, number: number, end: number): void {
  const open = [number];
  const tag = { number: 0, wireType: 0 };
  while (open.length > 0) {
    if (cursor.position >= end) throw badProtobuf(cursor.source.name, `a group does not end before byte ${end}`);
    readTag(cursor, tag);
    if (tag.wireType === 3) {
      open.push(tag.number);
      if (open.length > maxDepth) throw badProtobuf(cursor.source.name, `groups are nested deeper than ${maxDepth}`);
    } else if (tag.wireType === 4) {
      if (open.pop() !== tag.number) throw badProtobuf(cursor.source.name, `groups overlap at byte ${cursor.position}`);
    } else if (tag.wireType === 2) {
      const length = cursor.varint();
      cursor.position += length;
    } else cursor.position = skipScalar(cursor, tag.wireType);
  }
}

/** Bytes of a varint. `value` is a non-negative safe integer. */
export function varintBytes(value: number): Uint8Array {
  if (value < 128) return Uint8Array.of(value);
  const out: number[] = [];
  let rest = value;
  while (rest >= 128) {
    out.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
  return Uint8Array.from(out);
}

/** The tag of a field. */
export const tagBytes = (field: number, wireType: number): Uint8Array => varintBytes(field * 8 + wireType);

/** A length-delimited field around the given value. */
export function fieldBytes(field: number, value: Uint8Array): Uint8Array {
  const tag = tagBytes(field, 2);
  const length = varintBytes(value.length);
  const out = new Uint8Array(tag.length + length.length + value.length);
  out.set(tag);
  out.set(length, tag.length);
  out.set(value, tag.length + length.length);
  return out;
}
