/**
 * Operators that read an image between its elements. A position is an element index and a fraction; the neighbouring
 * elements have weights that are polynomials of the fraction. Differentiating that body gives the gradients of the
 * image and of the positions (Jaderberg et al. 2015, "Spatial transformer networks").
 */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import { dataTypeNumber } from '../../../graph/tensor.ts';
import { asInt64, type Length } from '../../common/dimArithmetic.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { decompose } from '../rules.ts';

type G = Builder & GradTools;

/** Weights of the taps `first`, `first + 1`, …: for each power of the fraction, from 0 on, one coefficient per tap. */
interface Kernel {
  readonly first: number;
  readonly powers: readonly (readonly number[])[];
}

const linear: Kernel = { first: 0, powers: [[1, 0], [-1, 1]] }; // biome-ignore format: rows
/** Keys 1981 with a = -0.75. */
const cubic: Kernel = {
  first: -1,
  powers: [
    [0, 1, 0, 0],
    [-0.75, 0, 0.75, 0],
    [1.5, -2.25, 1.5, -0.75],
    [-0.75, 1.25, -1.25, 0.75],
  ],
};
const kernels: ReadonlyMap<string, Kernel> = new Map([
  ['linear', linear],
  ['cubic', cubic],
  ['nearest', { first: 0, powers: [[1]] }],
]);

/** Elements along one axis with their weights: [batch, points, taps]. */
interface Taps {
  readonly index: Value;
  readonly weight: Value;
  readonly count: number;
}

type Padding = (index: Value, length: Length) => Value;

/** `at` [batch, points]. Without `padding`, elements outside are zero. */
function taps(g: G, at: Value, length: Length, { first, powers }: Kernel, padding?: Padding): Taps {
  const below = powers.length === 1 ? g.Round(at) : g.Floor(at);
  const fraction = g.Unsqueeze(g.Sub(at, below), g.ints([2]));
  const count = powers[0]?.length ?? 0;
  const [constant, ...others] = powers
    .toReversed()
    .map((values) => g.CastLike(g.constant('float32', [count], values), at));
  const places = g.Unsqueeze(g.Cast(below, { to: dataTypeNumber('int64') }), g.ints([2]));
  const index = g.Add(places, g.ints(Array.from({ length: count }, (_, i) => first + i)));
  // Horner's method.
  const start = g.Expand(constant ?? at, g.shapeOf(index));
  const whole = others.reduce((sum, c) => g.Add(g.Mul(sum, fraction), c), start);
  if (padding !== undefined) return { index: padding(index, length), weight: whole, count };
  const inside = g.And(g.GreaterOrEqual(index, g.int(0)), g.Less(index, g.vector([length])));
  return { index: clamp(g, index, length), weight: g.Where(inside, whole, g.like(at, 0)), count };
}

const clamp = (g: G, index: Value, length: Length): Value =>
  g.Max([g.Min([index, g.vector([g.minus(length, 1)])]), g.ints([0])]);

/**
 * Mirrors positions outside to positions inside: about the outermost elements, or about the edges half an element
 * further.
 */
function mirror(g: G, index: Value, length: Length, aligned: boolean): Value {
  const last = g.minus(length, 1);
  const period = g.most(g.times(2, aligned ? last : length), 1);
  const inside = g.Mod(index, g.vector([period]));
  return g.Min([inside, g.Sub(g.vector([aligned ? period : g.minus(period, 1)]), inside)]);
}

/**
 * x [N, C, …] at points of several batch entries: [C, batch, points]. `batch` [batch] is the entry of x that each
 * reads.
 */
