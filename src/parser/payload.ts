/**
 * Converts the elements of a TensorProto to raw_data bytes. raw_data and packed floats are ranges of the file; integers
 * in varints are decoded when they are read. Packing: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 * (TensorProto).
 */
import { badTensor } from '../errors.ts';
import type { ByteSource, DataType, Payload } from '../graph/tensor.ts';
import { payloadFieldNames as fieldNames, rawField, typedFieldOf } from '../proto/index.ts';
import type { Segment } from './skim.ts';

/** A range of payload whose source bytes are the tensor's raw_data bytes. */
export interface Verbatim {
  readonly offset: number;
  readonly bytes: number;
  /** The offset in the tensor's raw_data. */
  readonly at: number;
}

export interface Elements {
  readonly payload: Payload;
  /** Ranges of the source that are raw_data bytes unchanged. */
  readonly verbatim: readonly Verbatim[];
}

/**
 * The elements of a tensor with segments, `byteLength` bytes of raw_data. Reads varint payloads once, to count them.
 * Errors: BAD_TENSOR.
 */
export function elementsOf(
  source: ByteSource,
  name: string,
  dtype: DataType,
  byteLength: number,
  segments: readonly Segment[],
): Elements {
  const filled = segments.filter((s) => s.end > s.from);
  const fields = new Set(filled.map((s) => s.field));
  if (fields.size > 1)
    throw badTensor(
      name,
      `it has elements in ${[...fields].map((f) => fieldNames[f]).join(' and ')}, only one may be used`,
    );
  const field = filled[0]?.field ?? rawField;
  if (dtype === 'string') {
    if (filled.length > 0) throw badTensor(name, `strings are not allowed in ${fieldNames[field]}`);
    return { payload: { kind: 'strings', values: [] }, verbatim: [] };
  }
  const mustFit = (have: number, unit: string): void => {
    if (have !== byteLength)
      throw badTensor(name, `${fieldNames[field]} has ${unit}, but its dims require ${byteLength} bytes`);
  };
  if (field === rawField) {
    if (filled.length > 1) throw badTensor(name, 'raw_data occurs twice');
    const [only] = filled;
    const have = only === undefined ? 0 : only.end - only.from;
    mustFit(have, `${have} bytes`);
    return ranges(source, byteLength, filled);
  }
  const storage = typedFieldOf(dtype);
  if (storage === undefined || storage.field !== field)
    throw badTensor(name, `${dtype} elements are not allowed in ${fieldNames[field]}`);
  if (storage.fixed > 0) {
    if (filled.some((s) => !s.tagged && (s.end - s.from) % storage.fixed !== 0))
      throw badTensor(name, `${fieldNames[field]} is truncated within an element`);
    const have = filled.reduce(
      (n, s) => n + ((s.end - s.from) / (storage.fixed + (s.tagged ? 1 : 0))) * storage.fixed,
      0,
    );
    mustFit(have, `${have} bytes`);
    if (filled.every((s) => !s.tagged)) return ranges(source, byteLength, filled);
    return computed(() => fixedElements(source, filled, storage.fixed));
  }
  const count = filled.reduce((n, s) => n + countVarints(source, name, s), 0);
  mustFit(count * storage.bytes, `${count} elements (${count * storage.bytes} bytes)`);
  return computed(() => varintElements(source, filled, storage.bytes, byteLength));
}

const computed = (chunks: () => Iterable<Uint8Array>): Elements => ({
  payload: { kind: 'computed', chunks },
  verbatim: [],
});

function ranges(source: ByteSource, byteLength: number, segments: readonly Segment[]): Elements {
  let at = 0;
  const verbatim = segments.map((s) => {
    const v = { offset: s.from, bytes: s.end - s.from, at };
    at += v.bytes;
    return v;
  });
  const [only] = verbatim;
  if (verbatim.length <= 1 && byteLength > 0 && only !== undefined)
    return { payload: { kind: 'range', source, offset: only.offset }, verbatim };
  return { payload: { kind: 'computed', chunks: () => pieces(source, segments) }, verbatim };
}

const step = 1 << 20;

function* pieces(source: ByteSource, segments: readonly Segment[]): Iterable<Uint8Array> {
  for (const s of segments)
    for (let at = s.from; at < s.end; at += step) yield source.read(at, Math.min(step, s.end - at));
}

function* fixedElements(source: ByteSource, segments: readonly Segment[], width: number): Iterable<Uint8Array> {
  for (const s of segments) {
    if (!s.tagged) {
      yield* pieces(source, [s]);
      continue;
    }
    const unit = (width + 1) * Math.floor(step / (width + 1));
    for (let at = s.from; at < s.end; at += unit) {
      const bytes = source.read(at, Math.min(unit, s.end - at));
      const out = new Uint8Array((bytes.length / (width + 1)) * width);
      for (let i = 1, o = 0; i < bytes.length; i += width + 1, o += width) out.set(bytes.subarray(i, i + width), o);
      yield out;
    }
  }
}

/** Counts the varints of a segment. Errors: BAD_TENSOR if one is truncated or longer than 10 bytes. */
function countVarints(source: ByteSource, name: string, s: Segment): number {
  let count = 0;
  let length = 0;
  // Each varint of a tagged segment was already read by the walk that made the segment; a tag counts as one more
  // varint.
  for (const bytes of pieces(source, [s]))
    for (const b of bytes) {
      length++;
      if (b < 128) {
        count++;
        length = 0;
      } else if (length >= 10) throw badTensor(name, 'an element is longer than 10 bytes');
    }
  if (length > 0) throw badTensor(name, 'its last element is truncated');
  return s.tagged ? count / 2 : count;
}

/** Each varint as `width` little-endian bytes, with higher bits dropped as in a narrowing cast of C++. */
function* varintElements(
  source: ByteSource,
  segments: readonly Segment[],
  width: number,
  byteLength: number,
): Iterable<Uint8Array> {
  const out = new Uint8Array(Math.min(step, byteLength));
  const view = new DataView(out.buffer);
  let filled = 0;
  for (const s of segments) {
    let low = 0;
    let high = 0;
    let index = 0;
    let isTag = s.tagged;
    for (const bytes of pieces(source, [s])) {
      for (const b of bytes) {
        const bits = b & 127;
        const shift = index * 7;
        if (shift < 28) low |= bits << shift;
        else if (shift === 28) {
          low |= bits << 28;
          high |= bits >> 4;
        } else high |= bits << (shift - 32);
        index++;
        if (b >= 128) continue;
        if (!isTag) {
          if (filled + width > out.length) {
            yield out.subarray(0, filled);
            filled = 0;
          }
          if (width === 1) out[filled] = low & 255;
          else if (width === 2) view.setUint16(filled, low & 0xffff, true);
          else view.setInt32(filled, low, true);
          if (width === 8) view.setInt32(filled + 4, high, true);
          filled += width;
        }
        isTag = s.tagged && !isTag;
        low = 0;
        high = 0;
        index = 0;
      }
    }
  }
  if (filled > 0) yield out.subarray(0, filled);
}
