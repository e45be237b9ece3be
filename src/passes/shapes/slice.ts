/** Dims of slices, also for symbolic bounds or dims. */
import type { Dim } from '../../graph/model.ts';
import { add, ceilDiv, isNonNegative, max, min, sub } from './dims.ts';

/** Exporters write "to the end" as the largest int32 or int64; int64 may have been rounded. */
const far = 2147483647;

/** A bound counted from the start and clamped to [0, d]; null if that depends on an unknown sign. */
function resolve(bound: Dim, d: Dim): Dim {
  if (bound === null || d === null) return null;
  if (typeof bound === 'number') {
    if (bound >= far) return d;
    if (bound <= -far) return 0;
    // A symbolic dim counts as at least one: [1:] and [:-1] leave S-1.
    if (typeof d === 'string' && bound === -1) return sub(d, 1);
    if (typeof d === 'string' && bound === 1) return 1;
    return bound < 0 ? max(add(d, bound), 0) : min(bound, d);
  }
  if (isNonNegative(bound)) return min(bound, d);
  return bound !== null && isNonNegative(sub(0, bound)) ? max(add(d, bound), 0) : shortened(bound, d);
}

/** Bounds like S-1 on an axis of S: not negative for the same reason as above. */
function shortened(bound: Dim, d: Dim): Dim {
  return sub(d, bound) === 1 ? bound : null;
}

/** The dim that Slice leaves of an axis of dim d. */
export function sliceLength(d: Dim, start: Dim, end: Dim, step: Dim): Dim {
  if (typeof step !== 'number' || step === 0) return null;
  if (typeof d === 'number' && typeof start === 'number' && typeof end === 'number') {
    const [from, to] = bounds(d, start, end, step);
    return Math.max(0, Math.ceil((to - from) / step));
  }
  if (step < 0) return reversed(d, start, end) ? ceilDiv(d, -step) : null;
  const [from, to] = [resolve(start, d), resolve(end, d)];
  // min(8, S+2) - 2 is min(6, S), which is not negative.
  const isCut = typeof from === 'number' && typeof end === 'string' && isNonNegative(end);
  const length = isCut ? min(sub(end, from), sub(d, from)) : sub(to, from);
  if (length === null) return null;
  return ceilDiv(isNonNegative(length) || length === sub(d, 1) ? length : max(length, 0), step);
}

/**
 * ONNX Runtime reads exactly these ends as "to the end in the direction of the step", also for negative steps
 * (cpu/tensor/slice_helper.h).
 */
const isOpenEnd = (end: Dim): boolean => end === far || end === 2 ** 63;

/** From the last element to the first. */
const reversed = (d: Dim, start: Dim, end: Dim): boolean =>
  (start === -1 || (typeof start === 'number' && start >= far) || (start !== null && start === sub(d, 1))) &&
  (isOpenEnd(end) || (typeof end === 'number' && end <= -far));

/** Start and end as the specification clamps them for known dims. */
function bounds(d: number, start: number, end: number, step: number): [number, number] {
  const clamp = (b: number, low: number, high: number): number => Math.min(Math.max(b < 0 ? b + d : b, low), high);
  if (step > 0) return [clamp(start, 0, d), clamp(end, 0, d)];
  return [clamp(start, 0, d - 1), isOpenEnd(end) ? -1 : clamp(end, -1, d - 1)];
}

/** The elements that Slice keeps of a vector. */
export function sliceElements(list: readonly Dim[] | undefined, start: Dim, end: Dim, step: Dim): Dim[] | undefined {
  if (
    list === undefined ||
    typeof start !== 'number' ||
    typeof end !== 'number' ||
    typeof step !== 'number' ||
    step === 0
  )
    return undefined;
  const [from, to] = bounds(list.length, start, end, step);
  const length = Math.max(0, Math.ceil((to - from) / step));
  return Array.from({ length }, (_, i) => list[from + i * step] ?? null);
}
