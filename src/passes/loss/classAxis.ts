/** Follows the axis of the classes through operators that move or reshape a value. */
import type { Dim, Node, Value } from '../../graph/model.ts';
import { attrsOf, factsOf, opKey } from '../../graph/operators.ts';
import { knownInts } from '../common/dimArithmetic.ts';
import { product } from '../shapes/dims.ts';

/** An axis as a non-negative number. */
export const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** The elements along the class axis that a node keeps. */
export interface Kept {
  /** Positions along the axis; undefined: all of them. */
  readonly picked?: readonly number[];
  /** The axis in the node's output; undefined where the node removes it. */
  readonly axis: number | undefined;
}

/**
 * The axis of the node's output that is `axis` of its first input, with all of its elements; undefined: there is none.
 */
export function axisAfter(node: Node, output: Value, axis: number): number | undefined {
  const kept = keptAfter(node, output, axis);
  return kept?.picked === undefined ? kept?.axis : undefined;
}

/** The part that a node keeps of an axis of its first input; undefined where that is not known. */
export function keptAfter(node: Node, output: Value, axis: number): Kept | undefined {
  const [x, second] = node.inputs;
  const rank = x?.shape?.length;
  if (rank === undefined) return factsOf(node)?.kind === 'elementwise' ? { axis } : undefined;
  const length = x?.shape?.[axis];
  const whole: Kept = { axis };
  switch (opKey(node)) {
    case 'Identity':
    case 'Cast':
    case 'CastLike':
    case 'Dropout':
    case 'Clip':
    case 'Min':
    case 'Max':
      return output.shape?.length === rank || output.shape === undefined ? whole : undefined;
    case 'Transpose': {
      const perm = attrsOf(node, 'Transpose').perm ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
      return { axis: perm.indexOf(axis) };
    }
    case 'Squeeze':
    case 'Unsqueeze':
    case 'Reshape':
    case 'Flatten':
      return viewed(x?.shape, output.shape, axis);
    case 'Expand':
    case 'Tile':
      return output.shape?.length === rank && output.shape[axis] === length ? whole : undefined;
    case 'Slice':
      return sliced(node, axis, rank, length);
    case 'Split':
      return split(node, output, axis, rank);
    case 'Gather': {
      const at = axisOf(attrsOf(node, 'Gather').axis, rank);
      const added = second?.shape?.length;
      if (added === undefined) return undefined;
      if (at === axis) return gathered(second, length, added === 0 ? undefined : added === 1 ? axis : -1);
      return { axis: at < axis ? axis + added - 1 : axis };
    }
    case 'ai.onnx.ml.ArrayFeatureExtractor':
      return axis === rank - 1 ? gathered(second, length, axis) : whole;
    case 'ReduceMean': {
      const { keepdims } = attrsOf(node, 'ReduceMean');
      const axes = knownInts(second)?.map((a) => axisOf(a, rank));
      if (axes === undefined || axes.includes(axis)) return undefined;
      return { axis: keepdims === 0 ? axis - axes.filter((a) => a < axis).length : axis };
    }
    default:
      return undefined;
  }
}

/** A view keeps an axis that has the same length and the same number of elements behind it in both shapes. */
function viewed(from: readonly Dim[] | undefined, to: readonly Dim[] | undefined, axis: number): Kept | undefined {
  if (from === undefined || to === undefined) return undefined;
  const [length, behind] = [from[axis], product(from.slice(axis + 1))];
  if (length === null || behind === null) return undefined;
  const at = to.findLastIndex((d, i) => d === length && product(to.slice(i + 1)) === behind);
  return at < 0 ? undefined : { axis: at };
}

function sliced(node: Node, axis: number, rank: number, length: Dim | undefined): Kept | undefined {
  const [, starts, ends, along, steps] = node.inputs;
  const [from, to] = [knownInts(starts), knownInts(ends)];
  const axes = along === undefined ? from?.map((_, i) => i) : knownInts(along)?.map((a) => axisOf(a, rank));
  const at = axes?.indexOf(axis);
  if (axes === undefined || at === undefined) return undefined;
  if (at < 0) return { axis };
  if (from === undefined || to === undefined || typeof length !== 'number') return undefined;
  const step = (steps === undefined ? 1 : knownInts(steps)?.[at]) ?? 0;
  if (step === 0) return undefined;
  const bound = (n: number): number =>
    Math.min(Math.max(n < 0 ? n + length : n, step < 0 ? -1 : 0), step < 0 ? length - 1 : length);
  const [start, end] = [bound(from[at] ?? 0), bound(to[at] ?? length)];
  const picked: number[] = [];
  for (let i = start; step > 0 ? i < end : i > end; i += step) picked.push(i);
  return { picked, axis };
}

function split(node: Node, output: Value, axis: number, rank: number): Kept | undefined {
  if (axisOf(attrsOf(node, 'Split').axis, rank) !== axis) return { axis };
  const index = node.outputs.indexOf(output);
  const lengths = node.outputs.map((o) => o.shape?.[axis]).filter((d) => typeof d === 'number');
  if (lengths.length < node.outputs.length) return undefined;
  const start = lengths.slice(0, index).reduce((n, d) => n + d, 0);
  return { picked: Array.from({ length: lengths[index] ?? 0 }, (_, i) => start + i), axis };
}

/** `axis` -1: the indices are a matrix, so the elements that they select have no axis of classes. */
function gathered(indices: Value | undefined, length: Dim | undefined, axis: number | undefined): Kept | undefined {
  const list = knownInts(indices);
  if (list === undefined || axis === -1 || typeof length !== 'number') return undefined;
  return { picked: list.map((i) => (i < 0 ? i + length : i)), axis };
}
