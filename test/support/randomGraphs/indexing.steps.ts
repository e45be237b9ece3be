/** Operators that pick or place elements, with indices of either sign as constants and as inputs. */
import { sizeOf } from '../../../src/graph/layers.ts';
import type { Draft, Entry } from './draft.ts';
import { layerOf } from './layer.ts';
import { axisOf, some } from './layout.steps.ts';
import type { Step } from './step.ts';

/** Positions below `n`, some of them from the end; apart where `distinct`. */
function positions(d: Draft, count: number, n: number, distinct = false): number[] {
  const left = Array.from({ length: n }, (_, i) => i);
  return Array.from({ length: count }, () => {
    const i = distinct ? (left.splice(d.draw(left.length), 1)[0] ?? 0) : d.draw(n);
    return d.draw(3) === 0 ? i - n : i;
  });
}

const far = 2 ** 40;

/** A slice of n elements: what to write, and how many remain. */
function slice(d: Draft, n: number): { start: number; end: number; step: number; length: number } {
  const step = d.oneOf([1, 1, 2, -1, -2, -2]);
  const a = d.draw(n);
  const b = d.draw(n);
  const [from, to] = step > 0 ? [Math.min(a, b), Math.max(a, b) + 1] : [Math.max(a, b), Math.min(a, b) - 1];
  const length = Math.ceil((to - from) / step);
  const start = d.draw(3) === 0 ? from - n : from;
  const open = d.draw(3) === 0;
  if (step > 0) {
    const end = to === n && open ? far : d.draw(3) === 0 && to < n ? to - n : to;
    return { start, end, step, length };
  }
  return { start, end: to < 0 ? -far : d.draw(3) === 0 ? to - n : to, step, length };
}

