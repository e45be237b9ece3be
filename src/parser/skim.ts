/**
 * Walks a model's wire bytes and cuts out every tensor's payload, wherever tensors occur: the rest is as large as the
 * graph and is decoded by protobufjs; the payloads' places are recorded. Payloads are never read here.
 */
import { badModel, badProtobuf } from '../errors.ts';
import type { ByteSource } from '../graph/tensor.ts';
import {
  type ChangedMessage,
  type ChangedPart,
  type Cursor,
  cursorOver,
  cutField,
  elementWire,
  maxDepth,
  maxFileBytes,
  pieceBytes,
  replacement,
  rewrite,
  tagBytes,
  varintBytes,
  type WireField,
  walkFields,
} from '../proto/index.ts';

/** A range of payload on the wire. A tensor may have several in sequence. */
export interface Segment {
  /** raw_data 9, float_data 4, int32_data 5, int64_data 7, double_data 10, uint64_data 11. */
  readonly field: number;
  /** The offset of its first byte, the tag, in the source. */
  readonly at: number;
  /** The offset of the elements' first byte. */
  readonly from: number;
  readonly end: number;
  /** Consecutive unpacked elements, each after a tag of one byte; `from` is then the first tag. */
  readonly tagged: boolean;
}

export interface Skimmed {
  /** The source without tensor payloads; each TensorProto has its number (wire order) in `cutField` instead. */
  readonly reduced: Uint8Array;
  /** The payload of each TensorProto, by that number. */
  readonly payloads: readonly (readonly Segment[])[];
}

/** A larger graph without its weights is refused as implausible; decoding it would take many times its size. */
const maxGraphBytes = 256 << 20;

type Kind = 'model' | 'function' | 'graph' | 'node' | 'attribute' | 'sparse' | 'tensor';

/** Fields that contain tensors, and whether the field is singular. */
const inner: Readonly<Record<Kind, ReadonlyMap<number, { readonly kind: Kind; readonly single: boolean }>>> = {
  model: new Map([
    [7, { kind: 'graph', single: true }],
    [25, { kind: 'function', single: false }],
  ]),
  function: new Map([
    [7, { kind: 'node', single: false }],
    [11, { kind: 'attribute', single: false }],
  ]),
  graph: new Map([
    [1, { kind: 'node', single: false }],
    [5, { kind: 'tensor', single: false }],
    [15, { kind: 'sparse', single: false }],
  ]),
  node: new Map([[5, { kind: 'attribute', single: false }]]),
  attribute: new Map([
    [5, { kind: 'tensor', single: true }],
    [6, { kind: 'graph', single: true }],
    [10, { kind: 'tensor', single: false }],
    [11, { kind: 'graph', single: false }],
    [22, { kind: 'sparse', single: true }],
    [23, { kind: 'sparse', single: false }],
  ]),
  sparse: new Map([
    [1, { kind: 'tensor', single: true }],
    [2, { kind: 'tensor', single: true }],
  ]),
  tensor: new Map(),
};

/**
 * Separates a model's payloads from the rest. Errors: BAD_PROTOBUF, and BAD_MODEL for a graph that is too large without
 * its weights.
 */
export function skim(source: ByteSource): Skimmed {
  if (source.size === 0) throw badProtobuf(source.name, 'the file is empty', 'export or download it again');
  if (source.size > maxFileBytes)
    throw badProtobuf(source.name, `it has ${source.size} bytes, more than the 2 GiB that a protobuf can have`);
  const cursor = cursorOver(source);
  const payloads: (readonly Segment[])[] = [];

  const message = (kind: Kind, from: number, end: number, depth: number): ChangedPart[] => {
    if (kind === 'tensor') return tensor(cursor, from, end, payloads);
    if (depth > maxDepth) throw badProtobuf(source.name, `messages are nested deeper than ${maxDepth}`);
    const parts: ChangedPart[] = [];
    const seen = new Set<number>();
    walkFields(cursor, from, end, (field) => {
      const next = field.wireType === 2 ? inner[kind].get(field.number) : undefined;
      if (next === undefined) return;
      if (next.single && seen.has(field.number))
        throw badProtobuf(source.name, `field ${field.number} of a ${kind} occurs twice, at byte ${field.at}`);
      seen.add(field.number);
      const place = { field: field.number, at: field.at, from: field.from, end: field.end };
      const inside = message(next.kind, place.from, place.end, depth + 1);
      const changed: ChangedMessage = { kind: 'message', ...place, parts: inside };
      if (inside.length > 0) parts.push(changed);
    });
    return parts;
  };

  const pieces = rewrite(0, source.size, message('model', 0, source.size, 0));
  const size = pieceBytes(pieces);
  if (size > maxGraphBytes)
    throw badModel(`the graph takes ${size} bytes without its weights, the limit is ${maxGraphBytes}`, {
      file: source.name,
    });
  return { reduced: assemble(source, pieces, size), payloads };
}

/** Removes the payload fields of a TensorProto and appends its number. */
function tensor(cursor: Cursor, from: number, end: number, payloads: (readonly Segment[])[]): ChangedPart[] {
  const segments: Segment[] = [];
  const parts: ChangedPart[] = [];
  walkFields(cursor, from, end, (field) => {
    if (field.number === cutField)
      throw badProtobuf(cursor.source.name, `a tensor has field ${cutField}, a reserved number`);
    const element = elementWire.get(field.number);
    if (element === undefined) return;
    if (field.wireType === 2) segments.push(segment(field, field.from, false));
    else if (field.wireType === element) {
      const last = segments.at(-1);
      // Only a one-byte tag can later be distinguished from the elements; any other element is recorded as a packed run
      // of one.
      const tagged = field.from - field.at === 1;
      if (tagged && last?.tagged === true && last.field === field.number && last.end === field.at)
        segments[segments.length - 1] = { ...last, end: field.end };
      else segments.push(segment(field, tagged ? field.at : field.from, tagged));
    }
  });
  for (const s of segments) parts.push(replacement(s.at, s.end, new Uint8Array(0)));
  const number = varintBytes(payloads.length);
  const tag = tagBytes(cutField, 0);
  parts.push(replacement(end, end, Uint8Array.from([...tag, ...number])));
  payloads.push(segments);
  return parts;
}

const segment = (f: WireField, from: number, tagged: boolean): Segment => ({
  field: f.number,
  at: f.at,
  from,
  end: f.end,
  tagged,
});

function assemble(source: ByteSource, pieces: ReturnType<typeof rewrite>, size: number): Uint8Array {
  const out = new Uint8Array(size);
  const window = readThrough(source);
  let at = 0;
  for (const p of pieces) {
    if (p.kind === 'copy') window(p.offset, p.length, out, at);
    else {
      let done = at;
      for (const bytes of p.write()) {
        out.set(bytes, done);
        done += bytes.length;
      }
    }
    at += p.length;
  }
  return out;
}

/** Copies ascending ranges, most of them short and close together, with few reads. */
function readThrough(source: ByteSource): (offset: number, length: number, into: Uint8Array, at: number) => void {
  const step = 64 << 10;
  let window: Uint8Array = new Uint8Array(0);
  let start = 0;
  return (offset, length, into, at) => {
    let done = 0;
    while (done < length) {
      const from = offset + done;
      if (from < start || from >= start + window.length) {
        start = from;
        window = source.read(start, Math.min(step, source.size - start));
      }
      const bytes = window.subarray(from - start, Math.min(from - start + length - done, window.length));
      into.set(bytes, at + done);
      done += bytes.length;
    }
  };
}
