/**
 * How many optimizer steps one run of train_k.onnx takes where nobody says. Each run sends the state to the device and back, and its
 * batches lie in memory at once, stacked and as they came; a run of another length makes ONNX Runtime allocate anew.
 */
import type { Plan } from './plan.ts';

/** Beyond this many steps the state's way is below a few percent of a step, and a run that is to stop is long to wait for. */
export const longestRun = 16;

/** Bytes of batches in one run. */
const mostBytes = 64 * 2 ** 20;

/** Steps that are looked ahead. */
const horizon = 1024;

export interface RunLengthOptions {
  readonly plan: Plan;
  /** Steps done before. */
  readonly from: number;
  /** No run goes beyond a number of steps done for which it is true: evaluations, checkpoints. */
  readonly boundary: (done: number) => boolean;
  /** A batch with fewer rows is filled up, so all are alike. */
  readonly isFilled?: boolean | undefined;
  /** Of the batches of one step. */
  readonly bytesPerStep: number;
}

/** From 1 to `longestRun`: the fewest runs, where one that is shorter than the others counts as two. */
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

/** The numbers of steps from one boundary to the next. Batches of another size, as at the end of an epoch, cannot be stacked either. */
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