function sampled(g: G, x: Value, batch: Value, axes: readonly Taps[], { max = false } = {}): Value {
  const sizes = g.lengths(x, 2);
  const all = axes.reduce((a, b, i): Taps => {
    const count = a.count * b.count;
    const joined = (p: Value, q: Value, op: (p: Value, q: Value) => Value): Value =>
      g.Reshape(op(g.Unsqueeze(p, g.ints([3])), g.Unsqueeze(q, g.ints([2]))), g.ints([0, 0, count]));
    return {
      index: joined(g.Mul(a.index, g.vector([sizes[i] ?? 1])), b.index, g.Add),
      weight: joined(a.weight, b.weight, g.Mul),
      count,
    };
  });
  const size = g.times(...sizes);
  const from = g.Unsqueeze(g.Mul(batch, g.vector([size])), g.ints([1, 2]));
  const turned = g.Transpose(x, { perm: [1, 0, ...g.axesFrom(x, 2)] });
  const flat = g.shaped(turned, [g.length(x, 1), g.times(g.length(x, 0), size)]);
  const picked = g.Gather(flat, g.Add(all.index, from), { axis: 1 });
  return (max ? g.ReduceMax : g.ReduceSum)(g.Mul(picked, all.weight), g.ints([3]), { keepdims: 0 });
}

/** A dim as a float of v's type. */
const real = (g: G, length: Length, v: Value): Value =>
  typeof length === 'number' ? g.like(v, length) : g.CastLike(g.scalar(length), v);
const line = (g: G, n: Length): Value => g.Range(g.int(0), g.scalar(n), g.int(1));

decompose('GridSample', ({ inputs: [x, grid], attrs: { align_corners, mode, padding_mode }, g }) => {
  const sizes = g.lengths(x, 2);
  const places = g.lengths(grid, 1, sizes.length + 1);
  const points = g.shaped(grid, [g.length(grid, 0), g.times(...places), sizes.length]);
  const aligned = align_corners !== 0;
  const paddings: Readonly<Record<string, Padding | undefined>> = {
    border: (index, length) => clamp(g, index, length),
    reflection: (index, length) => mirror(g, index, length, aligned),
  };
  const axes = sizes.map((length, i) => {
    // The grid lists the last axis first; -1 and 1 are its ends.
    const unit = g.Add(g.Gather(points, g.int(sizes.length - 1 - i), { axis: 2 }), g.like(grid, 1));
    const whole = g.Mul(unit, real(g, aligned ? g.minus(length, 1) : length, grid));
    const at = g.Div(aligned ? whole : g.Sub(whole, g.like(grid, 1)), g.like(grid, 2));
    return taps(g, at, length, kernels.get(mode) ?? linear, paddings[padding_mode]);
  });
  const y = sampled(g, x, line(g, g.length(x, 0)), axes);
  return [g.shaped(g.Transpose(y, { perm: [1, 0, 2] }), [g.length(x, 0), g.length(x, 1), ...places])];
});

/** One axis of RoiAlign: the positions of each region's samples, and the number of samples of each bin. */
interface Samples {
  /** [regions, bins · samples] */
  readonly taps: Taps;
  /** [regions, bins, samples]: one over the number of samples, zero for a sample outside. */
  readonly share: Value;
  /** [regions, 1, samples]: the number of samples differs between regions. */
  readonly taken: Value;
  readonly bins: number;
  readonly samples: Length;
}

