/**
 * The table of the operators of ai.onnx.ml, which scikit-learn models are exported to: a part of the operator table
 * (operators.ts), keyed by domain and name. They work on rows of features, [N, C]; the values of maps and of labels
 * pass no gradient.
 *
 * Facts: https://github.com/onnx/onnx/blob/main/docs/Operators-ml.md.
 */
import { float, floats, int, ints, type OpRow, str, strs, tensor } from './operatorRow.ts';

// biome-ignore format: one row per operator
export const ml = {
  'ai.onnx.ml.ArrayFeatureExtractor': { kind: 'move', in: ['X', 'Y'], out: ['Z'] },
  'ai.onnx.ml.Binarizer': { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { threshold: float(0) } },
  'ai.onnx.ml.CastMap': { kind: 'container', in: ['X'], out: ['Y'], attrs: { cast_to: str('TO_FLOAT'), map_form: str('DENSE'), max_map: int(1) } },
  'ai.onnx.ml.CategoryMapper': { kind: 'search', in: ['X'], out: ['Y'], attrs: { cats_int64s: ints(), cats_strings: strs(), default_int64: int(-1), default_string: str('_Unused') } },
  'ai.onnx.ml.DictVectorizer': { kind: 'container', in: ['X'], out: ['Y'], attrs: { int64_vocabulary: ints(), string_vocabulary: strs() } },
  'ai.onnx.ml.FeatureVectorizer': { kind: 'move', in: ['...X'], out: ['Y'], attrs: { inputdimensions: ints() } },
  'ai.onnx.ml.Imputer': { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { imputed_value_floats: floats(), imputed_value_int64s: ints(), replaced_value_float: float(0), replaced_value_int64: int(0) }, float64: false },
  'ai.onnx.ml.LabelEncoder': { kind: 'search', in: ['X'], out: ['Y'], attrs: { default_float: float(0), default_int64: int(-1), default_string: str('_Unused'), default_tensor: tensor(), keys_floats: floats(), keys_int64s: ints(), keys_strings: strs(), keys_tensor: tensor(), values_floats: floats(), values_int64s: ints(), values_strings: strs(), values_tensor: tensor() } },
  'ai.onnx.ml.LinearClassifier': { kind: 'matmul', in: ['X'], out: ['Y', 'Z'], attrs: { classlabels_ints: ints(), classlabels_strings: strs(), coefficients: floats(), intercepts: floats(), multi_class: int(0), post_transform: str('NONE') } },
  'ai.onnx.ml.LinearRegressor': { kind: 'matmul', in: ['X'], out: ['Y'], attrs: { coefficients: floats(), intercepts: floats(), post_transform: str('NONE'), targets: int(1) }, float64: false },
  'ai.onnx.ml.Normalizer': { kind: 'normalization', in: ['X'], out: ['Y'], attrs: { norm: str('MAX') } },
  'ai.onnx.ml.OneHotEncoder': { kind: 'search', in: ['X'], out: ['Y'], attrs: { cats_int64s: ints(), cats_strings: strs(), zeros: int(1) } },
  'ai.onnx.ml.SVMClassifier': { kind: 'search', in: ['X'], out: ['Y', 'Z'], attrs: { classlabels_ints: ints(), classlabels_strings: strs(), post_transform: str('NONE') } },
  'ai.onnx.ml.SVMRegressor': { kind: 'search', in: ['X'], out: ['Y'], attrs: { post_transform: str('NONE') } },
  'ai.onnx.ml.Scaler': { kind: 'elementwise', in: ['X'], out: ['Y'], attrs: { offset: floats(), scale: floats() } },
  'ai.onnx.ml.TreeEnsemble': { kind: 'search', in: ['X'], out: ['Y'], attrs: { n_targets: int() } },
  'ai.onnx.ml.TreeEnsembleClassifier': { kind: 'search', in: ['X'], out: ['Y', 'Z'], attrs: { classlabels_int64s: ints(), classlabels_strings: strs(), post_transform: str('NONE') } },
  'ai.onnx.ml.TreeEnsembleRegressor': { kind: 'search', in: ['X'], out: ['Y'], attrs: { n_targets: int(), post_transform: str('NONE') } },
  'ai.onnx.ml.ZipMap': { kind: 'container', in: ['X'], out: ['Z'], attrs: { classlabels_int64s: ints(), classlabels_strings: strs() } },
} as const satisfies Record<string, OpRow>;
