/** Digests that identify the package, the data and the checkpoints of a run. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type FileReader, openReader } from '../../formats/files.ts';
import { type Manifest, manifestText } from '../../formats/manifest.ts';

/** SHA-256, hexadecimal. */
export function digest(chunks: Iterable<Uint8Array>): string {
  const hash = createHash('sha256');
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

/** SHA-256 of a file of any size. Errors: FILE_NOT_FOUND. */
export function fileDigest(file: string): string {
  return withReader(file, (reader) => digest(pieces(reader, 2 ** 22, 2 ** 22)));
}

/**
 * A digest of the manifest, the graphs and the weights. Large files count by their size and by samples: retrained
 * weights differ everywhere, and hashing ten gigabytes would take too long. Errors: FILE_NOT_FOUND.
 */
export function packageDigest(directory: string, manifest: Manifest): string {
  const { graphs, splices = [], source, precision } = manifest;
  const weights = precision === undefined ? (source.data ?? []) : [precision.file];
  const files = [...Object.values(graphs), ...splices.map((s) => s.file), ...weights];
  const names = new Set(files.filter((name) => name !== undefined));
  const parts = [...names].sort().map((name) => `${name} ${sampledDigest(join(directory, name))}\n`);
  return digest([Buffer.from(manifestText(manifest)), Buffer.from(parts.join(''))]);
}

const page = 4096;
const samples = 1024;

function sampledDigest(file: string): string {
  return withReader(file, (reader) => {
    const step = Math.max(page, Math.floor(reader.size / samples));
    return digest([Buffer.from(`${reader.size} `), ...pieces(reader, page, step)]);
  });
}

/** `length` bytes at every `step`th offset. */
function* pieces(reader: FileReader, length: number, step: number): Generator<Uint8Array> {
  for (let at = 0; at < reader.size; at += step) yield reader.read(at, Math.min(length, reader.size - at));
}

function withReader<T>(file: string, use: (reader: FileReader) => T): T {
  const reader = openReader(file);
  try {
    return use(reader);
  } finally {
    reader.close();
  }
}
