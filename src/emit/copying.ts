/** Copies ranges of open files on a worker thread, while the caller continues to compute. */
import { Worker } from 'node:worker_threads';
import { compiledFile } from '../formats/compiled.ts';
import type { HalfType } from '../graph/rounding.ts';

/** A range in bytes; files are descriptors, which all threads of a process share. */
export interface CopyRange {
  readonly fd: number;
  readonly offset: number;
  readonly bytes: number;
  /** The offset in the target. */
  readonly to: number;
  /** The bytes are float32 and are rounded to this type: half as many are written. */
  readonly round?: HalfType;
}

/** The input of the worker thread. */
export interface CopyJob {
  readonly target: number;
  readonly ranges: readonly CopyRange[];
}

export interface Copying {
  /**
   * Settles when the thread has ended: true if all ranges were copied. The reason of a failure appears when the range
   * is copied again.
   */
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
