/**
 * Known elements of small tensors, from which shapes are computed. Integers and flags are stored in `Value.elements`.
 * Some exporters detour through floats (`Cast`, `Min`, `Cast` back), so whole numbers in floats are tracked too, but
 * only in this file: other code must not take them for all the elements of a float tensor.
 */
import type { Dim, Value } from '../../graph/model.ts';
import { type DataType, numbersOf } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import { product } from './dims.ts';

/** The maximum number of elements of a tensor that are tracked. */
export const mostElements = 64;

const floats = new WeakMap<Value, readonly Dim[]>();

const isIndex = (t: DataType | undefined): boolean => t === 'int64' || t === 'int32' || t === 'bool';
const isDetour = (t: DataType | undefined): boolean => t === 'float32' || t === 'float64';
/** Types whose elements are tracked. */
export const isFollowed = (t: DataType | undefined): boolean => isIndex(t) || isDetour(t);

/** The elements of a constant with few elements: an initializer or the output of a Constant. */
export function constantsOf(v: Value | undefined): readonly number[] | undefined {
  const tensor = v && constantTensor(v);
  if (tensor === undefined) return undefined;
  const size = tensor.dims.reduce((n, d) => n * d, 1);
  return size <= mostElements ? numbersOf(tensor) : undefined;
}

/**
 * Known elements. A constant's are read from it: only there, integers beyond 2^53 (which mean "to the end") are
 * rounded.
 */
export function elementsOf(v: Value | undefined): readonly Dim[] | undefined {
  if (v === undefined) return undefined;
  if (isDetour(v.dtype)) return floats.get(v) ?? wholeConstants(v);
  const known = v.elements;
  if ((known !== undefined && !known.includes(null)) || !isIndex(v.dtype)) return known;
  const own = constantsOf(v);
  if (own !== undefined && v.tensor !== undefined) v.elements = own;
  return own ?? known;
}

function wholeConstants(v: Value): readonly Dim[] | undefined {
  const found = constantsOf(v)?.map((n) => exact(v.dtype, n));
  if (found !== undefined) floats.set(v, found);
  return found;
}

/** Does the same as elementsOf, with nulls for unknown elements if only their number is known. */
export function elementsOrNulls(v: Value | undefined): readonly Dim[] | undefined {
  if (v === undefined || !isFollowed(v.dtype)) return undefined;
  const size = v.shape === undefined ? null : product(v.shape);
  const few = typeof size === 'number' && size <= mostElements;
  return elementsOf(v) ?? (few ? new Array<Dim>(size).fill(null) : undefined);
}

/** Elements that are all numbers. */
export function numbersIn(v: Value | undefined): readonly number[] | undefined {
  const list = elementsOf(v);
  const numbers = list?.filter((d) => typeof d === 'number');
  return numbers?.length === list?.length ? numbers : undefined;
}

/** The only element of a scalar or of a vector of one; null if unknown. */
export function scalarIn(v: Value | undefined): Dim {
  const list = elementsOf(v);
  return list?.length === 1 ? (list[0] ?? null) : null;
}

/** Records the inferred elements of an output, in addition to those already known. */
export function settleElements(v: Value, inferred: readonly Dim[] | undefined): void {
  const few =
    inferred !== undefined && inferred.length <= mostElements ? inferred.map((d) => exact(v.dtype, d)) : undefined;
  // Only inference sets elements of floats, so elements that it no longer infers are unknown.
  floats.delete(v);
  if (few === undefined) return;
  const known = v.elements?.length === few.length ? v.elements : undefined;
  const elements = few.map((d, i) => better(d, known?.[i] ?? null));
  if (!elements.some((d) => d !== null)) return;
  if (isDetour(v.dtype)) floats.set(v, elements);
  else v.elements = elements;
}

const better = (inferred: Dim, known: Dim): Dim =>
  typeof inferred === 'number' ? inferred : typeof known === 'number' ? known : (inferred ?? known);

/**
 * An element is unknown if it overflows its type, is rounded at run time, or is not exact here. Symbols are ordinary
 * dims.
 */
function exact(dtype: DataType | undefined, d: Dim): Dim {
  if (typeof d !== 'number') return d;
  const fits = dtype === 'int32' ? d === (d | 0) : dtype === 'float32' ? Math.abs(d) <= 2 ** 24 : true;
  return fits && Number.isSafeInteger(d) ? d : null;
}
