/**
 * The source file without the bytes that the package stores anyway: `source.skeleton` is its wire bytes without the
 * ranges that are in the package's weight files, and the splices record where each range came from. Put together they
 * equal the source byte for byte, so that a merge can write everything it does not change verbatim.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { badPackage, LoraifyError, writeFailed } from '../errors.ts';
import { type FileReader, openReader } from '../formats/files.ts';
import type { ByteSource } from '../graph/tensor.ts';
import type { ModelSource } from '../proto/index.ts';
import { reason } from './outputs.ts';
import { type Part, readParts } from './parts.ts';
import { rangeKey, type WeightsPlan } from './weights.ts';

export const skeletonName = 'source.skeleton';

/**
 * `bytes` bytes of `file` (of the package) from `offset` belong at byte `at` of the skeleton. Without `file` they are
 * only in the source, at its `offset`: the package has them rounded.
 */
export interface Splice {
  readonly at: number;
  readonly bytes: number;
  readonly file?: string | undefined;
  readonly offset: number;
}

export interface Skeleton {
  /** SHA-256 of the skeleton file, hexadecimal. */
  readonly sha256: string;
  /** The splices in ascending order of `at`. */
  readonly splices: readonly Splice[];
}

const step = 1 << 20;

/** Writes `folder`/source.skeleton. Weights that the plan does not store are part of it. Errors: WRITE_FAILED. */
export function writeSkeleton(source: ModelSource, plan: WeightsPlan, folder: string): Skeleton {
  const { bytes } = source;
  const splices: Splice[] = [];
  const hash = createHash('sha256');
  const to = join(folder, skeletonName);
  try {
    const fd = openSync(to, 'wx');
    try {
      let written = 0;
      const copy = (from: number, end: number): void => {
        for (let at = from; at < end; at += step) {
          const chunk = bytes.read(at, Math.min(step, end - at));
          hash.update(chunk);
          let done = 0;
          while (done < chunk.length) done += writeSync(fd, chunk, done);
        }
        written += Math.max(0, end - from);
      };
      let at = 0;
      for (const s of source.stretches) {
        const key = rangeKey(bytes.name, s.offset, s.tensor.byteLength);
        const place = plan.placements.get(s.tensor) ?? (s.at === 0 ? plan.ranges.get(key) : undefined);
        if (place === undefined && !(plan.rounded && s.tensor.dtype === 'float32')) continue;
        copy(at, s.offset);
        splices.push(
          place === undefined
            ? { at: written, bytes: s.bytes, offset: s.offset }
            : { at: written, bytes: s.bytes, file: place.location, offset: place.offset + s.at },
        );
        at = s.offset + s.bytes;
      }
      copy(at, bytes.size);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof LoraifyError) throw error;
    throw writeFailed(to, reason(error));
  }
  return { sha256: hash.digest('hex'), splices };
}

export interface SplicedSource extends ByteSource {
  close(): void;
}

/**
 * The original source file, read from a package. `absent` makes the error for a read of bytes that the package has only
 * rounded. Errors: BAD_PACKAGE if the skeleton was changed or a splice is outside the package's files.
 */
export function splicedSource(
  folder: string,
  skeleton: Skeleton,
  absent: () => Error = () => badPackage('it does not contain all bytes of its source', folder),
): SplicedSource {
  const readers = new Map<string, FileReader>();
  const close = (): void => {
    for (const r of readers.values()) r.close();
  };
  const missing: Part['file'] = {
    size: Number.MAX_SAFE_INTEGER,
    absent: true,
    read: (): never => {
      throw absent();
    },
  };
  const open = (name: string | undefined): Part['file'] => {
    if (name === undefined) return missing;
    const found = readers.get(name);
    if (found !== undefined) return found;
    if (name.split(/[/\\]/).includes('..') || /^([/\\]|[A-Za-z]:)/.test(name))
      throw badPackage(`"${name}" is not a file of the package`, folder);
    const made = openReader(join(folder, name));
    readers.set(name, made);
    return made;
  };
  try {
    const base = open(skeletonName);
    if (hashOf(base) !== skeleton.sha256) throw badPackage(`${skeletonName} was changed`, folder);
    const parts = layOut(base, skeleton.splices, open, folder);
    const last = parts.at(-1);
    return {
      name: join(folder, skeletonName),
      size: last === undefined ? 0 : last.start + last.length,
      read: (offset, length) => readParts(parts, offset, length),
      close,
    };
  } catch (error) {
    close();
    if (error instanceof LoraifyError && error.code === 'FILE_NOT_FOUND') throw badPackage(error.message, folder);
    throw error;
  }
}

function layOut(
  base: Part['file'],
  splices: readonly Splice[],
  open: (name: string | undefined) => Part['file'],
  folder: string,
): Part[] {
  const parts: Part[] = [];
  let start = 0;
  const add = (file: Part['file'], offset: number, length: number): void => {
    if (length > 0) parts.push({ start, length, file, offset });
    start += length;
  };
  let at = 0;
  for (const s of splices) {
    const file = open(s.file);
    if (s.at < at || s.at > base.size || s.offset + s.bytes > file.size)
      throw badPackage(`${s.bytes} bytes of "${s.file}" at ${s.offset} cannot be part of the source`, folder);
    add(base, at, s.at - at);
    add(file, s.offset, s.bytes);
    at = s.at;
  }
  add(base, at, base.size - at);
  return parts;
}

function hashOf(file: Part['file']): string {
  const hash = createHash('sha256');
  for (let at = 0; at < file.size; at += step) hash.update(file.read(at, Math.min(step, file.size - at)));
  return hash.digest('hex');
}

/** Whether a file is the source of a skeleton, judged by the skeleton: spliced bytes are not compared. */
export function isSourceOf(source: ByteSource, { sha256, splices }: Skeleton): boolean {
  const kept: { readonly from: number; readonly end: number }[] = [];
  let at = 0;
  let from = 0;
  for (const s of splices) {
    const end = from + s.at - at;
    kept.push({ from, end });
    from = end + s.bytes;
    at = s.at;
  }
  if (from > source.size) return false;
  kept.push({ from, end: source.size });
  const hash = createHash('sha256');
  for (const k of kept)
    for (let p = k.from; p < k.end; p += step) hash.update(source.read(p, Math.min(step, k.end - p)));
  return hash.digest('hex') === sha256;
}
