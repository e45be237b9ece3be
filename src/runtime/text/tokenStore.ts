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
export const tokenStore = (memory = 2 ** 27): TokenStore => new Store(Math.max(1, Math.floor(memory / bytesPerValue)));

class Store implements TokenStore {
  rows = 0;
  /** The values that are not in the file. */
  #buffer = new Int32Array(1024);
  #used = 0;
  /** The start of each row, in values, and the end of the last one. */
  #starts = new Float64Array(1024);
  #spilled = 0;
  #file: TemporaryFile | undefined;
  readonly #most: number;

  /** @param most values that are kept in memory. */
  constructor(most: number) {
    this.#most = most;
  }

  add(values: readonly number[]): void {
    if (this.#used > 0 && this.#used + values.length > this.#most) this.#spill();
    if (this.#used + values.length > this.#buffer.length) {
      const larger = new Int32Array(Math.max(2 * this.#buffer.length, this.#used + values.length));
      larger.set(this.#buffer.subarray(0, this.#used));
      this.#buffer = larger;
    }
    if (this.rows + 1 >= this.#starts.length) {
      const larger = new Float64Array(2 * this.#starts.length);
      larger.set(this.#starts);
      this.#starts = larger;
    }
    this.#buffer.set(values, this.#used);
    this.#used += values.length;
    this.rows += 1;
    this.#starts[this.rows] = this.#spilled + this.#used;
  }

  at(index: number): Int32Array {
    const [start = 0, end = 0] = this.#starts.subarray(index, index + 2);
    if (start >= this.#spilled) return this.#buffer.subarray(start - this.#spilled, end - this.#spilled);
    const values = new Int32Array(end - start);
    if (this.#file !== undefined) this.#file.read(new Uint8Array(values.buffer), start * bytesPerValue);
    return values;
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  #spill(): void {
    try {
      this.#file ??= temporaryFile();
      this.#file.write(
        new Uint8Array(this.#buffer.buffer, 0, this.#used * bytesPerValue),
        this.#spilled * bytesPerValue,
      );
    } catch (error) {
      throw writeFailed(tmpdir(), error instanceof Error ? reasonOf(error) : String(error));
    }
    this.#spilled += this.#used;
    this.#used = 0;
  }
}

interface TemporaryFile {
  write(bytes: Uint8Array, offset: number): void;
  read(bytes: Uint8Array, offset: number): void;
  close(): void;
}

/** A file without a name where the system allows it: nothing is left if the process is killed. */
function temporaryFile(): TemporaryFile {
  const folder = mkdtempSync(join(tmpdir(), 'loraify-tokens-'));
  const descriptor = openSync(join(folder, 'tokens.bin'), 'w+', 0o600);
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  if (process.platform !== 'win32') remove();
  return {
    write(bytes, offset) {
      for (let done = 0; done < bytes.length; )
        done += writeSync(descriptor, bytes, done, bytes.length - done, offset + done);
    },
    read(bytes, offset) {
      for (let done = 0; done < bytes.length; ) {
        const read = readSync(descriptor, bytes, done, bytes.length - done, offset + done);
        if (read === 0) throw new RangeError('the temporary file is cut');
        done += read;
      }
    },
    close() {
      closeSync(descriptor);
      remove();
    },
  };
}
