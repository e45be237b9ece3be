/**
 * Opens safetensors files (github.com/huggingface/safetensors, README "Format") by their header, and writes them.
 * safetensorsParse.ts parses the header.
 */

import { badSafetensors } from '../errors.ts';
import { openReader, writeFileAtomic } from './files.ts';
import { elementCount, type RawTensor, rawDtypes } from './rawTensor.ts';
import { headerLength, parseHeader, type SafetensorsHeader } from './safetensorsParse.ts';

export { parseSafetensors, type SafetensorsHeader, type TensorRange } from './safetensorsParse.ts';

/** A file whose header has been read and checked; tensors are read on demand. */
export interface SafetensorsFile extends SafetensorsHeader {
  readonly file: string;
  /** Reads the tensor of that name; undefined if there is none. */
  read(name: string): RawTensor | undefined;
  /** Reads `length` bytes of the file from absolute `offset`: parts of a tensor, by its `start`. */
  readBytes(offset: number, length: number): Uint8Array;
  close(): void;
}

/** Opens a file and reads only its header. Errors: FILE_NOT_FOUND, BAD_SAFETENSORS. */
export function openSafetensors(file: string): SafetensorsFile {
  const reader = openReader(file);
  try {
    const length = headerLength(reader.read(0, 8), reader.size, file);
    const header = parseHeader(reader.read(8, length), reader.size, file);
    const readBytes = (offset: number, count: number): Uint8Array => {
      const data = reader.read(offset, count);
      if (data.length < count) throw badSafetensors('the file was truncated while it was being read', file);
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

/**
 * The file as chunks, header first, then each tensor's own bytes. The order is the reference implementation's (larger
 * types first, then names by their UTF-8 bytes), so equal tensors give equal files. Errors: BAD_SAFETENSORS for a
 * tensor that is inconsistent.
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
  // Composed by hand, because an object would move names that look like integers to the front.
  const json = `{${[...header].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  const text = Buffer.from(json);
  const padded = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ');
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  padded.set(text, 8);
  return [padded, ...sorted.map(([, tensor]) => tensor.data)];
}

/** Writes a file atomically. Errors: BAD_SAFETENSORS, WRITE_FAILED. */
export function writeSafetensors(
  file: string,
  tensors: Iterable<readonly [string, RawTensor]>,
  metadata?: Readonly<Record<string, string>>,
): void {
  writeFileAtomic(file, encodeSafetensors(tensors, metadata));
}
