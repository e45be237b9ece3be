/** Operators of ai.onnx.ml: functions of rows of features, [N, C], in float32 whatever the type of the features. */
import type { Dim, Value, ValueType } from '../../graph/model.ts';
import { isFloat } from '../../graph/tensor.ts';
import { sum } from './dims.ts';
import { dimAt, out, shape, shapeRaw, type Typed, withDim } from './rule.ts';

shape(['ai.onnx.ml.Scaler', 'ai.onnx.ml.Normalizer'], ({ inputs: [x] }) => [out('float32', x?.shape)]);

/** The rows of a value: one where it is a vector of features. */
const rowsOf = (x: Value | undefined): Dim => (x?.shape?.length === 1 ? 1 : dimAt(x?.shape, 0));

/** A result of `width` columns for each row. */
const perRow = (x: Value | undefined, width: Dim | undefined): Typed => out('float32', [rowsOf(x), width ?? null]);

// A table of one axis is a row.
shapeRaw('ai.onnx.ml.ArrayFeatureExtractor', ({ inputs: [x, indices] }) => {
  const from = x?.shape;
  const count = indices?.shape?.reduce<Dim>((n, d) => (n === 1 ? d : d === 1 ? n : null), 1) ?? null;
  if (from === undefined) return [out(x?.dtype, undefined)];
  return [out(x?.dtype, from.length === 1 ? [1, count] : withDim(from, from.length - 1, count))];
});

/** The type of labels: text or integers, by the attribute that has them. */
const labelType = (texts: readonly unknown[] | undefined): 'string' | 'int64' =>
  texts !== undefined && texts.length > 0 ? 'string' : 'int64';

shape('ai.onnx.ml.CategoryMapper', ({ inputs: [x] }) => [out(x?.dtype === 'string' ? 'int64' : 'string', x?.shape)]);

shape('ai.onnx.ml.LabelEncoder', ({ inputs: [x], attrs }) => {
  const { values_floats, values_int64s, values_strings, values_tensor } = attrs;
  const dtype =
    values_tensor?.dtype ??
    (values_floats !== undefined ? 'float32' : values_int64s !== undefined ? 'int64' : values_strings && 'string');
  return [out(dtype, x?.shape)];
});

shape('ai.onnx.ml.OneHotEncoder', ({ inputs: [x], attrs: { cats_int64s, cats_strings } }) => {
  const count = (cats_int64s ?? cats_strings)?.length;
  return [out('float32', x?.shape === undefined ? undefined : [...x.shape, count ?? null])];
});

shape('ai.onnx.ml.FeatureVectorizer', ({ inputs, attrs: { inputdimensions } }) => [
  out('float32', [rowsOf(inputs[0]), inputdimensions === undefined ? null : sum(inputdimensions)]),
]);

shape('ai.onnx.ml.LinearRegressor', ({ inputs: [x], attrs: { targets } }) => [perRow(x, targets)]);
shapeRaw('ai.onnx.ml.SVMRegressor', ({ inputs: [x] }) => [perRow(x, 1)]);
shape('ai.onnx.ml.TreeEnsembleRegressor', ({ inputs: [x], attrs: { n_targets } }) => [perRow(x, n_targets)]);
shape('ai.onnx.ml.TreeEnsemble', ({ inputs: [x], attrs: { n_targets } }) => [
  out(x?.dtype !== undefined && isFloat(x.dtype) ? x.dtype : undefined, [rowsOf(x), n_targets ?? null]),
]);

/** A label for each row, and a score for each class. */
function classifier(
  x: Value | undefined,
  ints: readonly unknown[] | undefined,
  texts: readonly unknown[] | undefined,
): Typed[] {
  const labels = out(labelType(texts), [rowsOf(x)]);
  return [labels, perRow(x, Math.max(ints?.length ?? 0, texts?.length ?? 0) || null)];
}
shape(['ai.onnx.ml.LinearClassifier', 'ai.onnx.ml.SVMClassifier'], ({ inputs: [x], attrs }) =>
  classifier(x, attrs.classlabels_ints, attrs.classlabels_strings),
);
shape('ai.onnx.ml.TreeEnsembleClassifier', ({ inputs: [x], attrs }) =>
  classifier(x, attrs.classlabels_int64s, attrs.classlabels_strings),
);

shape('ai.onnx.ml.ZipMap', ({ attrs: { classlabels_strings } }) => {
  const value: ValueType = { kind: 'tensor', dtype: 'float32', shape: [] };
  return [{ type: { kind: 'sequence', elem: { kind: 'map', key: labelType(classlabels_strings), value } } }];
});

shape('ai.onnx.ml.DictVectorizer', ({ inputs: [x], attrs: { int64_vocabulary, string_vocabulary } }) => {
  const value = x?.type?.kind === 'map' && x.type.value?.kind === 'tensor' ? x.type.value.dtype : undefined;
  return [out(value, [1, (int64_vocabulary ?? string_vocabulary)?.length ?? null])];
});
const casts = { TO_FLOAT: 'float32', TO_INT64: 'int64', TO_STRING: 'string' } as const;
shape('ai.onnx.ml.CastMap', ({ attrs: { cast_to } }) => {
  const dtype = Object.entries(casts).find(([name]) => name === cast_to)?.[1];
  return [out(dtype, [1, null])];
});
