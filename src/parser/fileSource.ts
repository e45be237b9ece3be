/** A file as a ByteSource: positional reads on one descriptor. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { badProtobuf, fileNotFound } from '../errors.ts';
import type { ByteSource } from '../graph/tensor.ts';

export interface FileSource extends ByteSource {
  readonly fd: number;
  close(): void;
}

/** Larger reads share one buffer per file, so a caller must not keep the array it receives. */
const ownBufferBelow = 64 << 10;

/**
 * Opens a regular file. `follow: false` refuses a symbolic link as the last part of the path. Errors: FILE_NOT_FOUND.
 */
export function fileSource(path: string, options: { readonly follow?: boolean } = {}): FileSource {
  let fd: number;
  try {
    // O_NONBLOCK: opening a pipe must not wait for its other end.
    fd = openSync(
      path,
      constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (options.follow === false ? (constants.O_NOFOLLOW ?? 0) : 0),
    );
  } catch (error) {
    throw fileNotFound(path, reason(error));
  }
  const stat = fstatSync(fd);
  if (!stat.isFile()) {
    closeSync(fd);
    throw fileNotFound(path, stat.isDirectory() ? 'it is a folder' : 'it is not a regular file');
  }
  let open = true;
  let shared = new Uint8Array(0);
  return {
    name: path,
    size: stat.size,
    fd,
    read(offset, length) {
      if (length > ownBufferBelow && shared.length < length) shared = new Uint8Array(length);
      const into = length > ownBufferBelow ? shared : new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const got = readSync(fd, into, done, Math.min(length - done, 2 ** 30), offset + done);
        if (got === 0) throw badProtobuf(path, `it became shorter while it was read, at byte ${offset + done}`);
        done += got;
      }
      return into.subarray(0, length);
    },
    close() {
      if (open) closeSync(fd);
      open = false;
    },
  };
}

/** The reason of an error, without Node's call and path. */
export function reason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split(', ')[0] ?? text;
}
