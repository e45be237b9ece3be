/** Pools: the gradient of a window is returned to the elements that the window read. */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import type { Length } from '../../common/dimArithmetic.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { decompose, grad } from '../rules.ts';
import { narrow, type Windows, widen, windows } from '../windows.ts';

type G = Builder & GradTools;

/** The forward node outputs the element it took: its position in the flat input. */
grad('MaxPool', ({ node, inputs: [x], attrs, dy, g }) => {
  const flat = (v: Value): Value => g.Reshape(v, g.ints([-1]));
  // Positions in column-major order would need a transpose; a second pool is simpler and as rare.
  const own = attrs.storage_order === 0 ? g.output(node, 1, 'int64', dy.shape, 'indices') : undefined;
  const [, again] =
    own === undefined ? g.node({ op: 'MaxPool', inputs: [x], attrs: { ...attrs, storage_order: 0 }, outputs: 2 }) : [];
  const picks = own ?? again ?? dy;
  const zeros = g.Expand(g.like(x, 0), g.vector([g.times(...g.lengths(x))]));
  return [g.reshapeLike(g.ScatterElements(zeros, flat(picks), flat(dy), { axis: 0, reduction: 'add' }), x)];
});

/** Each window's gradient divided by the elements it averaged, spread by a kernel of ones. */
grad('AveragePool', ({ inputs: [x], attrs, dy, g }) => {
  const { kernel_shape: kernel = [] } = attrs;
  const w = windows(g, x, dy, kernel, attrs);
  const share = g.Div(dy, counts(g, x, dy, kernel, attrs, w));
  const alone = g.shaped(share, [g.times(...g.lengths(x, 0, 2)), 1, ...g.lengths(dy, 2)]);
  const ones = g.Expand(g.like(x, 1), g.ints([1, 1, ...kernel]));
  return [g.reshapeLike(widen(g, alone, ones, w, 1), x)];
});

interface PoolAttrs {
  readonly auto_pad: string;
  readonly ceil_mode: number;
  readonly count_include_pad: number;
  readonly pads: readonly number[] | undefined;
}

/**
 * The number of elements that each window averages, shaped to divide dy. Windows never count elements beyond the pads.
 */
function counts(g: G, x: Value, dy: Value, kernel: readonly number[], attrs: PoolAttrs, w: Windows): Value {
  const padded = attrs.auto_pad.startsWith('SAME') || (attrs.pads ?? []).some((p) => p !== 0);
  // A window extends beyond the end only with ceil_mode, which needs explicit pads.
  const whole = attrs.ceil_mode === 0 || attrs.auto_pad !== 'NOTSET';
  if (whole && (attrs.count_include_pad === 1 || !padded))
    return g.like(
      dy,
      kernel.reduce((a, b) => a * b, 1),
    );
  const perAxis = kernel.map((k, i) => {
    const begin = w.begins[i] ?? 0;
    const end = g.plus(begin, g.length(x, i + 2));
    // If pads are counted, the first element is position 0, otherwise the end of the pads.
    const counted = attrs.count_include_pad === 1;
    const [low, high]: Length[] = counted ? [0, g.plus(end, attrs.pads?.[i + kernel.length] ?? 0)] : [begin, end];
    const n = g.length(dy, i + 2);
    const starts = g.Mul(g.Range(g.int(0), g.scalar(n), g.int(1)), g.int(w.strides[i] ?? 1));
    const taps = g.ints(Array.from({ length: k }, (_, j) => j * (w.dilations[i] ?? 1)));
    const places = g.Add(g.Unsqueeze(starts, g.ints([1])), taps);
    const inside = g.And(g.GreaterOrEqual(places, g.vector([low ?? 0])), g.Less(places, g.vector([high ?? 0])));
    const count = g.ReduceSum(g.CastLike(inside, dy), g.ints([1]));
    return g.Reshape(count, g.ints([-1, ...new Array<number>(kernel.length - 1 - i).fill(1)]));
  });
  return perAxis.reduce((a, b) => g.Mul(a, b));
}

decompose('GlobalAveragePool', ({ inputs: [x], g }) => [g.ReduceMean(x, g.ints(g.axesFrom(x, 2)), { keepdims: 1 })]);
decompose('GlobalMaxPool', ({ inputs: [x], g }) => [g.ReduceMax(x, g.ints(g.axesFrom(x, 2)), { keepdims: 1 })]);
decompose('GlobalLpPool', ({ inputs: [x], attrs: { p }, g }) => {
  const sum = g.ReduceSum(g.Pow(g.Abs(x), g.like(x, p)), g.ints(g.axesFrom(x, 2)), { keepdims: 1 });
  return [g.Pow(sum, g.like(x, 1 / p))];
});

/** (Σ|x|^p)^(1/p) over each window: a kernel of ones sums. */
decompose('LpPool', ({ inputs: [x], outputs: [y], attrs: { p, ...attrs }, g }) => {
  const kernel = attrs.kernel_shape ?? [];
  const powers = g.shaped(g.Pow(g.Abs(x), g.like(x, p)), [g.times(...g.lengths(x, 0, 2)), 1, ...g.lengths(x, 2)]);
  const ones = g.Expand(g.like(x, 1), g.ints([1, 1, ...kernel]));
  const sums = narrow(g, powers, ones, windows(g, x, y, kernel, attrs), 1);
  return [g.Pow(g.reshapeLike(sums, y), g.like(x, 1 / p))];
});

/** Krizhevsky et al. 2012: x / (bias + alpha/size · Σ x² over neighbouring channels)^beta. */
decompose('LRN', ({ inputs: [x], attrs: { alpha, beta, bias, size = 1 }, g }) => {
  const [batch, channels] = g.lengths(x, 0, 2);
  const column = g.shaped(g.Mul(x, x), [batch ?? 1, 1, channels ?? 1, g.times(...g.lengths(x, 2))]);
  const pads = [Math.floor((size - 1) / 2), 0, Math.ceil((size - 1) / 2), 0];
  const mean = g.AveragePool(column, { kernel_shape: [size, 1], pads, count_include_pad: 1 });
  const around = g.Add(g.Mul(g.reshapeLike(mean, x), g.like(x, alpha)), g.like(x, bias));
  return [g.Mul(x, g.Pow(around, g.like(x, -beta)))];
});
