/** Operators of ai.onnx.ml with a derivative; their kernels are float32. */
import { type Case, distinct, f, int64, k, offZero } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const row =
  (op: Case['op'], base: Partial<Case> = {}) =>
  (inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
    op,
    in: inputs,
    attrs,
    dtype: 'float32',
    ...base,
    ...more,
  });
const linear = { linear: true } as const;
const scaler = row('ai.onnx.ml.Scaler', linear);
const imputer = row('ai.onnx.ml.Imputer');
const normalizer = row('ai.onnx.ml.Normalizer');
const columns = row('ai.onnx.ml.ArrayFeatureExtractor', linear);
const vectorizer = row('ai.onnx.ml.FeatureVectorizer', linear);
const regressor = row('ai.onnx.ml.LinearRegressor');
const classifier = row('ai.onnx.ml.LinearClassifier', { outputs: 2, loss: [1] });

const coefficients = [0.5, -1, 0.25, 2, 0.75, -0.5, 1.5, 1, -0.25, -2, 0.3, 0.6];
const three = { coefficients, intercepts: [0.1, -0.2, 0.3], classlabels_ints: [0, 1, 2] };

export const rows: readonly Case[] = [
  scaler([f([3, 4])], { offset: [0.5, -1, 2, 0], scale: [2, 0.5, -1, 3] }),
  scaler([f([3, 4])], { offset: [0.5], scale: [2] }),
  imputer([f([3, 2], [0.5, Number.NaN, -1, 2, Number.NaN, 0.3])], {
    imputed_value_floats: [1, 2],
    replaced_value_float: Number.NaN,
  }),
  imputer([f([3, 2], offZero)], { imputed_value_floats: [1], replaced_value_float: 9 }),
  normalizer([f([3, 4], offZero)], { norm: 'L1' }),
  normalizer([f([3, 4], offZero)], { norm: 'L2' }),
  normalizer([f([3, 4], distinct)], { norm: 'MAX' }),
  columns([f([3, 4]), k([2, 0, 2])]),
  columns([f([2, 3, 4]), k([1])]),
  columns([f([4]), k([3, 1])]),
  columns([f([3, 4]), int64([1, 2])]),
  vectorizer([f([3, 4]), f([3, 2])], { inputdimensions: [4, 2] }),
  regressor([f([3, 4])], { coefficients, intercepts: [0.1, -0.2, 0.3], targets: 3 }, linear),
  regressor([f([3, 4])], { coefficients: coefficients.slice(0, 4), targets: 1 }, linear),
  classifier([f([3, 4])], three, linear),
  classifier([f([3, 4])], { ...three, post_transform: 'SOFTMAX' }),
  classifier([f([3, 4])], { ...three, post_transform: 'LOGISTIC' }),
];

const random = 'works on rows of features, [N, C], which the shapes of random graphs are not';
export const exceptions: Exceptions = {
  'ai.onnx.ml.ArrayFeatureExtractor': { random },
  'ai.onnx.ml.FeatureVectorizer': { random, empty: 'ONNX Runtime 1.30 divides by the number of rows' },
  'ai.onnx.ml.Imputer': { random },
  'ai.onnx.ml.LinearClassifier': { random },
  'ai.onnx.ml.LinearRegressor': { random },
  'ai.onnx.ml.Normalizer': { random },
  'ai.onnx.ml.Scaler': { random },
};
