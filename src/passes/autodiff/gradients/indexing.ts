/**
 * Operators that pick or place elements. Picked elements are put back among zeros: by Pad for a block, by a Gather of
 * the inverse if the picks are known and distinct, by ScatterElements otherwise. Never by ScatterND with reduction add:
 * ONNX Runtime's CPU kernel adds from several threads without a lock and loses updates (onnxruntime issue 23396).
 */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import { knownInts, type Length } from '../../common/dimArithmetic.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { grad } from '../rules.ts';

type G = Builder & GradTools;

/** A block at `starts` of these axes, padded with zeros to x's shape. */
function placed(g: G, block: Value, x: Value, axes: readonly number[], starts: readonly Length[]): Value {
  const ends = axes.map((a, i) => g.minus(g.minus(g.length(x, a), starts[i] ?? 0), g.length(block, a)));
  if ([...starts, ...ends].every((l) => l === 0)) return block;
  return g.Pad(block, g.vector([...starts, ...ends]), undefined, g.ints(axes));
}

/**
 * dy, picked from x along `axis` at the positions of a vector, added back: zeros elsewhere, repeated positions add up.
 */
function returned(g: G, dy: Value, x: Value, axis: number, positions: Value): Value {
  const total = x.shape?.[axis];
  const known = typeof total === 'number' ? knownInts(positions)?.map((p) => (p < 0 ? p + total : p)) : undefined;
  if (typeof total === 'number' && known !== undefined && new Set(known).size === known.length) {
    const from = Array.from({ length: total }, (_, i) => known.indexOf(i));
    if (!from.includes(-1)) return g.Gather(dy, g.ints(from), { axis });
    const more = g.Pad(dy, g.ints([0, 1]), undefined, g.ints([axis]));
    // -1, where nothing was picked, is the row of zeros at the end.
    return g.Gather(more, g.ints(from), { axis });
  }
  const column = [-1, ...new Array<number>(g.rank(x) - axis - 1).fill(1)];
  const spread = g.Expand(g.Reshape(positions, g.ints(column)), g.shapeOf(dy));
  return g.ScatterElements(g.zerosLike(x), spread, dy, { axis, reduction: 'add' });
}

/** The flat position of each element of x, in x's shape. */
const positionsOf = (g: G, x: Value): Value => g.reshapeLike(g.Range(g.int(0), g.Size(x), g.int(1)), x);
const flat = (g: G, v: Value): Value => g.Reshape(v, g.ints([-1]));

/**
 * dy added back to the elements that `move` read, found by moving positions. For moves that are only known at run time.
 */
function traced(g: G, x: Value, dy: Value, move: (positions: Value) => Value): Value {
  const zeros = g.Expand(g.like(x, 0), g.Reshape(g.Size(x), g.ints([1])));
  const at = flat(g, move(positionsOf(g, x)));
  return g.reshapeLike(g.ScatterElements(zeros, at, flat(g, dy), { axis: 0, reduction: 'add' }), x);
}

grad('Gather', ({ inputs: [x, indices], attrs: { axis: a }, dy, g }) => {
  const axis = g.axis(x, a);
  const count = g.times(...g.lengths(indices));
  const one = count === 1;
  // The axes of the indices are merged into one.
  const lined = [...g.lengths(x, 0, axis), count, ...g.lengths(x, axis + 1)];
  const picked =
    indices.shape?.length === 1
      ? dy
      : one && indices.shape?.length === 0
        ? g.Unsqueeze(dy, g.ints([axis]))
        : g.shaped(dy, lined);
  if (!one) return [returned(g, picked, x, axis, indices)];
  const position = g.element(indices.shape?.length === 1 ? indices : g.Reshape(indices, g.ints([1])), 0);
  const at = knownInts(indices)?.[0] ?? position;
  return [placed(g, picked, x, [axis], [g.fromStart(at, g.length(x, axis))])];
});

grad('GatherElements', ({ inputs: [x, indices], attrs: { axis }, dy, g }) => [
  g.ScatterElements(g.zerosLike(x), indices, dy, { axis, reduction: 'add' }),
]);

