/** The worker thread of copying.ts. It imports almost nothing but Node, so that it starts at once. */
import { readSync, writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { roundBits } from '../graph/rounding.ts';
import type { CopyJob } from './copying.ts';

const { target, ranges }: CopyJob = workerData;
// Small enough to stay in a core's cache between reading and writing.
const buffer = new Uint8Array(128 << 10);
const bits = new Uint32Array(buffer.buffer);
const halves = new Uint16Array(bits.length);

for (const { fd, offset, bytes, to, round } of ranges)
  for (let done = 0; done < bytes; ) {
    const got = fill(fd, Math.min(buffer.length, bytes - done), offset + done);
    if (round === undefined) write(buffer, got, to + done);
    else {
      if (roundBits(bits, halves, got / 4, round) >= 0) throw new Error('a number is out of range');
      write(new Uint8Array(halves.buffer), got / 2, to + done / 2);
    }
    done += got;
  }

/** Reads all of the bytes, in as many calls as that takes: elements must not be split. */
function fill(fd: number, length: number, position: number): number {
  let got = 0;
  while (got < length) {
    const read = readSync(fd, buffer, got, length - got, position + got);
    if (read === 0) throw new Error('the source became shorter');
    got += read;
  }
  return got;
}

function write(from: Uint8Array, length: number, position: number): void {
  for (let written = 0; written < length; )
    written += writeSync(target, from, written, length - written, position + written);
}
