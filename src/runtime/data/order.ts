/**
 * The rows that a step trains on: a pure function of (rows, batch size, seed, step), so that a resumed run repeats
 * nothing.
 */

import { badOption } from '../../errors.ts';
import { type Stream, stream } from '../../graph/random.ts';

export interface OrderOptions {
  readonly rows: number;
  readonly batchSize: number;
  readonly seed: number;
  /** Default true. */
  readonly shuffle?: boolean | undefined;
  /** The length of each row: batches are made of rows of similar lengths, in random order. Needs shuffle. */
  readonly lengths?: ArrayLike<number> | undefined;
}

/** Rows are sorted by length within this many batches: padding is small, and batches still differ between epochs. */
const batchesSortedTogether = 50;

export interface BatchOrder {
  /** ceil(rows / batchSize): the last, partial batch is kept. */
  readonly batchesPerEpoch: number;
  /** The row indices of batch 0, 1, ... counted over all epochs. */
  batch(index: number): Uint32Array;
}

/** Errors: BAD_OPTION for a batch size that is not a positive integer, no rows, or lengths without shuffling. */
export function batchOrder({ rows, batchSize, seed, shuffle = true, lengths }: OrderOptions): BatchOrder {
  if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
    throw badOption(`the batch size must be a positive integer, not ${batchSize}`);
  }
  if (!Number.isSafeInteger(rows) || rows < 1) throw badOption('there are no rows to make batches of');
  if (lengths !== undefined && !shuffle) {
    throw badOption('--group-by-length needs shuffled rows', 'leave out --no-shuffle, or sort the file by length');
  }
  const orderOf = (epoch: number): Uint32Array => {
    if (!shuffle) return identity(rows);
    const order = permutation(rows, seed, epoch);
    return lengths === undefined ? order : grouped(order, lengths, batchSize, stream(seed, `batches/${epoch}`));
  };
  const batchesPerEpoch = Math.ceil(rows / batchSize);
  let cached: { epoch: number; order: Uint32Array } | undefined;
  return {
    batchesPerEpoch,
    batch(index) {
      const epoch = Math.floor(index / batchesPerEpoch);
      if (cached?.epoch !== epoch) cached = { epoch, order: orderOf(epoch) };
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
    swap(order, i, random.integer(i + 1));
  }
  return order;
}

/**
 * The rows sorted by length within chunks of several batches, and the batches shuffled: sorted ones would train on long
 * rows first. The partial batch remains the last one.
 */
function grouped(order: Uint32Array, lengths: ArrayLike<number>, batchSize: number, random: Stream): Uint32Array {
  const chunk = batchesSortedTogether * batchSize;
  for (let start = 0; start < order.length; start += chunk) {
    // A sort in place, and stable: rows of one length stay in random order.
    order.subarray(start, start + chunk).sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0));
  }
  const batches = identity(Math.floor(order.length / batchSize));
  for (let i = batches.length - 1; i > 0; i--) swap(batches, i, random.integer(i + 1));
  const out = order.slice();
  for (const [to, from] of batches.entries()) {
    out.set(order.subarray(from * batchSize, (from + 1) * batchSize), to * batchSize);
  }
  return out;
}

function swap(list: Uint32Array, i: number, j: number): void {
  const moved = list[i] ?? 0;
  list[i] = list[j] ?? 0;
  list[j] = moved;
}

function identity(rows: number): Uint32Array {
  return Uint32Array.from({ length: rows }, (_, i) => i);
}
