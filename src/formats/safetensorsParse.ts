/**
 * Parses the safetensors format (github.com/huggingface/safetensors, README "Format") in memory: 8 bytes little-endian
 * header size, a JSON header, the tensors' bytes. A file is refused unless the tensors cover the rest exactly, without
 * holes or overlaps. Runs in browsers too.
 */
import { badSafetensors } from '../errors.ts';
import { elementCount, isRawDtype, type RawDtype, type RawTensor, rawDtypes } from './rawTensor.ts';

/** The byte range of one tensor; `start` and `end` count from the beginning of the file. */
export interface TensorRange {
  readonly dtype: RawDtype;
  readonly shape: readonly number[];
  readonly start: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** The tensors in the order of the header. */
  readonly tensors: ReadonlyMap<string, TensorRange>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** The limit of the reference implementation. */
const maxHeaderBytes = 100_000_000;

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

/** The header's size, from the first 8 bytes of a file of `size` bytes. Errors: BAD_SAFETENSORS. */
export function headerLength(first: Uint8Array, size: number, file: string | undefined): number {
  if (first.length < 8) throw badSafetensors(`${size} bytes are too few for a safetensors file`, file);
  const length = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    throw badSafetensors(`the header claims ${length} bytes; at most ${maxHeaderBytes} are allowed`, file);
  }
  if (8 + Number(length) > size) {
    throw badSafetensors(`the header claims ${length} bytes, but the file has only ${size}`, file);
  }
  return Number(length);
}

/** Parses the header's JSON and checks it against `size`, the size of the whole file. */
export function parseHeader(bytes: Uint8Array, size: number, file: string | undefined): SafetensorsHeader {
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