export const steps: readonly Step[] = [
  {
    ops: ['Gather'],
    make: (d) => {
      const x = some(d);
      const { axis, written } = axisOf(d, x.shape.length);
      const shape = d.oneOf([[], [1], [2], [3], [2, 2], [1, 1]]);
      const dims = [...x.shape.slice(0, axis), ...shape, ...x.shape.slice(axis + 1)];
      if (sizeOf(dims) > 64 || dims.length > 5) return;
      const type = d.oneOf(['int64', 'int64', 'int32'] as const);
      const at = d.whole(positions(d, sizeOf(shape), x.shape[axis] ?? 1), shape, { type });
      d.put(d.g.Gather(x.value, at, { axis: written }), x.bound, dims);
    },
  },
  {
    // Rows of an embedding
    ops: ['Gather'],
    only: 'float32',
    make: (d) => {
      const [n, width] = [2 + d.draw(4), 1 + d.draw(4)];
      const table = layerOf(d, [n, width]);
      const shape = d.oneOf([[], [1], [3], [2, 2]]);
      const type = d.oneOf(['int64', 'int64', 'int32'] as const);
      const at = d.whole(positions(d, sizeOf(shape), n), shape, { type });
      d.put(d.g.Gather(table.value, at), table.bound, [...shape, width]);
    },
  },
  {
    ops: ['GatherElements'],
    make: (d) => {
      const x = some(d);
      const { axis, written } = axisOf(d, x.shape.length);
      const dims = x.shape.map((n, i) => (i === axis ? 1 + d.draw(3) : d.draw(2) === 0 ? n : 1 + d.draw(n)));
      const at = d.whole(positions(d, sizeOf(dims), x.shape[axis] ?? 1), dims);
      d.put(d.g.GatherElements(x.value, at, { axis: written }), x.bound, dims);
    },
  },
  {
    ops: ['GatherND'],
    make: (d) => {
      const x = some(d);
      const rank = x.shape.length;
      const batch = rank > 1 ? d.draw(2) : 0;
      const depth = 1 + d.draw(rank - batch);
      const picks = [...x.shape.slice(0, batch), ...d.oneOf([[2], [1], [2, 2]])];
      const dims = [...picks, ...x.shape.slice(batch + depth)];
      if (sizeOf(dims) > 64) return;
      const along = x.shape.slice(batch, batch + depth);
      const list = Array.from({ length: sizeOf(picks) }, () => along.flatMap((n) => positions(d, 1, n)));
      const at = d.whole(list.flat(), [...picks, depth], { sized: true });
      d.put(d.g.GatherND(x.value, at, { batch_dims: batch }), x.bound, dims);
    },
  },
  {
    ops: ['ScatterElements'],
    make: (d) => {
      const reduction = d.oneOf(['none', 'add', 'mul', 'max', 'min'] as const);
      const data = some(d);
      const { axis, written } = axisOf(d, data.shape.length);
      const n = data.shape[axis] ?? 1;
      const repeats = reduction !== 'none' && d.draw(2) === 0;
      const shape = data.shape.map((m, i) => (i === axis ? (repeats ? 2 : 1 + d.draw(n)) : 1 + d.draw(m)));
      // Lines along the axis: where nothing may be written twice, each has positions of its own.
      const count = shape[axis] ?? 1;
      const after = sizeOf(shape.slice(axis + 1));
      const lines = Array.from({ length: sizeOf(shape) / count }, () => positions(d, count, n, !repeats));
      const at = Array.from({ length: sizeOf(shape) }, (_, i) => {
        const line = Math.floor(i / (after * count)) * after + (i % after);
        return lines[line]?.[Math.floor(i / after) % count] ?? 0;
      });
      const updates = d.operand(shape);
      const apart = reduction === 'max' || reduction === 'min';
      const place = (e: Entry, i: number): Entry =>
        apart ? d.distinct(e) : reduction === 'mul' ? d.around(e, [1, -1], 0.3) : i >= 0 ? e : e;
      const [x, u] = [place(data, 0), place(updates, 1)];
      // Offsets of both lie on one grid, which half a step takes apart.
      const shifted = apart
        ? d.g.Add(u.value, d.scalar(0.1 * (1 + ((sizeOf(shape) + sizeOf(data.shape)) % 2))))
        : u.value;
      const bound = reduction === 'add' ? x.bound + count * u.bound : reduction === 'mul' ? 3 : x.bound + u.bound;
      d.put(d.g.ScatterElements(x.value, d.whole(at, shape), shifted, { axis: written, reduction }), bound, x.shape);
    },
  },
  {
    ops: ['ScatterND'],
    make: (d) => {
      const x = some(d);
      const reduction = d.oneOf(['none', 'add'] as const);
      const depth = 1 + d.draw(x.shape.length);
      const along = x.shape.slice(0, depth);
      const cells = sizeOf(along);
      const count = 1 + d.draw(Math.min(cells, 3));
      const flat = positions(d, count, cells, reduction === 'none').map((p) => (p < 0 ? p + cells : p));
      const at = flat.flatMap((p) => along.map((n, i) => Math.floor(p / sizeOf(along.slice(i + 1))) % n));
      const updates = d.operand([count, ...x.shape.slice(depth)]);
      const indices = d.whole(at, [count, depth], { sized: true });
      const y = d.g.ScatterND(x.value, indices, updates.value, { reduction });
      d.put(y, x.bound + count * updates.bound, x.shape);
    },
  },
  {
    ops: ['Slice'],
    make: (d) => {
      const x = some(d);
      const first = axisOf(d, x.shape.length);
      const second = axisOf(d, x.shape.length);
      const list = second.axis === first.axis || d.draw(2) === 0 ? [first] : [first, second];
      const cuts = list.map(({ axis }) => slice(d, x.shape[axis] ?? 1));
      const dims = x.shape.map((n, i) => cuts[list.findIndex((l) => l.axis === i)]?.length ?? n);
      const plain = cuts.every((c) => c.step === 1) && d.draw(2) === 0;
      const lead = plain && list.every((l, i) => l.axis === i);
      const y = d.g.Slice(
        x.value,
        d.whole(cuts.map((c) => c.start)),
        d.whole(cuts.map((c) => c.end)),
        // Without axes their number has to be known.
        lead && d.mode === 'static' ? undefined : d.fixed(list.map((l) => l.written)),
        plain ? undefined : d.fixed(cuts.map((c) => c.step)),
      );
      d.put(y, x.bound, dims);
    },
  },
  {
    ops: ['Pad'],
    make: (d) => {
      const x = some(d);
      const mode = d.oneOf(['constant', 'constant', 'edge', 'reflect', 'wrap'] as const);
      const { axis, written } = axisOf(d, x.shape.length);
      const n = x.shape[axis] ?? 1;
      const whole = d.draw(2) === 0;
      const most = mode === 'reflect' ? n - 1 : mode === 'wrap' ? n : 2;
      const least = mode === 'constant' && n > 2 ? -1 : 0;
      const grow = (): number => least + d.draw(Math.max(0, Math.min(most, 2)) - least + 1);
      const [before, after] = [grow(), grow()];
      if ((mode === 'wrap' && d.opset < 19) || sizeOf(x.shape.with(axis, n + before + after)) > 64) return;
      const zeros = x.shape.map(() => 0);
      const pads = whole ? [...zeros.with(axis, before), ...zeros.with(axis, after)] : [before, after];
      const value = mode === 'constant' && d.draw(2) === 0 ? d.operand([]) : undefined;
      const y = d.g.Pad(x.value, d.whole(pads), value?.value, whole ? undefined : d.fixed([written]), { mode });
      d.put(y, Math.max(x.bound, value?.bound ?? 0), x.shape.with(axis, n + before + after));
    },
  },
  {
    ops: ['Compress'],
    make: (d) => {
      const x = some(d);
      const { axis, written } = axisOf(d, x.shape.length);
      const flat = d.draw(2) === 0;
      const n = flat ? sizeOf(x.shape) : (x.shape[axis] ?? 1);
      const flags = Array.from({ length: n }, (_, i) => (i === 0 ? 1 : d.draw(2)));
      const kept = flags.reduce((a, b) => a + b, 0);
      const y = d.g.Compress(x.value, d.whole(flags, [n], { type: 'bool' }), { axis: flat ? undefined : written });
      d.put(y, x.bound, flat ? [kept] : x.shape.with(axis, kept));
    },
  },
  {
    ops: ['ReverseSequence'],
    make: (d) => {
      const x = d.pick(
        (e) => e.shape.length > 1,
        () => d.shape(2),
      );
      const time = d.draw(2);
      const n = x.shape[time] ?? 1;
      const lengths = Array.from({ length: x.shape[1 - time] ?? 1 }, () => 1 + d.draw(n));
      d.put(
        d.g.ReverseSequence(x.value, d.whole(lengths), { time_axis: time, batch_axis: 1 - time }),
        x.bound,
        x.shape,
      );
    },
  },
  {
    ops: ['TopK'],
    make: (d) => {
      const x = d.distinct(some(d));
      const { axis, written } = axisOf(d, x.shape.length);
      const k = 1 + d.draw(x.shape[axis] ?? 1);
      const attrs = { axis: written, largest: d.draw(2), sorted: d.draw(2) };
      const [y] = d.g.node({ op: 'TopK', inputs: [x.value, d.whole([k])], attrs, outputs: 2 });
      if (y !== undefined) d.put(y, x.bound, x.shape.with(axis, k));
    },
  },
  {
    ops: ['TensorScatter'],
    since: 24,
    make: (d) => {
      const past = d.pick(
        (e) => e.shape.length > 2,
        () => d.shape(3),
      );
      const n = past.shape.at(-2) ?? 1;
      const count = 1 + d.draw(n);
      const update = d.operand(past.shape.with(-2, count));
      const mode = d.oneOf(['linear', 'circular'] as const);
      const starts = Array.from({ length: past.shape[0] ?? 1 }, () => d.draw(mode === 'linear' ? n - count + 1 : n));
      const at = d.draw(3) === 0 ? undefined : d.whole(starts);
      d.put(d.g.TensorScatter(past.value, update.value, at, { mode }), past.bound + update.bound, past.shape);
    },
  },
  {
    ops: ['OneHot'],
    only: 'float32',
    make: (d) => {
      const shape = d.shape(1 + d.draw(2));
      const depth = 2 + d.draw(2);
      if (sizeOf(shape) * depth > 64) return;
      const values = d.pick(
        (e) => e.shape.length === 1 && e.shape[0] === 2,
        () => [2],
      );
      const at = d.whole(
        Array.from({ length: sizeOf(shape) }, () => d.draw(depth + 1) - (d.draw(4) === 0 ? 1 : 0)),
        shape,
      );
      const axis = d.draw(shape.length + 1);
      const y = d.g.OneHot(at, d.fixed([depth], []), values.value, { axis: axis - d.draw(2) * (shape.length + 1) });
      d.put(y, values.bound, [...shape.slice(0, axis), depth, ...shape.slice(axis)]);
    },
  },
];
