/**
 * Attaches a loss: its value and gradient in plain operators. The gradients are closed forms, so the walk starts at the
 * logits and the [rows, classes] matrix is read as few times as possible.
 */
import { badLoss } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { noLabel } from '../../graph/ignoredLabel.ts';
import { tensorType, Value } from '../../graph/model.ts';
import type { DataType } from '../../graph/tensor.ts';
import { asType, isHalf } from '../common/computeType.ts';
import { gradTools } from '../common/shapeTools.ts';
import { type Target, takesFused } from '../common/target.ts';
import type { ChosenLoss, LossKind } from './chooseLoss.ts';

export interface LossOptions {
  readonly ignoreIndex: number;
  readonly labelSmoothing: number;
  /** One weight per class, or undefined. */
  readonly classWeights: readonly number[] | undefined;
  /** Float labels may be `noLabel`, which is ignored. */
  readonly partly?: boolean | undefined;
}

export interface Attached {
  /** Scalar float32 (`external`: the output itself). */
  readonly loss: Value;
  /** The number of elements (or the sum of class weights) that the mean runs over, scalar float32. */
  readonly weight: Value;
  /** The label input, `d_<output>` for `external`, undefined for `output`. */
  readonly labels: Value | undefined;
  /**
   * The value at which differentiation starts, and its gradient, which is never half precision even if the value is.
   */
  readonly seed: readonly [Value, Value];
}

/**
 * Builds the loss on `choice.tensor`. The label input is named `labelName`. Throws BAD_LOSS if shapes do not allow it.
 */
export function attachLoss(
  g: Builder,
  choice: ChosenLoss,
  options: LossOptions,
  labelName: string,
  target: Target = 'portable',
): Attached {
  return g.within({ origin: 'loss', rule: `loss/${choice.kind}` }, () => {
    const { kind, tensor } = choice;
    if (kind === 'output')
      return {
        loss: asType(g, scalar(g, tensor), 'float32'),
        weight: g.float(1),
        labels: undefined,
        seed: [tensor, isHalf(tensor.dtype) ? g.float(1) : g.like(tensor, 1)],
      };
    if (kind === 'external') {
      const given = isHalf(tensor.dtype) ? 'float32' : (tensor.dtype ?? 'float32');
      const d = new Value(labelName, tensorType(given, tensor.shape));
      return { loss: tensor, weight: g.float(1), labels: d, seed: [tensor, d] };
    }
    if (kind === 'cross-entropy' || kind === 'causal-lm') return crossEntropy(g, choice, options, labelName, target);
    return pointwise(g, kind, tensor, labelName, options.partly === true);
  });
}

const fail =
  (what: string) =>
  (v: Value): never => {
    throw badLoss(`${what} needs the rank of "${v.name}", which is not known`);
  };

const scalar = (g: Builder, v: Value): Value => (v.shape?.length === 0 ? v : g.Reshape(v, g.ints([])));

/**
 * Mean over the rows whose label is not `ignoreIndex` of -log softmax(z)[label], weighted by class, smoothed as
 * torch.nn.functional.cross_entropy does: (1-e)·w[l]·nll + e/C·sum_c w[c]·(-log p[c]), over the sum of w[l].
 */
