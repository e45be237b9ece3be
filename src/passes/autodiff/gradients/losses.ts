/** Loss operators inside a model. */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { decompose } from '../rules.ts';

interface LossAttrs {
  readonly ignore_index: number | undefined;
  readonly reduction: string;
}

/**
 * -weight[t]·x[t] per label t, with ignored labels as zero.
 * https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html
 */
function likelihood(
  g: Builder & GradTools,
  x: Value,
  target: Value,
  weight: Value | undefined,
  { ignore_index: ignored, reduction }: LossAttrs,
): Value {
  const skipped = ignored === undefined ? undefined : g.Equal(target, g.like(target, ignored));
  const label = skipped === undefined ? target : g.Where(skipped, g.like(target, 0), target);
  const picked = g.Squeeze(g.GatherElements(x, g.Unsqueeze(label, g.ints([1])), { axis: 1 }), g.ints([1]));
  const one = g.Expand(g.like(x, 1), g.shapeOf(target));
  const plain = weight === undefined ? one : g.Gather(weight, label);
  const share = skipped === undefined ? plain : g.Where(skipped, g.like(x, 0), plain);
  const losses = g.Neg(g.Mul(picked, share));
  const sum = (v: Value): Value => g.ReduceSum(v, undefined, { keepdims: 0 });
  return reduction === 'none' ? losses : reduction === 'sum' ? sum(losses) : g.Div(sum(losses), sum(share));
}

decompose('NegativeLogLikelihoodLoss', ({ inputs: [x, target, weight], attrs, g }) => [
  likelihood(g, x, target, weight, attrs),
]);
decompose('SoftmaxCrossEntropyLoss', ({ inputs: [scores, labels, weights], attrs, g }) => {
  const logs = g.LogSoftmax(scores, { axis: 1 });
  return [likelihood(g, logs, labels, weights, attrs), logs];
});