/** Mean or maximum of samples spread evenly over each bin of a region (He et al. 2017, "Mask R-CNN"). */
decompose('RoiAlign', ({ inputs: [x, rois, batch], attrs, g }) => {
  const half = attrs.coordinate_transformation_mode === 'half_pixel';
  const [zero, one] = [g.like(rois, 0), g.like(rois, 1)];
  const axis = (at: number, bins: number): Samples => {
    const length = g.length(x, 3 - at);
    const edge = (i: number): Value => {
      const scaled = g.Mul(g.Gather(rois, g.ints([i]), { axis: 1 }), g.like(rois, attrs.spatial_scale));
      return half ? g.Sub(scaled, g.like(rois, 0.5)) : scaled;
    };
    const [start, extent] = [edge(at), g.Sub(edge(at + 2), edge(at))];
    const bin = g.Unsqueeze(g.Div(half ? extent : g.Max([extent, one]), g.like(rois, bins)), g.ints([2]));
    // [regions, 1, 1]; zero for a region without extent.
    const wanted = attrs.sampling_ratio > 0 ? g.like(rois, attrs.sampling_ratio) : g.Ceil(bin);
    const count = g.Max([wanted, one]);
    const samples =
      attrs.sampling_ratio > 0
        ? attrs.sampling_ratio
        : g.Reshape(g.Cast(g.ReduceMax(count), { to: dataTypeNumber('int64') }), g.ints([1]));
    const sample = g.CastLike(line(g, samples), rois);
    const inBin = g.Div(g.Add(sample, g.like(rois, 0.5)), count);
    const places = g.Add(inBin, g.Unsqueeze(g.CastLike(line(g, bins), rois), g.ints([1])));
    const all = g.Add(g.Mul(places, bin), g.Unsqueeze(start, g.ints([2])));
    const taken = g.Less(sample, g.Expand(wanted, g.shapeOf(bin)));
    const inside = g.And(g.GreaterOrEqual(all, g.like(rois, -1)), g.LessOrEqual(all, real(g, length, rois)));
    const share = g.Where(g.And(inside, taken), g.Div(one, count), zero);
    const within = g.Max([g.Min([all, real(g, g.minus(length, 1), rois)]), zero]);
    const at2 = g.shaped(within, [g.length(rois, 0), g.times(bins, samples)]);
    return { taps: taps(g, at2, length, linear, (index) => clamp(g, index, length)), share, taken, bins, samples };
  };
  const [high, wide] = [axis(1, attrs.output_height), axis(0, attrs.output_width)];
  const [rows, columns] = [g.times(high.bins, high.samples), g.times(wide.bins, wide.samples)];
  const spread = ({ index, weight, count }: Taps, along: number): Taps => {
    const over = (v: Value): Value => {
      const shape = [g.length(rois, 0), rows, columns, count];
      return g.shaped(g.Expand(g.Unsqueeze(v, g.ints([along])), g.vector(shape)), [
        g.length(rois, 0),
        g.times(rows, columns),
        count,
      ]);
    };
    return { index: over(index), weight: over(weight), count };
  };
  const y = g.shaped(
    sampled(g, x, asInt64(g, batch), [spread(high.taps, 2), spread(wide.taps, 1)], { max: attrs.mode === 'max' }),
    [g.length(x, 1), g.length(rois, 0), high.bins, high.samples, wide.bins, wide.samples],
  );
  const both = (of: 'share' | 'taken', op: (p: Value, q: Value) => Value): Value =>
    op(g.Unsqueeze(high[of], g.ints([3, 4])), g.Unsqueeze(wide[of], g.ints([1, 2])));
  const shares = both('share', g.Mul);
  if (attrs.mode !== 'max') {
    const mean = g.ReduceSum(g.Mul(y, shares), g.ints([3, 5]), { keepdims: 0 });
    return [g.Transpose(mean, { perm: [1, 0, 2, 3] })];
  }
  // Samples outside are zeros, and so is the maximum of none.
  const seen = g.Where(g.Greater(shares, zero), y, g.like(x, 0));
  const largest = g.ReduceMax(g.Where(both('taken', g.And), seen, g.like(x, lowest)), g.ints([3, 5]), { keepdims: 0 });
  return [g.Transpose(orZero(g, largest), { perm: [1, 0, 2, 3] })];
});

const lowest = -3e38;
/** Zero where the maximum had no sample. */
const orZero = (g: G, y: Value): Value => g.Where(g.Greater(y, g.like(y, lowest / 2)), y, g.like(y, 0));

