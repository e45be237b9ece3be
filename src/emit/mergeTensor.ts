/** Replaces the elements of a TensorProto on the wire, in the form it stores them; all other fields are kept. */
import type { Tensor } from '../graph/tensor.ts';
import {
  type Change,
  type ChangedPart,
  type Cursor,
  decodeMessage,
  elementWire,
  encodeMessage,
  fieldBytes,
  fieldStream,
  replacement,
  walkFields,
} from '../proto/index.ts';

const externalDataField = 13;

/** Yields raw_data bytes, the same bytes each time. */
export type RawBytes = () => Iterable<Uint8Array>;

/** Replaces the elements that the message stores itself with `raw`. */
export const replaceElements =
  (tensor: Tensor, raw: RawBytes): Change =>
  (cursor, from, end) => {
    const fields: { number: number; at: number; from: number; end: number; packed: boolean }[] = [];
    walkFields(cursor, from, end, (f) => {
      const element = elementWire.get(f.number);
      if (element !== undefined && (f.wireType === 2 || f.wireType === element))
        fields.push({ number: f.number, at: f.at, from: f.from, end: f.end, packed: f.wireType === 2 });
    });
    const filled = fields.filter((f) => f.end > f.from);
    const [first, ...more] = filled;
    if (first === undefined) return [];
    const varints = elementWire.get(first.number) === 0;
    if (!varints && first.packed && more.length === 0)
      return [{ kind: 'replacement', at: first.from, end: first.end, length: tensor.byteLength, write: raw }];
    // All elements go into one packed field at the place of the first one.
    const write: RawBytes = varints ? () => asVarints(raw()) : raw;
    const length = varints ? lengthOf(write()) : tensor.byteLength;
    const whole = fieldStream(first.number, { length, write });
    return [
      { kind: 'replacement', at: first.at, end: first.end, ...whole },
      ...more.map((f) => replacement(f.at, f.end, new Uint8Array(0))),
    ];
  };

function lengthOf(pieces: Iterable<Uint8Array>): number {
  let n = 0;
  for (const p of pieces) n += p.length;
  return n;
}

/** 16-bit patterns as int32_data stores them: each a varint of at most 3 bytes. */
function* asVarints(raw: Iterable<Uint8Array>): Iterable<Uint8Array> {
  for (const bytes of raw) {
    const out = new Uint8Array((bytes.length / 2) * 3);
    let n = 0;
    for (let i = 0; i < bytes.length; i += 2) {
      let rest = (bytes[i] ?? 0) | ((bytes[i + 1] ?? 0) << 8);
      for (; rest >= 128; rest >>>= 7) out[n++] = (rest & 127) | 128;
      out[n++] = rest;
    }
    yield out.subarray(0, n);
  }
}

/** Points external data to another file and offset. A checksum of the old file is removed. */
export const moveExternal =
  (location: string, offset: number): Change =>
  (cursor, from, end) => {
    const fresh = new Map([
      ['location', location],
      ['offset', String(offset)],
    ]);
    const parts: ChangedPart[] = [];
    let last: { at: number; end: number } | undefined;
    walkFields(cursor, from, end, (f) => {
      if (f.number !== externalDataField || f.wireType !== 2) return;
      const place = { at: f.at, end: f.end };
      const { key, value } = decodeMessage('StringStringEntryProto', read(cursor, f.from, f.end));
      const now = key === 'checksum' ? undefined : (fresh.get(key) ?? value);
      if (now === undefined) parts.push(replacement(place.at, place.end, new Uint8Array(0)));
      else if (now !== value) parts.push(replacement(place.at, place.end, entry(key, now)));
      fresh.delete(key);
      last = place;
    });
    // Values that the source left to their defaults are written only if they differ from the defaults.
    if (offset === 0) fresh.delete('offset');
    for (const [key, value] of fresh) {
      const at = last?.end ?? end;
      parts.push(replacement(at, at, entry(key, value)));
    }
    return parts;
  };

const read = (cursor: Cursor, from: number, end: number): Uint8Array => cursor.source.read(from, end - from).slice();

const entry = (key: string, value: string): Uint8Array =>
  fieldBytes(externalDataField, encodeMessage('StringStringEntryProto', { key, value }));
