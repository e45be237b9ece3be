/**
 * The safetensors format (github.com/huggingface/safetensors, README "Format"): 8 bytes little-endian header length, a JSON
 * header, the tensors' bytes. A file is refused unless the tensors cover the rest exactly, without holes or overlaps.
 */

import { badSafetensors } from '../errors.ts';
import { openReader, writeFileAtomic } from './files.ts';
import { elementCount, isRawDtype, type RawDtype, type RawTensor, rawDtypes } from './rawTensor.ts';

/** Where one tensor lies; `start` and `end` count bytes from the beginning of the file. */
export interface TensorRange {
  readonly dtype: RawDtype;
  readonly shape: readonly number[];
  readonly start: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of the header. */
  readonly tensors: ReadonlyMap<string, TensorRange>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** A file whose header has been read and checked; tensors are read when asked for. */
export interface SafetensorsFile extends SafetensorsHeader {
  readonly file: string;
  /** The tensor of that name; undefined where there is none. */
  read(name: string): RawTensor | undefined;
  /** `length` bytes of the file from absolute `offset`: parts of a tensor, by its `start`. */
  readBytes(offset: number, length: number): Uint8Array;
  close(): void;
}

/** The limit of the reference implementation. */
const maxHeaderBytes = 100_000_000;

/** Opens a file and reads its header only. Errors: FILE_NOT_FOUND, BAD_SAFETENSORS. */
export function openSafetensors(file: string): SafetensorsFile {
  const reader = openReader(file);
  try {
    const length = headerLength(reader.read(0, 8), reader.size, file);
    const header = parseHeader(reader.read(8, length), reader.size, file);
    const readBytes = (offset: number, count: number): Uint8Array => {
      const data = reader.read(offset, count);
      if (data.length < count) throw badSafetensors('the file was cut while it was being read', file);
      return data;
    };
    return {
      ...header,
      file,
      read(name) {
        const t = header.tensors.get(name);
        return t && { dtype: t.dtype, shape: t.shape, data: readBytes(t.start, t.end - t.start) };
      },
      readBytes,
      close: reader.close,
    };
  } catch (error) {
    reader.close();
    throw error;
  }
}

/** Tensors and metadata of a file held in memory; `data` are views of `bytes`. Errors: BAD_SAFETENSORS. */
export function parseSafetensors(
  bytes: Uint8Array,
  file?: string,
): { readonly tensors: ReadonlyMap<string, RawTensor>; readonly metadata: ReadonlyMap<string, string> } {
  const length = headerLength(bytes.subarray(0, 8), bytes.length, file);
  const header = parseHeader(bytes.subarray(8, 8 + length), bytes.length, file);
  const tensors = new Map<string, RawTensor>();
  for (const [name, { dtype, shape, start, end }] of header.tensors) {
    tensors.set(name, { dtype, shape, data: bytes.subarray(start, end) });
  }
  return { tensors, metadata: header.metadata };
}

/**
 * The file as chunks, header first, then each tensor's own bytes. The order is the reference implementation's: larger types
 * first, then names by their UTF-8 bytes; so equal tensors give equal files. Errors: BAD_SAFETENSORS for a tensor that is
 * inconsistent.
 */
export function encodeSafetensors(
  tensors: Iterable<readonly [string, RawTensor]>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Uint8Array[] {
  const rank = Object.keys(rawDtypes);
  const sorted = [...tensors].sort(
    ([a, x], [b, y]) => rank.indexOf(y.dtype) - rank.indexOf(x.dtype) || Buffer.compare(Buffer.from(a), Buffer.from(b)),
  );
  const header = new Map<string, unknown>();
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0) header.set('__metadata__', Object.fromEntries(keys.map((key) => [key, metadata[key]])));
  let offset = 0;
  for (const [name, { dtype, shape, data }] of sorted) {
    if (name === '__metadata__' || header.has(name)) throw badSafetensors(`two tensors cannot both be named "${name}"`);
    if ((elementCount(shape) ?? Number.NaN) * rawDtypes[dtype] !== data.length) {
      throw badSafetensors(`tensor "${name}" has ${data.length} bytes, not those of ${dtype} [${shape.join(', ')}]`);
    }
    header.set(name, { dtype, shape, data_offsets: [offset, offset + data.length] });
    offset += data.length;
  }
  // Written by hand: an object would move names that look like integers to the front.
  const json = `{${[...header].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  const text = Buffer.from(json);
  const padded = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ');
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  padded.set(text, 8);
  return [padded, ...sorted.map(([, tensor]) => tensor.data)];
}

/** Writes a file, whole or not at all. Errors: BAD_SAFETENSORS, WRITE_FAILED. */
export function writeSafetensors(
  file: string,
  tensors: Iterable<readonly [string, RawTensor]>,
  metadata?: Readonly<Record<string, string>>,
): void {
  writeFileAtomic(file, encodeSafetensors(tensors, metadata));
}

function headerLength(first: Uint8Array, size: number, file: string | undefined): number {
  if (first.length < 8) throw badSafetensors(`${size} bytes are too few for a safetensors file`, file);
  const length = Buffer.from(first).readBigUInt64LE();
  if (length > BigInt(maxHeaderBytes)) {
    throw badSafetensors(`the header claims ${length} bytes; at most ${maxHeaderBytes} are allowed`, file);
  }
  if (8 + Number(length) > size) {
    throw badSafetensors(`the header claims ${length} bytes, but the file has only ${size}`, file);
  }
  return Number(length);
}

/** Checks the header's JSON against `size`, the length of the whole file. */
function parseHeader(bytes: Uint8Array, size: number, file: string | undefined): SafetensorsHeader {
  const fail = (reason: string): Error => badSafetensors(reason, file);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw fail('the header is not JSON');
  }
  if (!isRecord(json)) throw fail('the header is not a JSON object');
  const base = 8 + bytes.length;
  const metadata = new Map<string, string>();
  const tensors = new Map<string, TensorRange>();
  for (const [name, entry] of Object.entries(json)) {
    if (!isRecord(entry)) throw fail(`the header's entry "${name}" is not an object`);
    if (name === '__metadata__') {
      for (const [key, value] of Object.entries(entry)) {
        if (typeof value !== 'string') throw fail(`metadata "${key}" is not a string`);
        metadata.set(key, value);
      }
      continue;
    }
    const { dtype, shape, data_offsets: offsets } = entry;
    if (!isRawDtype(dtype)) throw fail(`tensor "${name}" has the unknown type ${JSON.stringify(dtype)}`);
    const count = isSizes(shape) ? elementCount(shape) : undefined;
    if (!isSizes(shape) || count === undefined) throw fail(`tensor "${name}" has no valid shape`);
    if (!isSizes(offsets) || offsets.length !== 2) throw fail(`tensor "${name}" has no valid data_offsets`);
    const [start = 0, end = 0] = offsets;
    const length = count * rawDtypes[dtype];
    if (end - start !== length) {
      throw fail(`tensor "${name}" has ${end - start} bytes, but ${dtype} [${shape.join(', ')}] takes ${length}`);
    }
    tensors.set(name, { dtype, shape, start: base + start, end: base + end });
  }
  let at = base;
  for (const [name, { start, end }] of [...tensors].sort(([, a], [, b]) => a.start - b.start || a.end - b.end)) {
    if (start !== at) throw fail(`tensor "${name}" ${start < at ? 'overlaps another one' : 'leaves a hole before it'}`);
    at = end;
  }
  if (at !== size) throw fail(`the tensors end at byte ${at}, the file at ${size}`);
  return { tensors, metadata };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
