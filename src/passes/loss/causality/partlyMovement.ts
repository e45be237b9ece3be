/** Operators that move elements of tensors that are known in part, or build such tensors. */
import { type AttrsOf, attrsOf, type OpName } from '../../../graph/operators.ts';
import { numbersOf, type Tensor } from '../../../graph/tensor.ts';
import { axisIn } from '../../normalize/fold/evaluator.ts';
import {
  elementwise,
  filled,
  gathered,
  known,
  listOf,
  most,
  type Partly,
  relabeled,
  reshaped,
  transposed,
  whole,
} from './partly.ts';
import type { Entry } from './partlyArithmetic.ts';

/** An operator with typed attributes that needs its first operand. */
const on = <O extends OpName>(
  op: O,
  run: (attrs: AttrsOf<O>, x: Partly, ...rest: (Partly | undefined)[]) => Partly | undefined,
): Entry => [op, (node, [x, ...rest]) => (x === undefined ? undefined : run(attrsOf(node, op), x, ...rest))];

const axesIn = (axes: Partly | undefined, rank: number): number[] | undefined =>
  listOf(axes)?.map((a) => axisIn(a, rank));

const squeeze = on('Squeeze', (_, x, axes) => {
  const gone = axes === undefined ? x.dims.flatMap((d, i) => (d === 1 ? [i] : [])) : axesIn(axes, x.dims.length);
  return gone === undefined
    ? undefined
    : relabeled(
        x,
        x.dims.flatMap((_, i) => (gone.includes(i) ? [] : [i])),
      );
});

const unsqueeze = on('Unsqueeze', (_, x, axes) => {
  const given = listOf(axes);
  if (given === undefined) return undefined;
  const rank = x.dims.length + given.length;
  const ones = new Set(given.map((a) => axisIn(a, rank)));
  let next = 0;
  return relabeled(
    x,
    Array.from({ length: rank }, (_, i) => (ones.has(i) ? undefined : next++)),
  );
});

const reshape = on('Reshape', ({ allowzero }, x, shape) => {
  const wanted = listOf(shape)?.map((d, i) => (d === 0 && allowzero === 0 ? (x.dims[i] ?? 0) : d));
  if (wanted === undefined) return undefined;
  const rest = x.dims.reduce((a, b) => a * b, 1) / wanted.reduce((a, b) => (b === -1 ? a : a * b), 1);
  return Number.isInteger(rest)
    ? reshaped(
        x,
        wanted.map((d) => (d === -1 ? rest : d)),
      )
    : undefined;
});

const flatten = on('Flatten', ({ axis }, x) => {
  const at = axisIn(axis, x.dims.length);
  const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
  return reshaped(x, [size(x.dims.slice(0, at)), size(x.dims.slice(at))]);
});

const transpose = on('Transpose', ({ perm }, x) => transposed(x, perm ?? x.dims.map((_, i) => x.dims.length - 1 - i)));

const expand = on('Expand', (_, x, shape) => {
  const to = listOf(shape);
  return to === undefined ? undefined : elementwise([x, filled(to, 0)], (a = 0) => a);
});

const tile = on('Tile', (_, x, repeats) => {
  const times = listOf(repeats);
  return times === undefined
    ? undefined
    : gathered(
        x,
        x.dims.map((d, i) => d * (times[i] ?? 1)),
        (at) => at.map((p, i) => p % (x.dims[i] ?? 1)),
      );
});