/** The largest element of each bin of a region whose edges are rounded (Girshick 2015, "Fast R-CNN"). */
decompose(
  'MaxRoiPool',
  ({ inputs: [x, rois], attrs: { pooled_shape: [rows = 1, columns = 1] = [], spatial_scale }, g }) => {
    const one = g.like(rois, 1);
    const column = (i: number): Value => g.Gather(rois, g.ints([i]), { axis: 1 });
    const edge = (i: number): Value => g.Floor(g.Add(g.Mul(column(i), g.like(rois, spatial_scale)), g.like(rois, 0.5)));
    /** [regions, bins, length] */
    const inside = (at: number, bins: number): Value => {
      const length = g.length(x, 4 - at);
      const start = edge(at);
      const bin = g.Div(g.Max([g.Add(g.Sub(edge(at + 2), start), one), one]), g.like(rois, bins));
      const low = g.CastLike(line(g, bins), rois);
      const ends = [g.Floor(g.Mul(low, bin)), g.Ceil(g.Mul(g.Add(low, one), bin))].map((v) =>
        g.Unsqueeze(g.Add(v, start), g.ints([2])),
      );
      const places = g.CastLike(line(g, length), rois);
      const [from = low, to = low] = ends;
      return g.And(g.GreaterOrEqual(places, from), g.Less(places, to));
    };
    const [tall, broad] = [inside(2, rows), inside(1, columns)];
    const outside = g.like(x, lowest);
    const own = g.Gather(x, g.Cast(g.Squeeze(column(0), g.ints([1])), { to: dataTypeNumber('int64') }));
    const inRows = g.Where(g.Unsqueeze(tall, g.ints([1, 4])), g.Unsqueeze(own, g.ints([2])), outside);
    const byRow = g.ReduceMax(inRows, g.ints([3]), { keepdims: 0 });
    const inBins = g.Where(g.Unsqueeze(broad, g.ints([1, 2])), g.Unsqueeze(byRow, g.ints([3])), outside);
    const y = g.ReduceMax(inBins, g.ints([4]), { keepdims: 0 });
    return [orZero(g, y)];
  },
);

/**
 * A convolution that reads each element of its kernel at an offset, weighted (Zhu et al. 2019, "Deformable ConvNets
 * v2").
 */
decompose('DeformConv', ({ inputs: [x, w, offset, bias, mask], attrs, g }) => {
  const { group, offset_group: parts } = attrs;
  const kernel = g.lengths(w, 2);
  const places = g.lengths(offset, 2);
  const [batch, channels] = [g.length(x, 0), g.length(x, 1)];
  const [window, points] = [g.times(...kernel), g.times(...places)];
  const moves = g.shaped(offset, [g.times(batch, parts), window, kernel.length, points]);
  const reads = g.times(window, points);
  const axes = kernel.map((k, i) => {
    const [stride, dilation, pad] = [attrs.strides?.[i] ?? 1, attrs.dilations?.[i] ?? 1, attrs.pads?.[i] ?? 0];
    const column = (v: Value, at: number, of: number): Value =>
      g.Reshape(v, g.ints(Array.from({ length: of }, (_, j) => (j === at ? -1 : 1))));
    // [kernel, 1] and [1, places], both with the other axes in between.
    const taken = column(g.Mul(line(g, k), g.int(dilation)), i, 2 * kernel.length);
    const start = column(
      g.Sub(g.Mul(line(g, places[i] ?? 1), g.int(stride)), g.int(pad)),
      i + kernel.length,
      2 * kernel.length,
    );
    const grid = g.Expand(g.Add(taken, start), g.vector([...kernel, ...places]));
    const rest = g.CastLike(g.shaped(grid, [window, points]), x);
    const at = g.Add(g.Gather(moves, g.int(i), { axis: 2 }), rest);
    return taps(g, g.shaped(at, [g.times(batch, parts), reads]), g.length(x, i + 2), linear);
  });
  const own = g.shaped(x, [g.times(batch, parts), g.over(channels, parts), ...g.lengths(x, 2)]);
  const read = g.Transpose(sampled(g, own, line(g, g.times(batch, parts)), axes), { perm: [1, 0, 2] });
  const weighted = mask === undefined ? read : g.Mul(read, g.shaped(mask, [g.times(batch, parts), 1, reads]));
  const columns = g.shaped(weighted, [batch, group, g.times(g.over(channels, group), window), points]);
  const out = g.length(w, 0);
  const rows = g.shaped(w, [group, g.over(out, group), g.times(g.length(w, 1), window)]);
  const y = g.shaped(g.MatMul(rows, columns), [batch, out, ...places]);
  if (bias === undefined) return [y];
  return [g.Add(y, g.Reshape(bias, g.ints([-1, ...kernel.map(() => 1)])))];
});
