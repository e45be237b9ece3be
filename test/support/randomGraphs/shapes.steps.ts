/** What exporters write around shapes: scales, masks and positions computed from lengths, and indices computed from data. */
import { sizeOf } from '../../../src/graph/layers.ts';
import type { Draft, Entry } from './draft.ts';
import { axisOf, some } from './layout.steps.ts';
import type { Step } from './step.ts';

/** 0, 1, 2 … along an axis of `e`. */
const line = (d: Draft, e: Entry, axis: number): Entry['value'] => {
  const { g } = d;
  const length =
    d.draw(2) === 0
      ? g.Gather(g.Shape(e.value), g.int(axis))
      : g.Squeeze(g.Shape(e.value, { start: axis, end: axis + 1 }), g.ints([0]));
  return g.Range(g.int(0), length, g.int(1));
};

export const steps: readonly Step[] = [
  {
    // x/√d
    ops: ['Cast'],
    make: (d) => {
      const { g } = d;
      const x = some(d);
      const { axis } = axisOf(d, x.shape.length);
      const length = g.Cast(g.Gather(g.Shape(x.value), d.fixed([axis], d.oneOf([[], [1]]))), {
        to: d.type === 'float64' ? 11 : 1,
      });
      d.put(g.Div(x.value, g.Sqrt(length)), x.bound, x.shape);
    },
  },
  {
    // A causal mask over the last two axes.
    ops: ['Where'],
    make: (d) => {
      const { g } = d;
      const x = d.pick(
        (e) => e.shape.length > 1,
        () => d.shape(2),
      );
      const rank = x.shape.length;
      const keeps = g.LessOrEqual(line(d, x, rank - 1), g.Unsqueeze(line(d, x, rank - 2), g.ints([1])));
      const rest = d.scalar(d.oneOf([0, -1, 2]));
      const y = d.draw(2) === 0 ? g.Where(keeps, x.value, rest) : g.Where(g.Not(keeps), rest, x.value);
      d.put(y, Math.max(2, x.bound), x.shape);
    },
  },
  {
    ops: ['Gather'],
    make: (d) => {
      const { g } = d;
      const x = d.distinct(some(d));
      const { axis, written } = axisOf(d, x.shape.length);
      const op = d.oneOf(['ArgMax', 'ArgMin'] as const);
      const at = g[op](x.value, { axis: written, keepdims: 1 });
      d.put(g.GatherElements(x.value, at, { axis: written }), x.bound, x.shape.with(axis, 1));
    },
  },
  {
    ops: ['Gather'],
    make: (d) => {
      // Everything in reverse, or all but the first.
      const { g } = d;
      const x = some(d);
      const { axis, written } = axisOf(d, x.shape.length);
      const n = x.shape[axis] ?? 1;
      const positions = line(d, x, axis);
      if (d.draw(2) === 0) {
        const y = g.Gather(x.value, g.Sub(g.int(-1), positions), { axis: written });
        d.put(y, x.bound, x.shape);
      } else if (n > 1)
        d.put(
          g.Gather(x.value, g.Slice(positions, d.fixed([1]), d.fixed([2 ** 40])), { axis }),
          x.bound,
          x.shape.with(axis, n - 1),
        );
    },
  },
  {
    ops: ['Expand'],
    make: (d) => {
      const { g } = d;
      const x = d.pick();
      const ones = g.Expand(d.scalar(0.5), g.Shape(x.value));
      d.put(d.draw(2) === 0 ? g.Mul(x.value, ones) : g.Add(ones, x.value), x.bound + 0.5, x.shape);
    },
  },
  {
    // Up to a bound that is computed: all but the last, or the first half.
    ops: ['Slice'],
    make: (d) => {
      const { g } = d;
      const x = some(d);
      const { axis, written } = axisOf(d, x.shape.length);
      const n = x.shape[axis] ?? 1;
      if (n < 2) return;
      const length = g.Gather(g.Shape(x.value), g.ints([axis]));
      const half = d.draw(2) === 0;
      const end = half ? g.Div(length, d.fixed([2])) : g.Sub(length, d.fixed([1]));
      const rest = half ? Math.floor(n / 2) : n - 1;
      if (d.draw(2) === 0)
        d.put(g.Slice(x.value, d.fixed([0]), end, d.fixed([written])), x.bound, x.shape.with(axis, rest));
      else d.put(g.Slice(x.value, end, d.fixed([2 ** 40]), d.fixed([written])), x.bound, x.shape.with(axis, n - rest));
    },
  },
  {
    // Heads apart and together again, as attention does it.
    ops: ['Reshape', 'Transpose'],
    make: (d) => {
      const { g } = d;
      const x = d.pick(
        (e) => e.shape.length === 3 && (e.shape[2] ?? 1) % 2 === 0,
        () => [1 + d.draw(2), 1 + d.draw(3), 2 * (1 + d.draw(2))],
      );
      const [n = 1, s = 1, w = 2] = x.shape;
      const shape = g.Shape(x.value);
      const at = (i: number): Entry['value'] => g.Gather(shape, g.ints([i]));
      const target =
        d.draw(2) === 0 ? d.fixed([0, 0, 2, -1]) : g.Concat([at(0), at(1), g.ints([2, w / 2])], { axis: 0 });
      const heads = g.Transpose(g.Reshape(x.value, target), { perm: [0, 2, 1, 3] });
      if (d.draw(2) === 0) return void d.put(heads, x.bound, [n, 2, s, w / 2]);
      const joined = g.Transpose(g.Tanh(heads), { perm: [0, 2, 1, 3] });
      const back = g.Concat([at(0), d.draw(2) === 0 ? g.ints([-1]) : at(1), g.ints([w])], { axis: 0 });
      d.put(g.Reshape(joined, back), 1, x.shape);
    },
  },
  {
    ops: ['Reshape'],
    make: (d) => {
      // All rows as one axis, a product, and back.
      const { g } = d;
      const x = some(d);
      const w = x.shape.at(-1) ?? 1;
      const rows = sizeOf(x.shape) / w;
      const flat = g.Reshape(x.value, d.fixed([-1, w]));
      const y = g.Mul(flat, d.operand([d.oneOf([1, rows]), w]).value);
      d.put(g.Reshape(y, g.Shape(x.value)), 1.1 * x.bound, x.shape);
    },
  },
];