const slice = on('Slice', (_, x, starts, ends, axes, steps) => {
  const [from, to] = [listOf(starts), listOf(ends)];
  const along = axes === undefined ? from?.map((_, i) => i) : axesIn(axes, x.dims.length);
  const by = steps === undefined ? from?.map(() => 1) : listOf(steps);
  if (from === undefined || to === undefined || along === undefined || by === undefined) return undefined;
  const dims = [...x.dims];
  const first = x.dims.map(() => 0);
  const step = x.dims.map(() => 1);
  for (const [i, axis] of along.entries()) {
    const [d, s] = [x.dims[axis] ?? 0, by[i] ?? 1];
    const clamp = (v: number): number => {
      const w = v < 0 ? v + d : v;
      return s > 0 ? Math.min(Math.max(w, 0), d) : Math.min(Math.max(w, -1), d - 1);
    };
    const [a, b] = [clamp(from[i] ?? 0), clamp(to[i] ?? 0)];
    first[axis] = a;
    step[axis] = s;
    dims[axis] = Math.max(0, Math.ceil((b - a) / s));
  }
  return gathered(x, dims, (at) => at.map((p, i) => (first[i] ?? 0) + p * (step[i] ?? 1)));
});

const gather = on('Gather', ({ axis }, x, indices) => {
  const at = axisIn(axis, x.dims.length);
  const list = indices === undefined ? undefined : whole(indices);
  if (indices === undefined || list === undefined) return undefined;
  const rank = indices.dims.length;
  const index = (pos: readonly number[]): number =>
    list.values[pos.reduce((n, p, i) => n * (indices.dims[i] ?? 1) + p, 0)] ?? Number.NaN;
  return gathered(x, [...x.dims.slice(0, at), ...indices.dims, ...x.dims.slice(at + 1)], (pos) => {
    const i = axisIn(index(pos.slice(at, at + rank)), x.dims[at] ?? 0);
    return Number.isNaN(i) ? undefined : [...pos.slice(0, at), i, ...pos.slice(at + rank)];
  });
});

/** Positions along the last axis of the indices; without batch axes, as masks of torch.export are read. */
const gatherND = on('GatherND', ({ batch_dims }, x, indices) => {
  const list = indices === undefined ? undefined : whole(indices);
  const depth = indices?.dims.at(-1);
  if (indices === undefined || list === undefined || depth === undefined || batch_dims !== 0) return undefined;
  const rows = indices.dims.slice(0, -1);
  return gathered(x, [...rows, ...x.dims.slice(depth)], (pos) => {
    const row = pos.slice(0, rows.length).reduce((n, p, i) => n * (rows[i] ?? 1) + p, 0) * depth;
    const index = Array.from({ length: depth }, (_, i) => axisIn(list.values[row + i] ?? Number.NaN, x.dims[i] ?? 0));
    return index.some(Number.isNaN) ? undefined : [...index, ...pos.slice(rows.length)];
  });
});

const concat: Entry = [
  'Concat',
  (node, inputs) => {
    const xs = inputs.filter((x) => x !== undefined);
    const [first] = xs;
    const axis = attrsOf(node, 'Concat').axis;
    if (first === undefined || axis === undefined || xs.length !== inputs.length) return undefined;
    const at = axisIn(axis, first.dims.length);
    const starts: number[] = [];
    let length = 0;
    for (const x of xs) {
      starts.push(length);
      length += x.dims[at] ?? 0;
    }
    const dims = first.dims.map((d, i) => (i === at ? length : d));
    const parts = xs.map(whole);
    return gathered({ dims, stored: dims, values: joined(parts, at) ?? new Float64Array() }, dims, (p) => p);
  },
];

/** The elements of tensors concatenated along an axis. */
function joined(parts: readonly (Partly | undefined)[], axis: number): Float64Array | undefined {
  const rows = parts[0]?.dims.slice(0, axis).reduce((a, b) => a * b, 1) ?? 0;
  const out: number[] = [];
  for (let r = 0; r < rows; r++)
    for (const p of parts) {
      if (p === undefined) return undefined;
      const width = p.values.length / rows;
      for (let i = 0; i < width; i++) out.push(p.values[r * width + i] ?? Number.NaN);
    }
  return Float64Array.from(out);
}

const trilu = on('Trilu', ({ upper }, x, k) => {
  const shift = k === undefined ? 0 : listOf(k)?.[0];
  if (shift === undefined) return undefined;
  const kept = (at: readonly number[]): boolean => {
    const d = (at.at(-1) ?? 0) - (at.at(-2) ?? 0);
    return upper === 1 ? d >= shift : d <= shift;
  };
  return gathered(x, x.dims, (at) => (kept(at) ? at : undefined), 0);
});

