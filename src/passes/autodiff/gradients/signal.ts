/** Fourier transforms, frames of signals, and overlapping blocks: all linear in the signal. */
import { unsupportedShape } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import { knownInts, type Length } from '../../common/dimArithmetic.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { decompose, grad } from '../rules.ts';

type G = Builder & GradTools;

const line = (g: G, n: Length): Value => g.Range(g.int(0), g.scalar(n), g.int(1));

/** v sliced or zero-padded at the end to this size. */
const fitted = (g: G, v: Value, axis: number, to: Length): Value =>
  to === g.length(v, axis) ? v : g.Pad(v, g.vector([0, g.minus(to, g.length(v, axis))]), undefined, g.ints([axis]));

/**
 * F is symmetric, so the gradient is conj(F)·dy: the inverse transform without its 1/N, and the reverse. The gradient
 * of a one-sided output is padded with zeros; that of a one-sided input counts each frequency with a mirror image
 * twice.
 */
grad('DFT', ({ node, inputs: [x, length, axisInput], attrs: { inverse, onesided }, dy, g }) => {
  const [given] = axisInput === undefined ? [-2] : (knownInts(axisInput) ?? []);
  if (given === undefined)
    throw unsupportedShape('the gradient of DFT needs the axis, which is computed', { node: node.label });
  const axis = g.axis(x, given);
  const last = g.rank(x) - 1;
  const real = inverse === 1 && onesided === 1;
  const points =
    length !== undefined ? g.element(g.Reshape(length, g.ints([1])), 0) : real ? g.length(dy, axis) : g.length(x, axis);
  const scale = g.CastLike(g.scalar(points), dy);
  const at = g.int(axis);
  if (real) {
    const spectrum = g.Div(g.DFT(dy, g.scalar(points), at, { onesided: 1 }), scale);
    const bins = line(g, g.length(x, axis));
    const mirrored = g.And(g.Greater(bins, g.int(0)), g.Less(g.Mul(bins, g.int(2)), g.vector([points])));
    const counts = g.Reshape(
      g.Where(mirrored, g.like(dy, 2), g.like(dy, 1)),
      g.ints([-1, ...g.axesFrom(x, axis + 1).map(() => 1)]),
    );
    return [g.Mul(fitted(g, spectrum, axis, g.length(x, axis)), counts)];
  }
  const back = g.DFT(dy, g.scalar(points), at, { inverse: 1 - inverse });
  const whole = inverse === 1 ? g.Div(back, scale) : g.Mul(back, scale);
  const dx = fitted(g, whole, axis, g.length(x, axis));
  // The real part, for a real signal.
  return [x.shape?.[last] === 2 ? dx : g.Slice(dx, g.ints([0]), g.vector([g.length(x, last)]), g.ints([last]))];
});

// Frames of the signal, each multiplied by the window and transformed.
decompose('STFT', ({ inputs: [signal, step, window, length], attrs: { onesided }, outputs: [y], g }) => {
  const size =
    length === undefined
      ? window === undefined
        ? 1
        : g.length(window, 0)
      : g.element(g.Reshape(length, g.ints([1])), 0);
  const starts = g.Mul(line(g, g.length(y, 1)), g.Reshape(step, g.ints([1])));
  const frames = g.Gather(signal, g.Add(g.Unsqueeze(starts, g.ints([1])), line(g, size)), { axis: 1 });
  const framed = window === undefined ? frames : g.Mul(frames, g.Unsqueeze(window, g.ints([1])));
  return [g.DFT(framed, undefined, g.int(2), { onesided })];
});

/**
 * Each block reads the gradient at the places where it was added: per axis, a gather that makes it two axes, of the
 * block and of its places.
 */
grad('Col2Im', ({ inputs: [x, image, block], attrs, dy, g }) => {
  const n = g.rank(dy) - 2;
  const axes = Array.from({ length: n }, (_, i) => i);
  const pads = axes.map((i) => [attrs.pads?.[i] ?? 0, attrs.pads?.[i + n] ?? 0] as const);
  const spatial = g.ints(axes.map((i) => i + 2));
  const grown = pads.every(([a, b]) => a + b === 0)
    ? dy
    : g.Pad(dy, g.ints([...pads.map(([a]) => a), ...pads.map(([, b]) => b)]), undefined, spatial);
  const read = axes.reduce((v, i) => {
    const [dilation, stride] = [attrs.dilations?.[i] ?? 1, attrs.strides?.[i] ?? 1];
    const k = g.element(block, i);
    const room = g.minus(
      g.plus(g.element(image, i), (pads[i]?.[0] ?? 0) + (pads[i]?.[1] ?? 0)),
      g.times(g.minus(k, 1), dilation),
    );
    const places = g.plus(g.over(g.minus(room, 1), stride), 1);
    const index = g.Add(
      g.Unsqueeze(g.Mul(line(g, k), g.int(dilation)), g.ints([1])),
      g.Mul(line(g, places), g.int(stride)),
    );
    return g.Gather(v, index, { axis: 2 + 2 * i });
  }, grown);
  const perm = [0, 1, ...axes.map((i) => 2 + 2 * i), ...axes.map((i) => 3 + 2 * i)];
  return [g.reshapeLike(g.Transpose(read, { perm }), x)];
});
