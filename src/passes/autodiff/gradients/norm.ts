/** Normalizations with a closed-form gradient that saves little: the normalized value is recomputed from the input. */
import { Value } from '../../../graph/model.ts';
import { grad } from '../rules.ts';

/**
 * n = (x - mean)·inv, y = n·scale + B: dx = inv·(dn - mean(dn) - n·mean(dn·n)) with dn = dy·scale (Ba, Kiros, Hinton 2016).
 * Mean and inverse deviation come from the forward node's own further outputs.
 */
grad('LayerNormalization', ({ node, inputs: [x, scale, bias], attrs: { axis }, dy, g }) => {
  const first = g.axis(x, axis);
  const axes = g.ints(Array.from({ length: g.rank(x) - first }, (_, i) => first + i));
  const mean = output(node, 1);
  const inv = output(node, 2);
  const average = (v: Value): Value => g.ReduceMean(v, axes, { keepdims: 1 });
  const n = g.Mul(g.Sub(x, mean), inv);
  const dn = g.Mul(dy, scale);
  const dx = g.Mul(inv, g.Sub(g.Sub(dn, average(dn)), g.Mul(n, average(g.Mul(dn, n)))));
  return [dx, g.Mul(dy, n), bias === undefined ? undefined : dy];

  /** An optional output of the forward node, added where it was left out. Shape: x's, normalized axes 1. */
  function output(of: typeof node, index: number): Value {
    const found = of.outputs[index];
    if (found !== undefined && found.name !== '') return found;
    const made = new Value(`${of.outputs[0]?.name ?? of.label}.${index === 1 ? 'mean' : 'inv_std'}`, {
      kind: 'tensor',
      dtype: x.dtype,
      shape: x.shape?.map((d, i) => (i < first ? d : 1)),
    });
    made.producer = of;
    while (of.outputs.length < index) {
      const gap = new Value('');
      gap.producer = of;
      of.outputs.push(gap);
    }
    of.outputs[index] = made;
    return made;
  }
});

/** As above without the mean (Zhang, Sennrich 2019). */
grad('RMSNormalization', ({ inputs: [x, scale], attrs: { axis, epsilon }, dy, g }) => {
  const first = g.axis(x, axis);
  const axes = g.ints(Array.from({ length: g.rank(x) - first }, (_, i) => first + i));
  const average = (v: Value): Value => g.ReduceMean(v, axes, { keepdims: 1 });
  const inv = g.Reciprocal(g.Sqrt(g.Add(average(g.Mul(x, x)), g.like(x, epsilon))));
  const n = g.Mul(x, inv);
  const dn = g.Mul(dy, scale);
  return [g.Mul(inv, g.Sub(dn, g.Mul(n, average(g.Mul(dn, n))))), g.Mul(dy, n)];
});

/** Inference form: an affine map per channel (axis 1). */
grad('BatchNormalization', ({ inputs: [x, scale, , mean, variance], attrs: { epsilon }, dy, g }) => {
  const n = g.rank(x);
  const perChannel = (v: Value): Value => g.Reshape(v, g.ints([-1, ...new Array<number>(Math.max(0, n - 2)).fill(1)]));
  const inv = g.Reciprocal(g.Sqrt(g.Add(variance, g.like(variance, epsilon))));
  const axes = g.ints(Array.from({ length: n }, (_, i) => i).filter((i) => i !== 1));
  const total = (v: Value): Value => g.ReduceSum(v, axes, { keepdims: 0 });
  const normalized = g.Mul(g.Sub(x, perChannel(mean)), perChannel(inv));
  return [g.Mul(dy, perChannel(g.Mul(scale, inv))), total(g.Mul(dy, normalized)), total(dy)];
});
