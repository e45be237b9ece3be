/** Ranges of open files copied on a thread of their own, while the caller goes on computing. */
import { Worker } from 'node:worker_threads';
import { compiledFile } from '../formats/compiled.ts';
import type { HalfType } from '../graph/rounding.ts';

/** All in bytes; files as descriptors, which all threads of a process share. */
export interface CopyRange {
  readonly fd: number;
  readonly offset: number;
  readonly bytes: number;
  /** Where in the target. */
  readonly to: number;
  /** The bytes are float32, which this type replaces: half as many are written. */
  readonly round?: HalfType;
}

/** What the thread is started with. */
export interface CopyJob {
  readonly target: number;
  readonly ranges: readonly CopyRange[];
}

export interface Copying {
  /** Settles when the thread has ended: whether all ranges were copied. Why one was not shows when it is copied again. */
  readonly done: Promise<boolean>;
  /** Ends the thread; the files may be closed when this settles. */
  stop(): Promise<void>;
}

/** Starts copying into an open file. */
export function startCopying(job: CopyJob): Copying {
  const worker = new Worker(compiledFile(import.meta.url, 'copyWorker'), { workerData: job });
  const done = new Promise<boolean>((resolve) => {
    worker.on('error', () => resolve(false));
    worker.on('exit', (status) => resolve(status === 0));
  });
  return {
    done,
    stop: async () => {
      await worker.terminate();
    },
  };
}
