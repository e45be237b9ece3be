/** The IR version of a model file on the wire. */
import { closeSync, constants, copyFileSync, openSync } from 'node:fs';
import type { ByteSource } from '../graph/tensor.ts';
import { cursorOver, varintBytes, walkFields } from '../proto/index.ts';
import { writeAt } from './weights.ts';

/** The number, and the place of its varint; undefined if the file has none. */
export function irVersionField(bytes: ByteSource): { version: number; from: number; end: number } | undefined {
  const cursor = cursorOver(bytes);
  let found: { version: number; from: number; end: number } | undefined;
  walkFields(cursor, 0, bytes.size, (f) => {
    if (f.number !== 1 || f.wireType !== 0) return;
    cursor.position = f.from;
    found = { version: cursor.varint(), from: f.from, end: f.end };
  });
  return found;
}

/** Copies a model file with another IR version whose varint is as long. */
export function copyWithIrVersion(bytes: ByteSource, to: string, version: number): void {
  const field = irVersionField(bytes);
  const made = varintBytes(version);
  if (field?.end !== (field?.from ?? 0) + made.length) throw new Error('the IR version has another length');
  copyFileSync(bytes.name, to, constants.COPYFILE_FICLONE);
  const fd = openSync(to, 'r+');
  try {
    writeAt(fd, made, field.from);
  } finally {
    closeSync(fd);
  }
}
