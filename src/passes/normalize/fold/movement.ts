/** Operators that move elements of small constants, and those that return a shape. */
import { attrsOf } from '../../../graph/operators.ts';
import { elementCount } from '../../../graph/tensor.ts';
import { axisIn, type Entry, numbers, on } from './evaluator.ts';
import {
  broadcast,
  fits,
  isInteger,
  moved,
  numbersIn,
  offsetIn,
  positions,
  type Small,
  smallOfTensor,
  strides,
} from './small.ts';

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, v, i) => sum + v * (b[i] ?? 0), 0);
const reshaped = (x: Small, dims: readonly number[]): Small | undefined =>
  elementCount(dims) === x.values.length ? { ...x, dims } : undefined;
const int64 = (dims: readonly number[], values: readonly number[]): Small => ({ dtype: 'int64', dims, values });

const concat: Entry = [
  'Concat',
  (node, inputs) => {
    const xs = inputs.filter((s) => s !== undefined);
    const [first] = xs;
    const { axis } = attrsOf(node, 'Concat');
    if (first === undefined || axis === undefined || xs.some((s) => s.dtype !== first.dtype)) return undefined;
    const at = axisIn(axis, first.dims.length);
    const rest = (s: Small): string => s.dims.map((d, i) => (i === at ? '' : d)).join();
    if (at < 0 || at >= first.dims.length || xs.some((s) => rest(s) !== rest(first))) return undefined;
    const dims = first.dims.map((d, i) => (i === at ? xs.reduce((n, s) => n + (s.dims[at] ?? 0), 0) : d));
    if (!fits(first.dtype, elementCount(dims))) return undefined;
    // Row by row: the axes before `at` count rows, and an operand contributes one run of elements to each row.
    const rows = elementCount(dims.slice(0, at));
    const values = Array.from({ length: rows }, (_, r) =>
      xs.map((s) => s.values.slice((r * s.values.length) / rows, ((r + 1) * s.values.length) / rows)),
    );
    return { dtype: first.dtype, dims, values: values.flat(2) };
  },
];

const gather = on('Gather', ({ axis }, x, indices) => {
  const list = numbers(indices);
  const at = axisIn(axis, x.dims.length);
  const length = x.dims[at];
  if (indices === undefined || list === undefined || length === undefined) return undefined;
  if (list.some((i) => i < -length || i >= length)) return undefined;
  const [before, after] = [x.dims.slice(0, at), x.dims.slice(at + 1)];
  const steps = strides(x.dims);
  const rank = indices.dims.length;
  return moved(x, [...before, ...indices.dims, ...after], (pos) => {
    const index = list[offsetIn(indices.dims, pos.slice(at, at + rank))] ?? Number.NaN;
    return dot([...pos.slice(0, at), axisIn(index, length), ...pos.slice(at + rank)], steps);
  });
});

const gatherElements = on('GatherElements', ({ axis }, x, indices) => {
  const list = numbers(indices);
  const at = axisIn(axis, x.dims.length);
  const length = x.dims[at];
  if (indices === undefined || list === undefined || length === undefined) return undefined;
  if (list.some((i) => i < -length || i >= length)) return undefined;
  const steps = strides(x.dims);
  return moved(x, indices.dims, (pos) => {
    const index = axisIn(list[offsetIn(indices.dims, pos)] ?? Number.NaN, length);
    return dot(
      pos.map((p, i) => (i === at ? index : p)),
      steps,
    );
  });
});

const slice = on('Slice', (_, x, starts, ends, axes, steps) => {
  if (starts === undefined || ends === undefined) return undefined;
  const rank = x.dims.length;
  const from = x.dims.map(() => 0);
  const step = x.dims.map(() => 1);
  const dims = [...x.dims];
  for (let i = 0; i < starts.values.length; i++) {
    const axis = axisIn(Number(axes?.values[i] ?? i), rank);
    const [d, s] = [x.dims[axis], Number(steps?.values[i] ?? 1)];
    if (d === undefined || s === 0) return undefined;
    const clamp = (v: number): number => {
      const w = v < 0 ? v + d : v;
      return s > 0 ? Math.min(Math.max(w, 0), d) : Math.min(Math.max(w, -1), d - 1);
    };
    const [a, b] = [clamp(Number(starts.values[i])), clamp(Number(ends.values[i]))];
    from[axis] = a;
    step[axis] = s;
    dims[axis] = Math.max(0, Math.ceil((b - a) / s));
  }
  const lengths = strides(x.dims);
  return moved(x, dims, (at) =>
    dot(
      at.map((p, i) => (from[i] ?? 0) + p * (step[i] ?? 1)),
      lengths,
    ),
  );
});

