/**
 * The default number of optimizer steps in one run of train_k.onnx. Each run copies the state to the device and back,
 * and its batches are in memory at once, stacked and unstacked; a run of another length makes ONNX Runtime allocate
 * again.
 */
import type { Plan } from './plan.ts';

/**
 * From this many steps on, copying the state takes less than a few percent of a step, and longer runs delay an
 * interruption.
 */
export const longestRun = 16;

/** The maximum size of the batches in one run, in bytes. */
const mostBytes = 64 * 2 ** 20;

/** The number of steps to look ahead. */
const horizon = 1024;

export interface RunLengthOptions {
  readonly plan: Plan;
  /** Steps done before. */
  readonly from: number;
  /** A run never passes a number of steps for which this is true: evaluations, checkpoints. */
  readonly boundary: (done: number) => boolean;
  /** A batch with fewer rows is padded, so all are equal in size. */
  readonly isFilled?: boolean | undefined;
  /** The size of the batches of one step. */
  readonly bytesPerStep: number;
}

/** From 1 to `longestRun`: the length with the fewest runs, where a run shorter than the others counts as two. */
export function runLength({ plan, from, boundary, isFilled = false, bytesPerStep }: RunLengthOptions): number {
  const most = Math.max(1, Math.min(longestRun, Math.floor(mostBytes / Math.max(bytesPerStep, 1))));
  const stretches = stretchesOf(plan, from, boundary, isFilled);
  let best = { length: 1, cost: Number.POSITIVE_INFINITY };
  for (let length = 1; length <= most; length++) {
    const runs = stretches.reduce((n, s) => n + Math.ceil(s / length), 0);
    const shorter = stretches.filter((s) => s > length && s % length !== 0).length;
    const cost = runs + shorter;
    if (cost < best.cost) best = { length, cost };
  }
  return best.length;
}

/**
 * The numbers of steps from one boundary to the next. Batches of another size, as at the end of an epoch, are a
 * boundary too, because they cannot be stacked.
 */
function stretchesOf(plan: Plan, from: number, boundary: (done: number) => boolean, isFilled: boolean): number[] {
  const rowsAt = (step: number): string => (isFilled ? '' : rowsOf(plan, step));
  const end = Math.min(plan.totalSteps, from + horizon);
  const stretches: number[] = [];
  let since = from;
  let rows = rowsAt(from);
  for (let done = from + 1; done <= end; done++) {
    const next = done < end ? rowsAt(done) : '';
    if (!boundary(done) && next === rows) continue;
    stretches.push(done - since);
    since = done;
    rows = next;
  }
  return stretches;
}

const rowsOf = (plan: Plan, step: number): string =>
  step < plan.totalSteps
    ? plan
        .at(step)
        .batches.map((b) => b.rows.length)
        .join()
    : '';