const cumSum = on('CumSum', ({ exclusive, reverse }, x, axis) => {
  const along = axesIn(axis, x.dims.length)?.[0];
  const all = whole(x);
  if (along === undefined || all === undefined || reverse === 1) return undefined;
  const length = x.dims[along] ?? 0;
  const after = x.dims.slice(along + 1).reduce((a, b) => a * b, 1);
  const values = new Float64Array(all.values.length);
  for (let n = 0; n < values.length; n++) {
    const first = Math.floor(n / after) % length === 0;
    const before = first ? 0 : (values[n - after] ?? 0);
    values[n] = exclusive === 1 ? (first ? 0 : before + (all.values[n - after] ?? 0)) : before + (all.values[n] ?? 0);
  }
  return { dims: x.dims, stored: x.dims, values };
});

const range = on('Range', (_, start, limit, delta) => {
  const [a, b, d] = [listOf(start)?.[0], listOf(limit)?.[0], listOf(delta)?.[0]];
  if (a === undefined || b === undefined || d === undefined || d === 0) return undefined;
  const n = Math.max(0, Math.ceil((b - a) / d));
  if (!(n <= most)) return undefined;
  return known(
    [n],
    Array.from({ length: n }, (_, i) => a + i * d),
  );
});

type Reduction = Extract<OpName, 'ReduceSum' | 'ReduceMax' | 'ReduceMin' | 'ReduceProd'>;
const reduction = (op: Reduction, f: (a: number, b: number) => number): Entry =>
  on(op, ({ keepdims, noop_with_empty_axes }, x, axes) => {
    const all = whole(x);
    const given = axes === undefined ? undefined : axesIn(axes, x.dims.length);
    if (all === undefined || (axes !== undefined && given === undefined)) return undefined;
    if ((given === undefined || given.length === 0) && noop_with_empty_axes === 1) return x;
    const gone = new Set(given === undefined || given.length === 0 ? x.dims.keys() : given);
    const dims = x.dims.map((d, i) => (gone.has(i) ? 1 : d));
    const sums: (number | undefined)[] = [];
    const steps = dims.map((d, i) => (d === 1 ? 0 : dims.slice(i + 1).reduce((a, b) => a * b, 1)));
    all.values.forEach((v, n) => {
      let [rest, to] = [n, 0];
      for (let i = x.dims.length - 1; i >= 0; i--) {
        const d = x.dims[i] ?? 1;
        to += (rest % d) * (steps[i] ?? 0);
        rest = Math.floor(rest / d);
      }
      const before = sums[to];
      sums[to] = before === undefined ? v : f(before, v);
    });
    const kept = keepdims === 1 ? dims : dims.filter((_, i) => !gone.has(i));
    return known(
      kept,
      sums.map((s) => s ?? Number.NaN),
    );
  });

const firstOf = (tensor: Tensor): number | undefined => numbersOf(tensor)?.[0];

const constantOfShape: Entry = [
  'ConstantOfShape',
  (node, [shape]) => {
    const dims = listOf(shape);
    const { value } = attrsOf(node, 'ConstantOfShape');
    if (dims === undefined) return undefined;
    const number = value === undefined ? 0 : firstOf(value);
    return number === undefined ? undefined : filled(dims, number);
  },
];

export const partlyMovement: readonly Entry[] = [
  squeeze,
  unsqueeze,
  reshape,
  flatten,
  transpose,
  expand,
  tile,
  slice,
  gather,
  gatherND,
  concat,
  trilu,
  cumSum,
  range,
  constantOfShape,
  reduction('ReduceSum', (a, b) => a + b),
  reduction('ReduceMax', Math.max),
  reduction('ReduceMin', Math.min),
  reduction('ReduceProd', (a, b) => a * b),
];