function crossEntropy(
  g: Builder,
  choice: ChosenLoss,
  options: LossOptions,
  labelName: string,
  target: Target,
): Attached {
  const { tensor, kind } = choice;
  const tools = gradTools(g, fail('cross-entropy'));
  const rank = tools.rank(tensor);
  const axis = tools.axis(tensor, choice.classAxis);
  if (rank < 1 || axis < 0 || axis >= rank)
    throw badLoss(`class axis ${choice.classAxis} does not exist in "${tensor.name}"`);
  const classes = tensor.shape?.[axis] ?? null;
  if (kind === 'causal-lm' && (rank !== 3 || axis !== 2))
    throw badLoss(`causal-lm needs logits [N, S, C], but "${tensor.name}" has rank ${rank}`);
  const labelShape = (tensor.shape ?? []).filter((_, i) => i !== axis);
  const labels = new Value(labelName, tensorType('int64', labelShape));

  const last = axis === rank - 1;
  const perm = [...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis), axis];
  const front = last ? tensor : g.Transpose(tensor, { perm });
  const wide = front.dtype === 'float32' ? front : g.Cast(front, { to: 1 });
  const width =
    typeof classes === 'number' ? g.ints([-1, classes]) : g.Concat([g.ints([-1]), tools.dim(front, -1)], { axis: 0 });
  const z = rank === 2 ? wide : g.Reshape(wide, width);

  // The labels are shifted, not the logits: logits of position i are compared with label i + 1, the last position with
  // none.
  const ignore = g.int(options.ignoreIndex);
  const shifted = (): Value => {
    const rest = g.Slice(labels, g.ints([1]), g.ints([2 ** 31 - 1]), g.ints([1]));
    const column = g.Expand(ignore, g.Concat([tools.dim(labels, 0), g.ints([1])], { axis: 0 }));
    return g.Concat([rest, column], { axis: 1 });
  };
  const flat = g.Reshape(kind === 'causal-lm' ? shifted() : labels, g.ints([-1, 1]));
  const valid = g.Not(g.Equal(flat, ignore));
  const index = g.Where(valid, flat, g.int(0));
  const mask = g.Cast(valid, { to: 1 });

  const weights = classWeights(g, options.classWeights, classes, tensor.name);
  const rowWeight = weights === undefined ? mask : g.Mul(mask, g.Reshape(g.Gather(weights, index), g.ints([-1, 1])));
  const weight = g.ReduceSum(rowWeight, undefined, { keepdims: 0 });
  // Without any counted row, loss and gradient are 0, not 0/0.
  const total = g.Where(g.Equal(weight, g.float(0)), g.float(1), weight);

  const lastAxis = g.ints([1]);
  // exp is p times sum. With LogSoftmax, which WebGPU lacks, the matrix is read twice instead of four times.
  const fused = takesFused(target);
  const shift = fused ? g.LogSoftmax(z, { axis: 1 }) : g.Sub(z, g.ReduceMax(z, lastAxis, { keepdims: 1 }));
  const exp = g.Exp(shift);
  const sum = fused ? undefined : g.ReduceSum(exp, lastAxis, { keepdims: 1 });
  const logSum = sum === undefined ? undefined : g.Log(sum);
  const picked = g.GatherElements(shift, index, { axis: 1 });
  const nll = logSum === undefined ? g.Neg(picked) : g.Sub(logSum, picked);
  // If only the share of the label itself changes, the division by the sum is merged with the factor of the row.
  const less = g.Sub(g.GatherElements(exp, index, { axis: 1 }), sum ?? g.float(1));
  const oneLess = g.ScatterElements(exp, index, less, { axis: 1 });
  const e = options.labelSmoothing;
  const hard = g.Mul(nll, rowWeight);
  const hardGrad = g.Mul(oneLess, g.Div(rowWeight, sum === undefined ? total : g.Mul(sum, total)));
  let rowLoss = hard;
  let dz = hardGrad;
  if (e !== 0) {
    const count =
      typeof classes === 'number' ? g.float(classes) : g.Cast(g.Reshape(tools.dim(z, 1), g.ints([])), { to: 1 });
    const share = g.Div(g.float(e), count);
    const p = sum === undefined ? exp : g.Div(exp, sum);
    // sum_c w[c]·(-log p[c]) = W·log(sum) - sum_c w[c]·shift[c], with W the sum of weights.
    const all = weights === undefined ? count : g.ReduceSum(weights, undefined, { keepdims: 0 });
    const weighted = weights === undefined ? shift : g.Mul(shift, weights);
    const spread = g.ReduceSum(weighted, lastAxis, { keepdims: 1 });
    const soft = g.Mul(logSum === undefined ? g.Neg(spread) : g.Sub(g.Mul(logSum, all), spread), mask);
    rowLoss = g.Add(g.Mul(hard, g.float(1 - e)), g.Mul(soft, share));
    const softGrad = g.Mul(g.Sub(g.Mul(p, all), weights ?? g.float(1)), g.Mul(g.Div(mask, total), share));
    dz = g.Add(g.Mul(hardGrad, g.float(1 - e)), softGrad);
  }
  const loss = g.Div(g.ReduceSum(rowLoss, undefined, { keepdims: 0 }), total);
  const back = rank === 2 ? dz : g.Reshape(dz, tools.shapeOf(front));
  const turned = last ? back : g.Transpose(back, { perm: perm.map((_, i) => perm.indexOf(i)) });
  return { loss, weight, labels, seed: [tensor, turned] };
}

