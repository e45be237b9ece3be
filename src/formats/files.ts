/** Positioned reads and atomic writes of files, with coded errors instead of Node's. */

import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileNotFound, writeFailed } from '../errors.ts';

/** An open file; offsets and lengths in bytes. Reads are synchronous: they mostly hit the page cache. */
export interface FileReader {
  readonly file: string;
  readonly size: number;
  /** Reads `length` bytes from `offset` (fewer only if the file was truncated after it was opened). */
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
        // One read call is limited to less than 2^31 bytes.
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

/** Reads a whole file. Errors: FILE_NOT_FOUND, and the result of `tooLarge` if the file has more than `limit` bytes. */
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
 * Writes the chunks one after another to a file beside `file`, flushes it to the disk and renames it: the file appears
 * complete or not at all. Errors: WRITE_FAILED.
 */
export function writeFileAtomic(file: string, chunks: Iterable<Uint8Array>): void {
  const temporary = `${file}.${process.pid}.tmp`;
  writing(file, () => {
    try {
      writeFlushed(temporary, chunks);
      renameSync(temporary, file);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  });
}

function writeFlushed(file: string, chunks: Iterable<Uint8Array>): void {
  const fd = openSync(file, 'w');
  try {
    for (const chunk of chunks) writeWhole(fd, chunk);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Writes all of a chunk: on a disk that is filling up one call may write a part of it, and only the next one fails. */
export function writeWhole(fd: number, chunk: Uint8Array): void {
  let done = 0;
  while (done < chunk.length) done += writeSync(fd, chunk, done, Math.min(chunk.length - done, 2 ** 30));
}

/**
 * Creates a folder of files under a hidden name beside `folder`, flushes it to the disk and renames it: the folder
 * appears complete or not at all, and replaces an existing one. Leftovers of a killed process begin with a dot and end
 * in .tmp or .old. Errors: WRITE_FAILED.
 */
export function writeFolderAtomic(
  folder: string,
  files: Iterable<{ readonly name: string; readonly chunks: Iterable<Uint8Array> }>,
): void {
  const hidden = join(dirname(folder), `.${basename(folder)}.${process.pid}`);
  const temporary = `${hidden}.tmp`;
  const old = `${hidden}.old`;
  writing(folder, () => {
    try {
      // Process ids repeat: in a container every run may have the same one.
      for (const left of [temporary, old]) rmSync(left, { recursive: true, force: true });
      makeFolders(temporary);
      for (const { name, chunks } of files) writeFlushed(join(temporary, name), chunks);
      flushFolder(temporary);
      if (existsSync(folder)) renameSync(folder, old);
      renameSync(temporary, folder);
    } catch (error) {
      rmSync(temporary, { recursive: true, force: true });
      throw error;
    }
    flushFolder(dirname(folder));
    rmSync(old, { recursive: true, force: true });
  });
}

/**
 * Creates a folder and its missing parents; returns the first one that did not exist. Node's own recursive mkdir never
 * returns in /proc, and reports ENOENT on a read-only file system. On an error no new folder is left. Errors:
 * WRITE_FAILED.
 */
export function makeFolders(folder: string): string | undefined {
  const missing: string[] = [];
  for (let path = resolve(folder); !existsSync(path) && path !== dirname(path); path = dirname(path))
    missing.unshift(path);
  const made: string[] = [];
  return writing(folder, () => {
    if (missing.length === 0 && !statSync(folder).isDirectory()) mkdirSync(folder);
    try {
      for (const path of missing) if (makeOne(path)) made.push(path);
    } catch (error) {
      for (const path of made.toReversed()) rmdirSync(path);
      throw error;
    }
    return made[0];
  });
}

/** Returns false if another process was faster. */
function makeOne(path: string): boolean {
  try {
    mkdirSync(path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST' && statSync(path).isDirectory())
      return false;
    throw error;
  }
}

/** Runs an action that writes `file` and turns a system error into WRITE_FAILED. */
export function writing<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) throw writeFailed(file, reasonOf(error));
    throw error;
  }
}

/** Some systems cannot flush a folder; the rename is in progress by then. */
export function flushFolder(folder: string): void {
  try {
    const fd = openSync(folder, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    return;
  }
}

/** The reason of a system error, without Node's call and path: `ENOENT: no such file or directory`. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split(', ')[0] ?? text;
}
