/** Which rows a step trains on: a pure function of (rows, batch size, seed, step), so that a resumed run repeats nothing. */

import { badOption } from '../../errors.ts';
import { stream } from '../../graph/random.ts';

export interface OrderOptions {
  readonly rows: number;
  readonly batchSize: number;
  readonly seed: number;
  /** Default true. */
  readonly shuffle?: boolean | undefined;
}

export interface BatchOrder {
  /** ceil(rows / batchSize): the last, partial batch is kept. */
  readonly batchesPerEpoch: number;
  /** The row indices of batch 0, 1, ... counted over all epochs. */
  batch(index: number): Uint32Array;
}

/** Errors: BAD_OPTION for a batch size that is not a positive integer, or no rows. */
export function batchOrder({ rows, batchSize, seed, shuffle = true }: OrderOptions): BatchOrder {
  if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
    throw badOption(`the batch size must be a positive integer, not ${batchSize}`);
  }
  if (!Number.isSafeInteger(rows) || rows < 1) throw badOption('there are no rows to make batches of');
  const batchesPerEpoch = Math.ceil(rows / batchSize);
  let cached: { epoch: number; order: Uint32Array } | undefined;
  return {
    batchesPerEpoch,
    batch(index) {
      const epoch = Math.floor(index / batchesPerEpoch);
      if (cached?.epoch !== epoch) cached = { epoch, order: shuffle ? permutation(rows, seed, epoch) : identity(rows) };
      const start = (index % batchesPerEpoch) * batchSize;
      return cached.order.slice(start, start + batchSize);
    },
  };
}

/** The rows of one epoch in random order (Fisher-Yates), from the stream (seed, `shuffle/<epoch>`). */
export function permutation(rows: number, seed: number, epoch: number): Uint32Array {
  const order = identity(rows);
  const random = stream(seed, `shuffle/${epoch}`);
  for (let i = rows - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    const moved = order[i] ?? 0;
    order[i] = order[j] ?? 0;
    order[j] = moved;
  }
  return order;
}

function identity(rows: number): Uint32Array {
  return Uint32Array.from({ length: rows }, (_, i) => i);
}
