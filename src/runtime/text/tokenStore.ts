/** Integers of rows, in memory up to a limit and beyond it in a temporary file, so that no data set is too large. */

import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeFailed } from '../../errors.ts';
import { reasonOf } from '../../formats/files.ts';

export interface TokenStore {
  readonly rows: number;
  add(values: readonly number[]): void;
  /** The values of a row. */
  at(index: number): Int32Array;
  close(): void;
}

const bytesPerValue = Int32Array.BYTES_PER_ELEMENT;

/** @param memory bytes that are kept in memory. Errors: WRITE_FAILED if the temporary file cannot be written. */
export function tokenStore(memory = 2 ** 27): TokenStore {
  const perChunk = Math.max(1, Math.floor(memory / bytesPerValue));
  let buffer = new Int32Array(1024);
  let used = 0;
  /** Where each row begins, in values, and behind the last one its end. */
  let starts = new Float64Array(1024);
  let rows = 0;
  let spilled = 0;
  let file: { readonly descriptor: number; readonly folder: string } | undefined;

  const spill = (): void => {
    try {
      file ??= openTemporary();
      const bytes = new Uint8Array(buffer.buffer, 0, used * bytesPerValue);
      for (let done = 0; done < bytes.length; )
        done += writeSync(file.descriptor, bytes, done, bytes.length - done, spilled * bytesPerValue + done);
    } catch (error) {
      throw writeFailed(file?.folder ?? tmpdir(), error instanceof Error ? reasonOf(error) : String(error));
    }
    spilled += used;
    used = 0;
  };
  return {
    get rows() {
      return rows;
    },
    add(values) {
      if (used > 0 && used + values.length > perChunk) spill();
      if (used + values.length > buffer.length) {
        const larger = new Int32Array(Math.max(2 * buffer.length, used + values.length));
        larger.set(buffer.subarray(0, used));
        buffer = larger;
      }
      if (rows + 1 >= starts.length) {
        const larger = new Float64Array(2 * starts.length);
        larger.set(starts);
        starts = larger;
      }
      buffer.set(values, used);
      used += values.length;
      rows += 1;
      starts[rows] = spilled + used;
    },
    at(index) {
      const [start = 0, end = 0] = starts.subarray(index, index + 2);
      if (start >= spilled) return buffer.subarray(start - spilled, end - spilled);
      const values = new Int32Array(end - start);
      const bytes = new Uint8Array(values.buffer);
      if (file !== undefined)
        for (let done = 0; done < bytes.length; ) {
          const read = readSync(file.descriptor, bytes, done, bytes.length - done, start * bytesPerValue + done);
          if (read === 0) break;
          done += read;
        }
      return values;
    },
    close() {
      if (file === undefined) return;
      closeSync(file.descriptor);
      rmSync(file.folder, { recursive: true, force: true });
      file = undefined;
    },
  };
}

/** A file without a name where the system allows it: nothing is left if the process is killed. */
function openTemporary(): { readonly descriptor: number; readonly folder: string } {
  const folder = mkdtempSync(join(tmpdir(), 'loraify-tokens-'));
  const path = join(folder, 'tokens.bin');
  const descriptor = openSync(path, 'w+', 0o600);
  if (process.platform !== 'win32') rmSync(folder, { recursive: true, force: true });
  return { descriptor, folder };
}
