/** The thread of copying.ts. It knows nothing but Node, so that it starts at once. */
import { readSync, writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import type { CopyJob } from './copying.ts';

const { target, ranges }: CopyJob = workerData;
// Stays in the cache of a core between reading and writing.
const buffer = new Uint8Array(128 << 10);

for (const { fd, offset, bytes, to } of ranges)
  for (let done = 0; done < bytes; ) {
    const got = readSync(fd, buffer, 0, Math.min(buffer.length, bytes - done), offset + done);
    if (got === 0) throw new Error('the source became shorter');
    for (let written = 0; written < got; )
      written += writeSync(target, buffer, written, got - written, to + done + written);
    done += got;
  }
