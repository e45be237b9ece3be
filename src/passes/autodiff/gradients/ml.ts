/** Operators of ai.onnx.ml that are differentiable functions of their features. Their kernels compute in float32. */
import { noGradient } from '../../../errors.ts';
import type { Value } from '../../../graph/model.ts';
import { asType } from '../../common/computeType.ts';
import { asInt64 } from '../../common/dimArithmetic.ts';
import { decompose, grad, stop } from '../rules.ts';
import type { G } from './attend.ts';

// The result is float32 whatever the type of the features.
grad('ai.onnx.ml.Scaler', ({ inputs: [x], attrs: { scale = [] }, dy, g }) => {
  const [only, ...more] = scale;
  const dx =
    only === undefined
      ? dy
      : g.Mul(dy, more.length === 0 ? g.float(only) : g.constant('float32', [scale.length], scale));
  return [asType(g, dx, x.dtype)];
});

// Replaced elements are constants. NaN is replaced by value, not by comparison.
grad('ai.onnx.ml.Imputer', ({ inputs: [x], attrs: { replaced_value_float: value }, dy, g }) => {
  const replaced = Number.isNaN(value) ? g.IsNaN(x) : g.Equal(x, g.like(x, value));
  return [g.Where(replaced, g.like(dy, 0), dy)];
});

/** Divided by a norm of the row, unless that is 0. */
decompose('ai.onnx.ml.Normalizer', ({ inputs: [x], attrs: { norm }, g }) => {
  const last = g.ints([-1]);
  const wide = asType(g, x, 'float32');
  const size =
    norm === 'L1' ? g.ReduceL1(wide, last) : norm === 'L2' ? g.ReduceL2(wide, last) : g.ReduceMax(wide, last);
  return [g.Div(wide, g.Where(g.Equal(size, g.float(0)), g.float(1), size))];
});

// Columns of the last axis; a vector is a row.
decompose('ai.onnx.ml.ArrayFeatureExtractor', ({ inputs: [x, indices], g }) => {
  const picked = g.Gather(x, g.Reshape(asInt64(g, indices), g.ints([-1])), { axis: -1 });
  return [g.rank(x) === 1 ? g.Unsqueeze(picked, g.ints([0])) : picked];
});

decompose('ai.onnx.ml.FeatureVectorizer', ({ inputs, g }) => [
  g.Concat(
    inputs.map((x) => asType(g, x, 'float32')),
    { axis: -1 },
  ),
]);

/** x·Wᵀ + b, with one row of W for each result. */
function linear(g: G, x: Value, coefficients: readonly number[], intercepts: readonly number[], rows: number): Value {
  const width = coefficients.length / rows;
  const w = g.constant('float32', [rows, width], coefficients);
  const flat = g.Reshape(asType(g, x, 'float32'), g.ints([-1, width]));
  const b = intercepts.length === 0 ? undefined : g.constant('float32', [intercepts.length], intercepts);
  return g.Gemm(flat, w, b, { transB: 1 });
}

/** The transformation of scores. PROBIT and SOFTMAX_ZERO are refused. */
function transformed(g: G, op: string, scores: Value, how: string): Value {
  if (how === 'NONE') return scores;
  if (how === 'LOGISTIC') return g.Sigmoid(scores);
  if (how === 'SOFTMAX') return g.Softmax(scores);
  throw noGradient(`${op} with post_transform ${how} has no gradient rule`, {});
}

decompose('ai.onnx.ml.LinearRegressor', ({ inputs: [x], attrs, g }) => {
  const { coefficients = [], intercepts = [], targets, post_transform } = attrs;
  return [transformed(g, 'LinearRegressor', linear(g, x, coefficients, intercepts, targets), post_transform)];
});

// The labels have no gradient. One row of coefficients for two classes is scored in a way of its own.
decompose('ai.onnx.ml.LinearClassifier', ({ node, inputs: [x], attrs, g }) => {
  const { classlabels_ints = [], classlabels_strings = [], coefficients = [], intercepts = [], post_transform } = attrs;
  const classes = Math.max(classlabels_ints.length, classlabels_strings.length);
  if (intercepts.length !== classes || classes < 2)
    throw noGradient(
      `LinearClassifier with ${intercepts.length} rows of coefficients for ${classes} classes has no gradient rule`,
      { node: node.label },
    );
  const scores = linear(g, x, coefficients, intercepts, classes);
  return [undefined, transformed(g, 'LinearClassifier', scores, post_transform)];
});

stop('piecewise constant: the derivative is zero wherever there is one', [
  'ai.onnx.ml.Binarizer',
  'ai.onnx.ml.TreeEnsemble',
  'ai.onnx.ml.TreeEnsembleClassifier',
  'ai.onnx.ml.TreeEnsembleRegressor',
]);
stop('labels and categories, not numbers', [
  'ai.onnx.ml.CategoryMapper',
  'ai.onnx.ml.LabelEncoder',
  'ai.onnx.ml.OneHotEncoder',
]);
stop('maps, which hold no tensor', ['ai.onnx.ml.CastMap', 'ai.onnx.ml.DictVectorizer', 'ai.onnx.ml.ZipMap']);
