/** Losses of logits over classes: weighted means over the rows whose label is not `ignoreIndex`. */
import { badLoss } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { losses } from '../../graph/choices/losses.ts';
import { tensorType, Value } from '../../graph/model.ts';
import { gradTools } from '../common/shapeTools.ts';
import { takesFused } from '../common/target.ts';
import { separated } from './flattened.ts';
import type { LossFormula, LossSite } from './formula.ts';

/**
 * The logits as a float32 matrix [rows, classes], and the label of each row. All values of rows are columns [rows, 1].
 */
interface ClassRows {
  readonly z: Value;
  /** The label, 0 where it does not count. */
  readonly index: Value;
  /** 1 where the label counts, else 0. */
  readonly mask: Value;
  /** The number of classes where it is known. */
  readonly classes: number | undefined;
  /** The same as a float scalar, computed where it is not. */
  readonly classCount: () => Value;
}

/** The input of a formula over classes. */
export interface ClassTerms extends ClassRows {
  /** One weight per class; undefined: all are 1. */
  readonly weights: Value | undefined;
  /** The weight of each row: of its class, 0 where the label does not count. */
  readonly rowWeight: Value;
  /** The sum of row weights, 1 where no row counts: loss and gradient are 0 then, not 0/0. */
  readonly total: Value;
  /**
   * z less a number per row, exp of it, and the sum of that per row; undefined: 1, because z - log(sum exp z) was
   * taken.
   */
  readonly shift: Value;
  readonly exp: Value;
  readonly sum: Value | undefined;
  /** log(sum). */
  readonly logSum: Value | undefined;
  /** -log softmax(z)[label]. */
  readonly nll: Value;
  /** (softmax(z) - onehot(label))·sum: the gradient of nll, times sum. */
  readonly oneLess: Value;
  readonly options: LossSite['options'];
  readonly params: LossSite['params'];
}

/** The loss of each row, weighted, and its gradient with respect to z divided by `total`. */
export type ClassFormula = (g: Builder, t: ClassTerms) => readonly [rowLoss: Value, dz: Value];

/**
 * -log softmax(z)[label], smoothed as torch.nn.functional.cross_entropy does: (1-e)·w[l]·nll + e/C·sum_c w[c]·(-log
 * p[c]), over the sum of w[l].
 */
export const crossEntropy: ClassFormula = (g, t) => {
  const { nll, rowWeight, oneLess, sum, total, options } = t;
  const hard = g.Mul(nll, rowWeight);
  // If only the share of the label itself changes, the division by the sum is merged with the factor of the row.
  const hardGrad = g.Mul(oneLess, g.Div(rowWeight, sum === undefined ? total : g.Mul(sum, total)));
  return options.labelSmoothing === 0 ? [hard, hardGrad] : smoothed(g, t, options.labelSmoothing, hard, hardGrad);
};

/** sum_c w[c]·(-log p[c]) = W·log(sum) - sum_c w[c]·shift[c], with W the sum of weights. */
function smoothed(
  g: Builder,
  { mask, classCount, weights, total, shift, exp, sum, logSum }: ClassTerms,
  e: number,
  hard: Value,
  hardGrad: Value,
): readonly [Value, Value] {
  const count = classCount();
  const share = g.Div(g.float(e), count);
  const p = sum === undefined ? exp : g.Div(exp, sum);
  const all = weights === undefined ? count : g.ReduceSum(weights, undefined, { keepdims: 0 });
  const weighted = weights === undefined ? shift : g.Mul(shift, weights);
  const spread = g.ReduceSum(weighted, g.ints([1]), { keepdims: 1 });
  const soft = g.Mul(logSum === undefined ? g.Neg(spread) : g.Sub(g.Mul(logSum, all), spread), mask);
  const rowLoss = g.Add(g.Mul(hard, g.float(1 - e)), g.Mul(soft, share));
  const softGrad = g.Mul(g.Sub(g.Mul(p, all), weights ?? g.float(1)), g.Mul(g.Div(mask, total), share));
  return [rowLoss, g.Add(g.Mul(hardGrad, g.float(1 - e)), softGrad)];
}

export const overClasses =
  (formula: ClassFormula): LossFormula =>
  (g, site) => {
    const { choice, options, params } = site;
    const { labels, back, ...rows } = rowsOf(g, site);
    const { z, index, mask, classes } = rows;
    const weights = classWeights(g, options.classWeights, classes, choice.tensor.name);
    const rowWeight = weights === undefined ? mask : g.Mul(mask, g.Reshape(g.Gather(weights, index), g.ints([-1, 1])));
    const weight = g.ReduceSum(rowWeight, undefined, { keepdims: 0 });
    const total = g.Where(g.Equal(weight, g.float(0)), g.float(1), weight);

    const terms = { ...rows, ...distribution(g, site, z, index), weights, rowWeight, total, options, params };
    const [rowLoss, dz] = formula(g, terms);
    const loss = g.Div(g.ReduceSum(rowLoss, undefined, { keepdims: 0 }), total);
    return { loss, weight, labels, seed: [choice.tensor, back(dz)] };
  };

type Distribution = Pick<ClassTerms, 'shift' | 'exp' | 'sum' | 'logSum' | 'nll' | 'oneLess'>;

