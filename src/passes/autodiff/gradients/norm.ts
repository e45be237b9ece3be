/**
 * Normalizations with a closed-form gradient that keeps few values: the normalized value is recomputed from the input.
 */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import { dataTypeFromNumber } from '../../../graph/tensor.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { decompose, grad } from '../rules.ts';

/**
 * n = (x - mean)·inv, y = n·scale + B: dx = inv·(dn - mean(dn) - n·mean(dn·n)) with dn = dy·scale (Ba, Kiros, Hinton
 * 2016). Mean and inverse deviation come from the forward node's own further outputs.
 */
grad('LayerNormalization', ({ node, inputs: [x0, scale, bias], attrs: { axis, stash_type, epsilon }, dy: dy0, g }) => {
  const first = g.axis(x0, axis);
  const average = (v: Value): Value => g.ReduceMean(v, g.ints(g.axesFrom(x0, first)), { keepdims: 1 });
  // Both further outputs have the stash type; a wider input gets its own statistics.
  const stash = dataTypeFromNumber(stash_type);
  const wide = x0.dtype === 'float64' && stash !== 'float64';
  const [x, dy] =
    x0.dtype === stash || wide ? [x0, dy0] : [g.Cast(x0, { to: stash_type }), g.Cast(dy0, { to: stash_type })];
  const dn = g.Mul(dy, scale.dtype === dy.dtype ? scale : g.CastLike(scale, dy));
  const whole = scale.shape?.length === g.rank(x0) - first;
  const ones = x.dtype === 'float32' && whole ? onesLike(g, scale) : undefined;
  const [n, dx] = ones === undefined ? byStatistics() : byKernel(g, x, dn, ones, { axis: first, epsilon }, average);
  const back = (v: Value): Value => (x === x0 ? v : g.CastLike(v, dy0));
  return [back(dx), back(g.Mul(dy, n)), bias === undefined ? undefined : dy0];

  function byStatistics(): readonly [Value, Value] {
    const shape = x0.shape?.map((d, i) => (i < first ? d : 1));
    const mean = wide ? average(x) : g.output(node, 1, stash, shape, 'mean');
    const centred = g.Sub(x, mean);
    const inv = wide
      ? inverse(g, average(g.Mul(centred, centred)), epsilon)
      : g.output(node, 2, stash, shape, 'inv_std');
    const normal = g.Mul(centred, inv);
    return [normal, standardizedGradient(g, normal, inv, dn, average)];
  }
});

/**
 * The same with two runs of the operator, which read less memory: dn standardized is (dn - mean(dn))·i, and dividing by
 * i gives dx = inv/i·(l - n·mean(l·n)). Any epsilon works for l.
 */
function byKernel(
  g: Builder,
  x: Value,
  dn: Value,
  ones: Value,
  attrs: { readonly axis: number; readonly epsilon: number },
  average: (v: Value) => Value,
): readonly [Value, Value] {
  const standard = (v: Value, epsilon: number): readonly (Value | undefined)[] =>
    g.node({ op: 'LayerNormalization', inputs: [v, ones], attrs: { axis: attrs.axis, epsilon }, outputs: 3 });
  const [n = x, , inv = x] = standard(x, attrs.epsilon);
  const [l = dn, , i = dn] = standard(dn, 1e-5);
  return [n, g.Mul(g.Div(inv, i), g.Sub(l, g.Mul(n, average(g.Mul(l, n)))))];
}

/** Ones in the shape of a scale; undefined if that is not known, or too large for a constant of a graph. */
function onesLike(g: Builder, { shape }: Value): Value | undefined {
  const dims = shape?.filter((d) => typeof d === 'number');
  const size = dims?.reduce((a, b) => a * b, 1) ?? 0;
  if (dims === undefined || dims.length !== shape?.length || size === 0 || size > 2 ** 16) return undefined;
  return g.constant('float32', dims, new Array<number>(size).fill(1));
}

/** One over the deviation. */
export const inverse = (g: Builder, variance: Value, epsilon: number): Value =>
  g.Reciprocal(g.Sqrt(g.Add(variance, g.like(variance, epsilon))));

/** The same without the mean (Zhang, Sennrich 2019): n = x·inv, y = n·scale. */
export function rmsGradient(
  g: Builder,
  x: Value,
  inv: Value,
  scale: Value,
  dy: Value,
  average: (v: Value) => Value,
): [Value, Value] {
  const n = g.Mul(x, inv);
  const dn = g.Mul(dy, scale);
  return [g.Mul(inv, g.Sub(dn, g.Mul(n, average(g.Mul(dn, n))))), g.Mul(dy, n)];
}

grad('RMSNormalization', ({ inputs: [x, scale], attrs: { axis, epsilon }, dy, g }) => {
  const axes = g.ints(g.axesFrom(x, g.axis(x, axis)));
  const average = (v: Value): Value => g.ReduceMean(v, axes, { keepdims: 1 });
  return rmsGradient(g, x, inverse(g, average(g.Mul(x, x)), epsilon), scale, dy, average);
});

