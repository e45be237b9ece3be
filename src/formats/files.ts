/** Files read at positions and written whole or not at all, with coded errors in place of Node's. */

import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { fileNotFound, writeFailed } from '../errors.ts';

/** An open file; offsets and lengths in bytes. Reads are synchronous: they mostly hit the page cache. */
export interface FileReader {
  readonly file: string;
  readonly size: number;
  /** `length` bytes from `offset` (fewer only where the file has been cut meanwhile). */
  read(offset: number, length: number): Uint8Array;
  close(): void;
}

/** Opens a regular file for reading. Errors: FILE_NOT_FOUND. */
export function openReader(file: string): FileReader {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (error) {
    throw fileNotFound(file, reasonOf(error));
  }
  const stat = fstatSync(fd);
  if (!stat.isFile()) {
    closeSync(fd);
    throw fileNotFound(file, stat.isDirectory() ? 'it is a folder' : 'it is not a regular file');
  }
  let open = true;
  return {
    file,
    size: stat.size,
    read(offset, length) {
      const bytes = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        // One read call takes less than 2^31 bytes.
        const got = readSync(fd, bytes, done, Math.min(length - done, 2 ** 30), offset + done);
        if (got === 0) return bytes.subarray(0, done);
        done += got;
      }
      return bytes;
    },
    close() {
      if (open) closeSync(fd);
      open = false;
    },
  };
}

/** A whole file. Errors: FILE_NOT_FOUND, and what `tooLarge` returns where it has more than `limit` bytes. */
export function readWhole(file: string, limit: number, tooLarge: (size: number) => Error): Uint8Array {
  const reader = openReader(file);
  try {
    if (reader.size > limit) throw tooLarge(reader.size);
    return reader.read(0, reader.size);
  } finally {
    reader.close();
  }
}

/**
 * Writes the chunks one after another beside `file`, flushes them to the disk and renames: the file is there whole or not at
 * all. Errors: WRITE_FAILED.
 */
export function writeFileAtomic(file: string, chunks: Iterable<Uint8Array>): void {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    const fd = openSync(temporary, 'w');
    try {
      for (const chunk of chunks) {
        let done = 0;
        while (done < chunk.length) done += writeSync(fd, chunk, done, Math.min(chunk.length - done, 2 ** 30));
      }
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw writeFailed(file, reasonOf(error));
  }
}

/** What went wrong, without Node's call and path: `ENOENT: no such file or directory`. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split(', ')[0] ?? text;
}
