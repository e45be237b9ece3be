/** Convolutions: narrowing and widening are each other's gradients. */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { grad } from '../rules.ts';
import { kernelGrad, narrow, widen, windows } from '../windows.ts';

const perChannel = (g: Builder & GradTools, dy: Value): Value =>
  g.ReduceSum(dy, g.ints([0, ...g.axesFrom(dy, 2)]), { keepdims: 0 });

grad('Conv', ({ inputs: [x, weight, bias], attrs, dy, g }) => {
  const w = windows(g, x, dy, g.lengths(weight, 2), attrs);
  const dBias = bias === undefined ? undefined : perChannel(g, dy);
  return [widen(g, dy, weight, w, attrs.group), kernelGrad(g, x, dy, w, attrs.group), dBias];
});

grad('ConvTranspose', ({ inputs: [x, weight, bias], attrs, dy, g }) => {
  const w = windows(g, dy, x, g.lengths(weight, 2), attrs, true);
  const dBias = bias === undefined ? undefined : perChannel(g, dy);
  return [narrow(g, dy, weight, w, attrs.group), kernelGrad(g, dy, x, w, attrs.group), dBias];
});
