/**
 * Attaches a loss: its value and gradient in plain operators. The gradients are closed forms, so the walk starts at the
 * logits and the [rows, classes] matrix is read as few times as possible.
 */
import type { Builder } from '../../graph/builder.ts';
import { type LossKind, lossParamsOf } from '../../graph/choices/losses.ts';
import { tensorType, Value } from '../../graph/model.ts';
import { asType, isHalf } from '../common/computeType.ts';
import type { Target } from '../common/target.ts';
import type { ChosenLoss } from './chooseLoss.ts';
import { axesMerged } from './flattened.ts';
import { focal, sigmoidFocal } from './focal.ts';
import type { Attached, LossFormula, LossOptions } from './formula.ts';
import { crossEntropy, overClasses } from './overClasses.ts';
import { absolute, binaryCrossEntropy, huber, overElements, squared } from './overElements.ts';

export type { Attached, LossOptions } from './formula.ts';

/** The formula of each loss. */
const formulas = {
  'cross-entropy': overClasses(crossEntropy),
  'causal-lm': overClasses(crossEntropy),
  mse: overElements(squared),
  l1: overElements(absolute),
  huber: overElements(huber),
  bce: overElements(binaryCrossEntropy),
  focal: overClasses(focal),
  'sigmoid-focal': overElements(sigmoidFocal),
  output: (g, { choice: { tensor } }) => ({
    loss: asType(g, tensor.shape?.length === 0 ? tensor : g.Reshape(tensor, g.ints([])), 'float32'),
    weight: g.float(1),
    labels: undefined,
    seed: [tensor, isHalf(tensor.dtype) ? g.float(1) : g.like(tensor, 1)],
  }),
  external: (g, { choice: { tensor }, labelName }) => {
    const given = isHalf(tensor.dtype) ? 'float32' : (tensor.dtype ?? 'float32');
    const d = new Value(labelName, tensorType(given, tensor.shape));
    return { loss: tensor, weight: g.float(1), labels: d, seed: [tensor, d] };
  },
} satisfies Record<LossKind, LossFormula>;

/**
 * Builds the loss on `choice.tensor`, or on what `choice.build` makes. The label input is named `labelName`. Throws
 * BAD_LOSS if shapes do not allow it.
 */
export function attachLoss(
  g: Builder,
  choice: ChosenLoss,
  options: LossOptions,
  labelName: string,
  target: Target = 'portable',
): Attached {
  const { kind, tensor, value = tensor } = choice;
  const params = lossParamsOf(kind, options.params);
  const site = { options, params, labelName, target, merged: axesMerged(value) };
  return g.within({ origin: 'loss', rule: `loss/${kind}` }, () =>
    formulas[kind](g, { ...site, choice: { ...choice, tensor: computedOn(g, choice) } }),
  );
}

/** The value that the loss is computed on, with the shape that the labels follow. */
function computedOn(g: Builder, { tensor, value = tensor, build }: ChosenLoss): Value {
  const made = build?.(g) ?? tensor;
  if (made.shape === undefined && value.shape !== undefined) made.type = tensorType(made.dtype, value.shape);
  return made;
}