/** The distribution over the classes of each row. */
function distribution(g: Builder, { choice, target }: LossSite, z: Value, index: Value): Distribution {
  if (choice.form === 'log-probabilities' || choice.form === 'probabilities') return given(g, z, index);
  // exp is p times sum. With LogSoftmax, which WebGPU lacks, the matrix is passed over twice instead of four times.
  const fused = takesFused(target);
  const lastAxis = g.ints([1]);
  const shift = fused ? g.LogSoftmax(z, { axis: 1 }) : g.Sub(z, g.ReduceMax(z, lastAxis, { keepdims: 1 }));
  const exp = g.Exp(shift);
  const sum = fused ? undefined : g.ReduceSum(exp, lastAxis, { keepdims: 1 });
  const logSum = sum === undefined ? undefined : g.Log(sum);
  const picked = g.GatherElements(shift, index, { axis: 1 });
  const nll = logSum === undefined ? g.Neg(picked) : g.Sub(logSum, picked);
  const less = g.Sub(g.GatherElements(exp, index, { axis: 1 }), sum ?? g.float(1));
  const oneLess = g.ScatterElements(exp, index, less, { axis: 1 });
  return { shift, exp, sum, logSum, nll, oneLess };
}

/**
 * The distribution whose logarithms z are, as torch.nn.functional.nll_loss takes them: the loss does not normalize
 * them, so its derivative has no term in p.
 */
function given(g: Builder, z: Value, index: Value): Distribution {
  const exp = g.Mul(g.Exp(z), g.float(0));
  const picked = g.GatherElements(z, index, { axis: 1 });
  const less = g.Sub(g.GatherElements(exp, index, { axis: 1 }), g.float(1));
  const oneLess = g.ScatterElements(exp, index, less, { axis: 1 });
  return { shift: z, exp, sum: undefined, logSum: undefined, nll: g.Neg(picked), oneLess };
}

function rowsOf(
  g: Builder,
  { choice, options, labelName, merged }: LossSite,
): ClassRows & { readonly labels: Value; readonly back: (v: Value) => Value } {
  const { tensor, kind, form } = choice;
  const shift = losses[kind].shift === true;
  const tools = gradTools(g, (v): never => {
    throw badLoss(`${kind} needs the rank of "${v.name}", which is not known`);
  });
  const rank = tools.rank(tensor);
  const axis = tools.axis(tensor, choice.classAxis);
  if (rank < 1 || axis < 0 || axis >= rank)
    throw badLoss(`class axis ${choice.classAxis} does not exist in "${tensor.name}"`);
  const classes = tensor.shape?.[axis];
  if (shift && (rank !== 3 || axis !== 2))
    throw badLoss(`${kind} needs logits [N, S, C], but "${tensor.name}" has rank ${rank}`);
  const labelShape = (tensor.shape ?? []).filter((_, i) => i !== axis);
  const labels = new Value(labelName, tensorType('int64', axis === 0 ? labelShape : separated(labelShape, merged)));

  const last = axis === rank - 1;
  const perm = [...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis), axis];
  const front = last ? tensor : g.Transpose(tensor, { perm });
  const wide = front.dtype === 'float32' ? front : g.Cast(front, { to: 1 });
  const width =
    typeof classes === 'number' ? g.ints([-1, classes]) : g.Concat([g.ints([-1]), tools.dim(front, -1)], { axis: 0 });
  const matrix = rank === 2 ? wide : g.Reshape(wide, width);
  const isProbability = form === 'probabilities';
  const z = isProbability ? g.Max([g.Log(g.Max([matrix, g.float(0)])), g.float(-100)]) : matrix;

  // Labels are shifted, not logits: those of position i are compared with label i + 1, the last position with none.
  const ignore = g.int(options.ignoreIndex);
  const shifted = (): Value => {
    const rest = g.Slice(labels, g.ints([1]), g.ints([2 ** 31 - 1]), g.ints([1]));
    const column = g.Expand(ignore, g.Concat([tools.dim(labels, 0), g.ints([1])], { axis: 0 }));
    return g.Concat([rest, column], { axis: 1 });
  };
  const flat = g.Reshape(shift ? shifted() : labels, g.ints([-1, 1]));
  const valid = g.Not(g.Equal(flat, ignore));
  /** A value of z's shape in the shape of the logits. */
  const back = (v: Value): Value => {
    const slope = isProbability ? g.Div(v, g.Max([matrix, g.float(1e-12)])) : v;
    const shaped = rank === 2 ? slope : g.Reshape(slope, tools.shapeOf(front));
    return last ? shaped : g.Transpose(shaped, { perm: perm.map((_, i) => perm.indexOf(i)) });
  };
  return {
    labels,
    z,
    index: g.Where(valid, flat, g.int(0)),
    mask: g.Cast(valid, { to: 1 }),
    classes: typeof classes === 'number' ? classes : undefined,
    classCount: () =>
      typeof classes === 'number' ? g.float(classes) : g.Cast(g.Reshape(tools.dim(z, 1), g.ints([])), { to: 1 }),
    back,
  };
}

function classWeights(
  g: Builder,
  weights: readonly number[] | undefined,
  classes: number | undefined,
  name: string,
): Value | undefined {
  if (weights === undefined) return undefined;
  if (weights.every((w) => w === 0)) throw badLoss(`all class weights of "${name}" are 0, so that no label counts`);
  if (classes !== undefined && classes !== weights.length)
    throw badLoss(`${weights.length} class weights for the ${classes} classes of "${name}"`);
  return g.constant('float32', [weights.length], weights);
}