/**
 * An affine map per channel (axis 1), or in training mode the normalization by the batch's own statistics (Ioffe,
 * Szegedy 2015).
 */
grad('BatchNormalization', ({ inputs: [x, scale, , mean, variance], attrs: { epsilon, training_mode }, dy, g }) => {
  const axes = g.ints(g.axesFrom(x, 0).filter((a) => a !== 1));
  const total = (v: Value): Value => g.ReduceSum(v, axes, { keepdims: 0 });
  if (training_mode === 1) {
    const average = (v: Value): Value => g.ReduceMean(v, axes, { keepdims: 1 });
    const centred = g.Sub(x, average(x));
    const inv = inverse(g, average(g.Mul(centred, centred)), epsilon);
    const n = g.Mul(centred, inv);
    return [
      standardizedGradient(g, n, inv, g.Mul(dy, channelwise(g, scale, x)), average),
      total(g.Mul(dy, n)),
      total(dy),
    ];
  }
  const inv = inverse(g, variance, epsilon);
  const normalized = g.Mul(g.Sub(x, channelwise(g, mean, x)), channelwise(g, inv, x));
  const [gain, dScale, dBias] = [g.Mul(scale, inv), total(g.Mul(dy, normalized)), total(dy)];
  const dVariance = g.Mul(g.Mul(dScale, g.Mul(gain, inv)), g.like(inv, -0.5));
  return [g.Mul(dy, channelwise(g, gain, x)), dScale, dBias, g.Neg(g.Mul(dBias, gain)), dVariance];
});

/** The gradient for x, with n = (x - mean)·inv and dn: inv·(dn - mean(dn) - n·mean(dn·n)). */
const standardizedGradient = (g: Builder, n: Value, inv: Value, dn: Value, average: (v: Value) => Value): Value =>
  g.Mul(inv, g.Sub(g.Sub(dn, average(dn)), g.Mul(n, average(g.Mul(dn, n)))));

/** (v - mean)·inverse deviation over these axes. */
function standardized(g: Builder & GradTools, v: Value, axes: readonly number[], epsilon: number): Value {
  const average = (u: Value): Value => g.ReduceMean(u, g.ints(axes), { keepdims: 1 });
  const centred = g.Sub(v, average(v));
  return g.Div(centred, g.Sqrt(g.Add(average(g.Mul(centred, centred)), g.like(v, epsilon))));
}

/** Per sample and channel over the spatial axes (Ulyanov, Vedaldi, Lempitsky 2016). */
decompose('InstanceNormalization', ({ inputs: [x, scale, bias], attrs: { epsilon }, g }) => {
  const n = standardized(g, x, g.axesFrom(x, 2), epsilon);
  return [g.Add(g.Mul(n, channelwise(g, scale, x)), channelwise(g, bias, x))];
});

/** Per sample and group of channels (Wu, He 2018); scale and bias per channel, as from opset 21. */
decompose('GroupNormalization', ({ inputs: [x, scale, bias], attrs: { num_groups: groups = 1, epsilon }, g }) => {
  const inGroups = g.shaped(x, [g.length(x, 0), groups, g.over(g.times(...g.lengths(x, 1)), groups)]);
  const n = g.reshapeLike(standardized(g, inGroups, [2], epsilon), x);
  return [g.Add(g.Mul(n, channelwise(g, scale, x)), channelwise(g, bias, x))];
});

/** A vector over the channels (axis 1), reshaped to broadcast against x. */
const channelwise = (g: Builder & GradTools, v: Value, x: Value): Value =>
  g.Reshape(v, g.ints([-1, ...new Array<number>(Math.max(0, g.rank(x) - 2)).fill(1)]));

// The function body of the standard adds 1e-9 to the deviation.
decompose('MeanVarianceNormalization', ({ inputs: [x], attrs: { axes }, g }) => {
  const average = (u: Value): Value => g.ReduceMean(u, g.ints(axes), { keepdims: 1 });
  const centred = g.Sub(x, average(x));
  return [g.Div(centred, g.Add(g.Sqrt(average(g.Mul(centred, centred))), g.like(x, 1e-9)))];
});

decompose('LpNormalization', ({ inputs: [x], attrs: { axis, p }, g }) => [
  g.Div(x, (p === 1 ? g.ReduceL1 : g.ReduceL2)(x, g.ints([axis]), { keepdims: 1 })),
]);

// n = c/s with s = sqrt(mean(c²) + e) along the last axis, in several nodes (canonicalize/norms.ts): dc = (dn -
// n·mean(dn·n))/s.
grad('loraify.Standardized', ({ inputs: [, n, s], dy, g }) => [
  g.Div(g.Sub(dy, g.Mul(n, g.ReduceMean(g.Mul(dy, n), g.ints([-1]), { keepdims: 1 }))), s),
]);
