/** Operators that move elements, with lengths as constants, as inputs, or computed from shapes. */
import { sizeOf } from '../../../src/graph/layers.ts';
import type { Value } from '../../../src/graph/model.ts';
import { broadcast, type Draft, type Entry, factors } from './draft.ts';
import type { Step } from './step.ts';

/** An axis, from either end. */
export const axisOf = (d: Draft, rank: number): { axis: number; written: number } => {
  const axis = d.draw(rank);
  return { axis, written: d.draw(2) === 0 ? axis : axis - rank };
};
export const ranks = (e: Entry): boolean => e.shape.length > 0;
export const some = (d: Draft): Entry => d.pick(ranks, () => d.shape(1 + d.draw(3)));

/** Lengths as integers, or in part as arithmetic on the shape of `e`. */
function lengths(d: Draft, dims: readonly number[], e: Entry): Value {
  const { g } = d;
  // How many there are is the rank of the result.
  if (d.draw(3) > 0 || dims.length === 0) return d.whole(dims, [dims.length], { sized: true });
  const parts = dims.map((n) => {
    const axis = e.shape.indexOf(n);
    const own = e.shape.length > 0 && axis >= 0 && d.draw(2) === 0;
    if (own) return g.Gather(g.Shape(e.value), d.fixed([axis]));
    const total = sizeOf(e.shape);
    if (n > 0 && total % n === 0 && d.draw(2) === 0)
      return g.Reshape(g.Div(g.Size(e.value), d.fixed([total / n], [])), d.fixed([1]));
    return d.fixed([n]);
  });
  return g.Concat(parts, { axis: 0 });
}

const permutation = (d: Draft, n: number): number[] => {
  const left = Array.from({ length: n }, (_, i) => i);
  return Array.from({ length: n }, () => left.splice(d.draw(left.length), 1)[0] ?? 0);
};