/**
 * Converts positions along the last axis of `indices` to one position in the merged first axes of `data`: [batch...,
 * picks] flat.
 */
function merged(
  g: G,
  { data, indices, batch, depth }: { data: Value; indices: Value; batch: number; depth: number },
): { rows: Value; total: Length } {
  const sizes = g.lengths(data, batch, batch + depth);
  const strides = sizes.map((_, i) => g.times(...sizes.slice(i + 1)));
  const positive = g.Where(g.Less(indices, g.int(0)), g.Add(indices, g.vector(sizes)), indices);
  const lined = g.ReduceSum(g.Mul(positive, g.vector(strides)), g.ints([-1]));
  const before = g.times(...g.lengths(data, 0, batch));
  const total = g.times(before, ...sizes);
  if (batch === 0) return { rows: flat(g, lined), total };
  const picks = g.times(...g.lengths(indices, batch, -1));
  const step = g.times(...sizes);
  const offset = g.Mul(g.Range(g.int(0), g.scalar(before), g.int(1)), g.vector([step]));
  const perBatch = g.Add(g.shaped(lined, [before, picks]), g.Unsqueeze(offset, g.ints([1])));
  return { rows: flat(g, perBatch), total };
}

grad('GatherND', ({ inputs: [x, indices], attrs: { batch_dims: batch }, dy, g }) => {
  const depth = indices.shape?.at(-1);
  if (typeof depth !== 'number') return [traced(g, x, dy, (p) => g.GatherND(p, indices, { batch_dims: batch }))];
  const { rows, total } = merged(g, { data: x, indices, batch, depth });
  const width = g.times(...g.lengths(x, batch + depth));
  const count = g.times(...g.lengths(indices, 0, -1));
  const updates = g.shaped(dy, [count, width]);
  const spread = g.Expand(g.Unsqueeze(rows, g.ints([1])), g.vector([count, width]));
  const zeros = g.Expand(g.like(x, 0), g.vector([total, width]));
  return [g.reshapeLike(g.ScatterElements(zeros, spread, updates, { axis: 0, reduction: 'add' }), x)];
});

interface Scattered {
  readonly data: Value;
  readonly indices: Value;
  readonly updates: Value;
  readonly y: Value;
  readonly dy: Value;
  readonly axis: number;
  readonly reduction: string;
}

/**
 * y = data with `updates` written to it or combined with it. Ties of a reduction share the gradient, as in
 * torch.scatter_reduce.
 */
function scattered(g: G, { data, indices, updates, y, dy, axis, reduction }: Scattered): [Value, Value] {
  const gather = (v: Value): Value => g.GatherElements(v, indices, { axis });
  const scatter = (v: Value, u: Value, by: string): Value => g.ScatterElements(v, indices, u, { axis, reduction: by });
  if (reduction === 'add') return [dy, gather(dy)];
  if (reduction === 'none') return [scatter(dy, g.zerosLike(updates), 'none'), gather(dy)];
  const [zero, one] = [g.like(dy, 0), g.like(dy, 1)];
  if (reduction === 'mul') {
    // The product of the others: y/v, or if v is the only zero the product of the rest.
    const nonzero = (v: Value): Value => g.Where(g.Equal(v, zero), one, v);
    const isZero = (v: Value): Value => g.CastLike(g.Equal(v, zero), dy);
    const rest = scatter(nonzero(data), nonzero(updates), 'mul');
    const zeros = scatter(isZero(data), isZero(updates), 'add');
    const others = (v: Value, r: Value, z: Value): Value => g.Where(g.Equal(z, isZero(v)), g.Div(r, nonzero(v)), zero);
    return [g.Mul(dy, others(data, rest, zeros)), g.Mul(gather(dy), others(updates, gather(rest), gather(zeros)))];
  }
  const [hit, hits] = [g.CastLike(g.Equal(data, y), dy), g.CastLike(g.Equal(updates, gather(y)), dy)];
  const share = g.Div(dy, scatter(hit, hits, 'add'));
  return [g.Mul(share, hit), g.Mul(gather(share), hits)];
}