const squeeze = on('Squeeze', (_, x, axes) => {
  const list = numbers(axes)?.map((a) => axisIn(a, x.dims.length));
  if (axes !== undefined && list === undefined) return undefined;
  return reshaped(
    x,
    x.dims.filter((d, i) => (list === undefined ? d !== 1 : !list.includes(i))),
  );
});

const unsqueeze = on('Unsqueeze', (_, x, axes) => {
  const given = numbers(axes);
  if (given === undefined) return undefined;
  const rank = x.dims.length + given.length;
  const ones = new Set(given.map((a) => axisIn(a, rank)));
  const rest = [...x.dims];
  const dims = Array.from({ length: rank }, (_, i) => (ones.has(i) ? 1 : (rest.shift() ?? 1)));
  return reshaped(x, dims);
});

const reshape = on('Reshape', ({ allowzero }, x, shape) => {
  const wanted = numbers(shape)?.map((d, i) => (d === 0 && allowzero === 0 ? (x.dims[i] ?? 0) : d));
  if (wanted === undefined) return undefined;
  const known = elementCount(wanted.filter((d) => d !== -1));
  const rest = known === 0 ? 0 : x.values.length / known;
  return Number.isInteger(rest)
    ? reshaped(
        x,
        wanted.map((d) => (d === -1 ? rest : d)),
      )
    : undefined;
});

const transpose = on('Transpose', ({ perm }, x) => {
  const order = perm ?? x.dims.map((_, i) => x.dims.length - 1 - i);
  const lengths = strides(x.dims);
  const steps = order.map((p) => lengths[p] ?? 0);
  return moved(
    x,
    order.map((p) => x.dims[p] ?? 1),
    (at) => dot(at, steps),
  );
});

const expand = on('Expand', (_, x, shape) => {
  const wanted = numbers(shape);
  const dims = wanted === undefined ? undefined : broadcast([x.dims, wanted]);
  return dims === undefined ? undefined : moved(x, dims, (at) => offsetIn(x.dims, at));
});

const tile = on('Tile', (_, x, repeats) => {
  const times = numbers(repeats);
  if (times?.length !== x.dims.length) return undefined;
  const lengths = strides(x.dims);
  const dims = x.dims.map((d, i) => d * (times[i] ?? 1));
  return moved(x, dims, (at) =>
    dot(
      at.map((p, i) => p % (x.dims[i] ?? 1)),
      lengths,
    ),
  );
});

const filled = on('ConstantOfShape', ({ value }, shape) => {
  const dims = numbersIn(shape.values);
  const one = value === undefined ? { dtype: 'float32' as const, dims: [1], values: [0] } : smallOfTensor(value);
  return dims === undefined || one === undefined ? undefined : moved(one, dims, () => 0);
});

const nonZero = on('NonZero', (_, x) => {
  const from = numbersIn(x.values);
  if (from === undefined || (!isInteger(x.dtype) && x.dtype !== 'bool')) return undefined;
  const hits = Array.from(positions(x.dims), (at) => [...at]).filter((_, i) => from[i] !== 0);
  return int64(
    [x.dims.length, hits.length],
    x.dims.flatMap((_, axis) => hits.map((at) => at[axis] ?? 0)),
  );
});

export const movement: readonly Entry[] = [
  concat,
  gather,
  gatherElements,
  slice,
  squeeze,
  unsqueeze,
  reshape,
  transpose,
  expand,
  tile,
  filled,
  nonZero,
  on('Size', (_, x) => int64([], [x.values.length])),
];