function classWeights(
  g: Builder,
  weights: readonly number[] | undefined,
  classes: unknown,
  name: string,
): Value | undefined {
  if (weights === undefined) return undefined;
  if (typeof classes === 'number' && classes !== weights.length)
    throw badLoss(`${weights.length} class weights for the ${classes} classes of "${name}"`);
  return g.constant('float32', [weights.length], weights);
}

/**
 * Means over all elements that are not ignored: mse d², l1 |d|, huber (delta 1), bce with logits; labels have the
 * output's shape.
 */
function pointwise(
  g: Builder,
  kind: 'mse' | 'l1' | 'huber' | 'bce',
  tensor: Value,
  labelName: string,
  partly: boolean,
): Attached {
  const labels = new Value(labelName, tensorType('float32', tensor.shape));
  const z = tensor.dtype === 'float32' ? tensor : g.Cast(tensor, { to: 1 });
  const counts = partly ? g.Less(labels, g.float(noLabel)) : undefined;
  const counted = (v: Value): Value => (counts === undefined ? v : g.Where(counts, v, g.float(0)));
  const d = counted(g.Sub(z, labels));
  const one = g.float(1);
  const [each, dz] = ((): readonly [Value, Value] => {
    if (kind === 'mse') return [g.Mul(d, d), g.Mul(d, g.float(2))];
    if (kind === 'l1') return [g.Abs(d), g.Sign(d)];
    if (kind === 'huber') {
      const clipped = g.Clip(d, g.float(-1), one);
      // d·c - c²/2 is d²/2 inside and |d| - 1/2 outside.
      return [g.Sub(g.Mul(d, clipped), g.Mul(g.Mul(clipped, clipped), g.float(0.5))), clipped];
    }
    const soft = g.Log(g.Add(one, g.Exp(g.Neg(g.Abs(z)))));
    const each = g.Add(g.Sub(g.Max([z, g.float(0)]), g.Mul(z, labels)), soft);
    return [counted(each), counted(g.Sub(g.Sigmoid(z), labels))];
  })();
  const size = z.shape?.reduce<number | undefined>(
    (n, s) => (typeof s === 'number' && n !== undefined ? n * s : undefined),
    1,
  );
  const weight =
    counts !== undefined
      ? g.ReduceSum(g.Cast(counts, { to: 1 }), undefined, { keepdims: 0 })
      : size !== undefined
        ? g.float(size)
        : g.Cast(g.Size(z), { to: 1 });
  const total = g.Max([weight, one]);
  const loss = g.Div(g.ReduceSum(each, undefined, { keepdims: 0 }), total);
  return { loss, weight, labels, seed: [tensor, g.Div(dz, total)] };
}

/** The element type of the labels of a loss. */
export const labelType = (kind: LossKind): DataType | undefined =>
  kind === 'output' ? undefined : kind === 'cross-entropy' || kind === 'causal-lm' ? 'int64' : 'float32';