export const steps: readonly Step[] = [
  {
    ops: ['Reshape'],
    make: (d) => {
      const x = d.pick();
      const dims = factors(d, sizeOf(x.shape), 1 + d.draw(4));
      const written = [...dims];
      // A zero copies a length, one -1 is what is left.
      const at = d.draw(dims.length);
      if (d.draw(2) === 0 && dims[at] === x.shape[at]) written[at] = 0;
      const open = d.draw(dims.length + 1);
      if (open < dims.length && written[open] !== 0) written[open] = -1;
      d.put(d.g.Reshape(x.value, d.draw(2) === 0 ? d.fixed(written) : lengths(d, dims, x)), x.bound, dims);
    },
  },
  {
    ops: ['Reshape'],
    make: (d) => {
      // To the shape of another value.
      const x = d.pick();
      const other = d.find((e) => e !== x && sizeOf(e.shape) === sizeOf(x.shape)) ?? x;
      d.put(d.g.Reshape(x.value, d.g.Shape(other.value), { allowzero: d.draw(2) }), x.bound, other.shape);
    },
  },
  {
    ops: ['Flatten'],
    make: (d) => {
      const x = d.pick();
      const axis = d.draw(2 * x.shape.length + 1) - x.shape.length;
      const at = axis < 0 ? axis + x.shape.length : axis;
      const dims = [sizeOf(x.shape.slice(0, at)), sizeOf(x.shape.slice(at))];
      d.put(d.g.Flatten(x.value, { axis }), x.bound, dims);
    },
  },
  {
    ops: ['Squeeze'],
    make: (d) => {
      const x = d.pick(
        (e) => e.shape.includes(1),
        () => [1, ...d.shape(2)],
      );
      const ones = x.shape.flatMap((n, i) => (n === 1 ? [i] : []));
      // Without axes the rank would not be known where a length is not, which only an input says for sure.
      const all = d.mode === 'static' && x.value.producer === undefined && d.draw(2) === 0;
      const gone = all ? ones : ones.filter((_, i) => i === 0 || d.draw(2) === 0);
      const axes = gone.map((a) => (d.draw(2) === 0 ? a : a - x.shape.length));
      const dims = x.shape.filter((_, i) => !gone.includes(i));
      d.put(d.g.Squeeze(x.value, all ? undefined : d.fixed(axes)), x.bound, dims);
    },
  },
  {
    ops: ['Unsqueeze'],
    make: (d) => {
      const x = d.pick((e) => e.shape.length < 4);
      const rank = x.shape.length + 1 + (x.shape.length < 3 ? d.draw(2) : 0);
      const at = permutation(d, rank).slice(0, rank - x.shape.length);
      const rest = [...x.shape];
      const dims = Array.from({ length: rank }, (_, i) => (at.includes(i) ? 1 : (rest.shift() ?? 1)));
      const axes = at.map((a) => (d.draw(2) === 0 ? a : a - rank));
      d.put(d.g.Unsqueeze(x.value, d.fixed(axes)), x.bound, dims);
    },
  },
  {
    ops: ['Transpose'],
    make: (d) => {
      const x = d.pick();
      const perm = d.draw(3) === 0 ? undefined : permutation(d, x.shape.length);
      const order = perm ?? x.shape.map((_, i) => x.shape.length - 1 - i);
      d.put(
        d.g.Transpose(x.value, { perm }),
        x.bound,
        order.map((p) => x.shape[p] ?? 1),
      );
    },
  },
  {
    ops: ['Expand'],
    make: (d) => {
      const x = d.pick();
      const other = d.partner(x);
      const dims = broadcast(x.shape, other.shape);
      if (dims === undefined) return;
      const target = d.draw(2) === 0 ? d.g.Shape(other.value) : lengths(d, other.shape, x);
      d.put(d.g.Expand(x.value, target), x.bound, dims);
    },
  },
  {
    ops: ['Concat'],
    make: (d) => {
      const x = some(d);
      const { axis, written } = axisOf(d, x.shape.length);
      const fits = (e: Entry): boolean =>
        e.shape.length === x.shape.length && e.shape.every((n, i) => i === axis || n === x.shape[i]);
      const list = [x];
      for (let i = d.draw(3); i > 0; i--) {
        const more = d.draw(2) === 0 ? d.find(fits) : d.operand(x.shape.with(axis, d.draw(3) + 1));
        if (more !== undefined) list.push(more);
      }
      const total = list.reduce((n, e) => n + (e.shape[axis] ?? 0), 0);
      if (sizeOf(x.shape.with(axis, total)) > 64) return;
      d.put(
        d.g.Concat(
          list.map((e) => e.value),
          { axis: written },
        ),
        Math.max(...list.map((e) => e.bound)),
        x.shape.with(axis, total),
      );
    },
  },
  {
    ops: ['Split'],
    make: (d) => {
      const x = some(d);
      const { axis, written } = axisOf(d, x.shape.length);
      const n = x.shape[axis] ?? 1;
      const parts = 1 + d.draw(Math.min(n, 3));
      const equal = d.draw(2) === 0;
      const size = Math.ceil(n / parts);
      const first = 1 + d.draw(n - parts + 1);
      const cut = equal
        ? Array.from({ length: parts }, (_, i) => Math.max(0, Math.min(size, n - i * size)))
        : parts === 1
          ? [n]
          : [first, ...new Array<number>(parts - 2).fill(1), n - first - (parts - 2)];
      if (cut.includes(0)) return;
      const outputs = d.g.node({
        op: 'Split',
        inputs: [x.value, equal ? undefined : d.whole(cut)],
        attrs: { axis: written, num_outputs: equal ? parts : undefined },
        outputs: parts,
      });
      const unread = outputs.length > 1 ? d.draw(outputs.length + 1) : outputs.length;
      outputs.forEach((y, i) => {
        if (i !== unread) d.put(y, x.bound, x.shape.with(axis, cut[i] ?? 0));
      });
    },
  },
  {
    ops: ['Tile'],
    make: (d) => {
      const x = d.pick();
      const repeats = x.shape.map(() => 1 + d.draw(2));
      const dims = x.shape.map((n, i) => n * (repeats[i] ?? 1));
      if (sizeOf(dims) <= 64) d.put(d.g.Tile(x.value, d.whole(repeats)), x.bound, dims);
    },
  },
  {
    ops: ['Trilu'],
    make: (d) => {
      const x = d.pick(
        (e) => e.shape.length > 1,
        () => d.shape(2),
      );
      const k = d.draw(2) === 0 ? undefined : d.whole([d.draw(4) - 2], []);
      d.put(d.g.Trilu(x.value, k, { upper: d.draw(2) }), x.bound, x.shape);
    },
  },
  {
    ops: ['CumSum'],
    make: (d) => {
      const x = some(d);
      const { axis, written } = axisOf(d, x.shape.length);
      const attrs = { exclusive: d.draw(2), reverse: d.draw(2) };
      d.put(d.g.CumSum(x.value, d.whole([written], []), attrs), x.bound * (x.shape[axis] ?? 1), x.shape);
    },
  },
  {
    ops: ['CumProd'],
    since: 26,
    make: (d) => {
      const x = d.around(some(d), [1, -1], 0.2);
      const { written } = axisOf(d, x.shape.length);
      const attrs = { exclusive: d.draw(2), reverse: d.draw(2) };
      d.put(d.g.CumProd(x.value, d.fixed([written], []), attrs), 1.2 ** Math.max(...x.shape), x.shape);
    },
  },
  {
    ops: ['DepthToSpace'],
    make: (d) => {
      const x = d.pick(
        (e) => e.shape.length === 4 && (e.shape[1] ?? 0) % 4 === 0,
        () => [1 + d.draw(2), 4, 1 + d.draw(2), 2],
      );
      const [n = 1, c = 4, h = 1, w = 1] = x.shape;
      const attrs = { blocksize: 2, mode: d.oneOf(['DCR', 'CRD']) };
      d.put(d.g.DepthToSpace(x.value, attrs), x.bound, [n, c / 4, 2 * h, 2 * w]);
    },
  },
  {
    ops: ['SpaceToDepth'],
    make: (d) => {
      const even = ({ shape: [, , h = 1, w = 1], shape }: Entry): boolean =>
        shape.length === 4 && (h % 2) + (w % 2) === 0;
      const x = d.pick(even, () => [1 + d.draw(2), 1 + d.draw(2), 2, 2 * (1 + d.draw(2))]);
      const [n = 1, c = 1, h = 2, w = 2] = x.shape;
      d.put(d.g.SpaceToDepth(x.value, { blocksize: 2 }), x.bound, [n, 4 * c, h / 2, w / 2]);
    },
  },
  {
    ops: ['CenterCropPad'],
    make: (d) => {
      const x = some(d);
      const { axis, written } = axisOf(d, x.shape.length);
      const n = 1 + d.draw(5);
      if (sizeOf(x.shape.with(axis, n)) > 64) return;
      d.put(d.g.CenterCropPad(x.value, d.whole([n]), { axes: [written] }), x.bound, x.shape.with(axis, n));
    },
  },
];