grad('ScatterElements', ({ inputs: [data, indices, updates], outputs: [y], attrs, dy, g }) => {
  const [dData, dUpdates] = scattered(g, { data, indices, updates, y, dy, ...attrs });
  return [dData, undefined, dUpdates];
});

grad('ScatterND', ({ inputs: [data, indices, updates], outputs: [y], attrs: { reduction }, dy, g }) => {
  if (reduction === 'add') return [dy, undefined, g.GatherND(dy, indices)];
  if (reduction === 'none') return [g.ScatterND(dy, indices, g.zerosLike(updates)), undefined, g.GatherND(dy, indices)];
  const [d, u, r, dr] = [flat(g, data), flat(g, updates), flat(g, y), flat(g, dy)];
  const at = flat(g, g.GatherND(positionsOf(g, data), indices));
  const [dData, dUpdates] = scattered(g, { data: d, indices: at, updates: u, y: r, dy: dr, axis: 0, reduction });
  return [g.reshapeLike(dData, data), undefined, g.reshapeLike(dUpdates, updates)];
});

/** Every |step|-th position from the lowest is dy, in reverse order if the step is negative. */
grad('Slice', ({ inputs: [x, starts, ends, axes, steps], dy, g }) => {
  const size = starts.shape?.[0];
  const list =
    axes === undefined
      ? typeof size === 'number'
        ? Array.from({ length: size }, (_, i) => i)
        : undefined
      : knownInts(axes);
  const strides = steps === undefined ? list?.map(() => 1) : knownInts(steps);
  if (list === undefined || strides === undefined || x.shape === undefined)
    return [traced(g, x, dy, (p) => g.Slice(p, starts, ends, axes, steps))];
  const along = list.map((a) => g.axis(x, a));
  const sizes = along.map((a) => g.length(x, a));
  const firsts = along.map((_, i) => g.fromStart(g.element(starts, i), sizes[i] ?? 0));
  let [block, lows] = [dy, firsts];
  along.forEach((axis, i) => {
    const by = strides[i] ?? 1;
    const n = g.length(dy, axis);
    if (by < 0) {
      block = g.Slice(block, g.ints([-1]), g.ints([-(2 ** 53)]), g.ints([axis]), g.ints([-1]));
      lows = lows.with(i, g.plus(g.least(firsts[i] ?? 0, g.minus(sizes[i] ?? 0, 1)), g.times(g.minus(n, 1), by)));
    }
    if (Math.abs(by) > 1) block = apart(g, block, axis, Math.abs(by));
  });
  const at = lows.map((low) => g.most(low, 0));
  return [placed(g, block, x, along, at)];
});

/** Inserts zeros after each element along the axis: its dim times `by`. */
function apart(g: G, v: Value, axis: number, by: number): Value {
  const wide = g.Pad(g.Unsqueeze(v, g.ints([axis + 1])), g.ints([0, by - 1]), undefined, g.ints([axis + 1]));
  const shape = g.lengths(v).map((l, i) => (i === axis ? g.times(l, by) : l));
  return g.shaped(wide, shape);
}

/**
 * Constant padding: padding is cut off, and elements removed by a negative pad come back as zero, so the pads change
 * sign. The other modes are gathers with repeated positions, axis by axis.
 */
