/** Normalizations among ONNX Runtime's contributed operators. */
import type { Value } from '../../../graph/model.ts';
import { dataTypeFromNumber } from '../../../graph/tensor.ts';
import { decompose, grad } from '../rules.ts';
import type { G } from './attend.ts';
import { inverse, rmsGradient } from './norm.ts';

// The forward node outputs the inverse deviation in the stash type.
grad('SimplifiedLayerNormalization', ({ node, inputs: [x, scale], attrs: { axis, epsilon, stash_type }, dy, g }) => {
  const first = g.axis(x, axis);
  const average = (v: Value): Value => g.ReduceMean(v, g.ints(g.axesFrom(x, first)), { keepdims: 1 });
  const stash = dataTypeFromNumber(stash_type);
  const shape = x.shape?.map((d, i) => (i < first ? d : 1));
  const inv =
    x.dtype === stash ? g.output(node, 1, stash, shape, 'inv_std') : inverse(g, average(g.Mul(x, x)), epsilon);
  return rmsGradient(g, x, inv, scale, dy, average);
});

/** The normalized sum: a further output of the forward node, if it has it. */
const summed = (g: G, known: Value | undefined, x: Value, ...more: readonly (Value | undefined)[]): Value =>
  known !== undefined && known.name !== ''
    ? known
    : more.reduce<Value>((sum, v) => (v === undefined ? sum : g.Add(sum, v)), x);

// On the CPU the forward node does not output the statistics.
grad(
  'com.microsoft.SkipSimplifiedLayerNormalization',
  ({ inputs: [x, skip, gamma, bias], outputs: [, , , known], attrs: { epsilon }, dys: [dy, , , dSum], g }) => {
    const sum = summed(g, known, x, skip, bias);
    const average = (v: Value): Value => g.ReduceMean(v, g.ints([-1]), { keepdims: 1 });
    const inv = inverse(g, average(g.Mul(sum, sum)), epsilon);
    const [dx, dGamma] = dy === undefined ? [] : rmsGradient(g, sum, inv, gamma, dy, average);
    const d = dx === undefined || dSum === undefined ? (dx ?? dSum) : g.Add(dx, dSum);
    return [d, d, dGamma, bias === undefined ? undefined : d];
  },
  { many: true },
);

decompose('com.microsoft.SkipLayerNormalization', ({ inputs: [x, skip, gamma, beta, bias], attrs: { epsilon }, g }) => {
  const sum = summed(g, undefined, x, skip, bias);
  return [g.LayerNormalization(sum, gamma, beta, { epsilon }), undefined, undefined, sum];
});

/**
 * Word, position and segment embeddings, summed and normalized (Devlin et al. 2019); positions count from 0 if not
 * given.
 */
decompose(
  'com.microsoft.EmbedLayerNormalization',
  ({ inputs: [ids, segments, words, places, kinds, gamma, beta, , positions], attrs: { epsilon }, g }) => {
    const at = positions ?? g.Range(g.int(0), g.scalar(g.length(ids, 1)), g.int(1));
    const placed = g.Add(g.Gather(words, ids), g.Gather(places, at));
    const sum = segments === undefined || kinds === undefined ? placed : g.Add(placed, g.Gather(kinds, segments));
    return [g.LayerNormalization(sum, gamma, beta, { epsilon }), undefined, sum];
  },
);