grad('Pad', ({ inputs: [x, pads, value, axes], attrs: { mode }, dy, g }) => {
  if (mode === 'constant') {
    const dx = g.Pad(dy, g.Neg(pads), undefined, axes);
    const total = (v: Value): Value => g.ReduceSum(v);
    return [dx, undefined, value === undefined ? undefined : g.reshapeLike(g.Sub(total(dy), total(dx)), value)];
  }
  const known = axes === undefined ? x.shape?.map((_, i) => i) : knownInts(axes);
  if (known === undefined || x.shape === undefined)
    return [traced(g, x, dy, (p) => g.Pad(p, pads, undefined, axes, { mode }))];
  const list = known.map((a) => g.axis(x, a));
  const begins = list.map((_, i) => g.element(pads, i));
  const grown = list.map((_, i) => begins[i] !== 0 || g.element(pads, i + list.length) !== 0);
  // One axis after the other: before an axis is processed, dy has the padded dim there, afterwards x's.
  const dx = list.reduce((d, axis, i) => {
    if (grown[i] === false) return d;
    const n = g.length(x, axis);
    const at = g.Sub(g.Range(g.int(0), g.scalar(g.length(dy, axis)), g.int(1)), g.vector([begins[i] ?? 0]));
    const source = mirrored(g, mode, at, g.vector([n]), g.vector([g.minus(n, 1)]));
    const target = g.lengths(d).map((l, j) => (j === axis ? n : l));
    const spread = g.Expand(
      g.Reshape(source, g.ints([-1, ...new Array<number>(g.rank(x) - axis - 1).fill(1)])),
      g.shapeOf(d),
    );
    const zeros = g.Expand(g.like(x, 0), g.vector(target));
    return g.ScatterElements(zeros, spread, d, { axis, reduction: 'add' });
  }, dy);
  return [dx];
});

/** The inner position that a position in the padding repeats. */
function mirrored(g: G, mode: string, at: Value, length: Value, last: Value): Value {
  if (mode === 'wrap') return g.Mod(at, length);
  if (mode === 'edge') return g.Max([g.Min([at, last]), g.ints([0])]);
  const period = g.Max([g.Mul(last, g.ints([2])), g.ints([1])]);
  const inside = g.Mod(at, period);
  return g.Min([inside, g.Sub(period, inside)]);
}

/**
 * update[b, s] is at (write_indices[b] + s) mod L of the sequence axis; the rest is past_cache. Linear mode never
 * reaches L, so both modes have one rule.
 */
grad('TensorScatter', ({ inputs: [past, update, start], attrs: { axis: a }, dy, g }) => {
  const axis = g.axis(past, a);
  const [length, count] = [g.length(past, axis), g.length(update, axis)];
  const line = (n: Length): Value => g.Range(g.int(0), g.scalar(n), g.int(1));
  const first = start === undefined ? g.ints([0]) : start;
  const column = g.Unsqueeze(first, g.ints([1]));
  const written = g.Less(g.Mod(g.Sub(line(length), column), g.vector([length])), g.vector([count]));
  const shape = g
    .lengths(past)
    .map((_, i) => (i === axis ? length : i === 0 && start !== undefined ? g.length(past, 0) : 1));
  const dPast = g.Where(g.shaped(written, shape), g.like(dy, 0), dy);
  const at = g.Mod(g.Add(line(count), column), g.vector([length]));
  const spread = g.shaped(
    at,
    shape.map((l, i) => (i === axis ? count : l)),
  );
  return [dPast, g.GatherElements(dy, g.Expand(spread, g.shapeOf(update)), { axis })];
});

grad('Compress', ({ inputs: [x, condition], attrs: { axis: a }, dy, g }) => {
  const picks = g.Reshape(g.NonZero(condition), g.ints([-1]));
  if (a !== undefined) return [returned(g, dy, x, g.axis(x, a), picks)];
  return [g.reshapeLike(returned(g, dy, flat(g, x), 0, picks), x)];
});

grad('ReverseSequence', ({ inputs: [, lengths], attrs, dy, g }) => [g.ReverseSequence(dy, lengths, attrs)]);

grad('TopK', ({ node, inputs: [x], attrs: { axis }, outputs: [y], dy, g }) => [
  g.ScatterElements(g.zerosLike(x), g.output(node, 1, 'int64', y.shape, 'indices'), dy, { axis }),
]);

// The first of equal elements gets the gradient of all.
grad('Unique', ({ node, inputs: [x], attrs: { axis: a }, dy, g }) => {
  const axis = a === undefined ? 0 : g.axis(x, a);
  const first = g.output(node, 1, 'int64', dy.shape && [dy.shape[axis] ?? null], 'first');
  return [a === undefined ? g.reshapeLike(returned(g, dy, flat(g, x), 0, first), x) : returned(g, dy, x, axis, first)];
});
