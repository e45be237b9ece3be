/** Operators that make tensors from attributes, shapes and dims: constants, ranges, random numbers, Shape and Size. */
import type { Dim, Value } from '../../graph/model.ts';
import { type DataType, dataTypeFromNumber, isFloat, numbersOf } from '../../graph/tensor.ts';
import { add, ceilDiv, floorDiv, isStatic, max, mul, product, sub } from './dims.ts';
import { constantsOf, elementsOf, isFollowed, mostElements, scalarIn } from './elements.ts';
import { dimAt, out, type Shape, shape, shapeRaw, unknownDims } from './rule.ts';

shape('Constant', ({ attrs }) => {
  const { value, value_int, value_ints, value_float, value_floats, value_string, value_strings, sparse_value } = attrs;
  if (value !== undefined) {
    const few = isFollowed(value.dtype) && value.dims.reduce((n, d) => n * d, 1) <= mostElements;
    return [out(value.dtype, value.dims, few ? numbersOf(value) : undefined)];
  }
  if (value_int !== undefined) return [out('int64', [], [value_int])];
  if (value_ints !== undefined) return [out('int64', [value_ints.length], value_ints)];
  if (value_float !== undefined) return [out('float32', [])];
  if (value_floats !== undefined) return [out('float32', [value_floats.length])];
  if (value_string !== undefined) return [out('string', [])];
  if (value_strings !== undefined) return [out('string', [value_strings.length])];
  return [sparse_value === undefined ? undefined : out(sparse_value.values.tensor.dtype, sparse_value.dims)];
});

/** The shape given by a vector of dims. */
function shapeIn(v: Value | undefined): Shape {
  const rank = v?.shape?.length === 1 ? v.shape[0] : null;
  return elementsOf(v) ?? (typeof rank === 'number' ? unknownDims(rank) : undefined);
}

shape('ConstantOfShape', ({ inputs: [lengths], attrs: { value } }) => {
  const [dims, dtype] = [shapeIn(lengths), value?.dtype ?? 'float32'];
  const size = isStatic(dims) ? product(dims) : null;
  const few = typeof size === 'number' && size <= mostElements && isFollowed(dtype) && value !== undefined;
  const fill = few ? (numbersOf(value)?.[0] ?? null) : null;
  return [out(dtype, dims, few ? new Array<Dim>(size).fill(fill) : undefined)];
});

shape('Shape', ({ inputs: [x], attrs: { start, end } }) => {
  const dims = x?.shape?.slice(start, end);
  return [out('int64', [dims?.length ?? null], dims)];
});
shapeRaw('Size', ({ inputs: [x] }) => [out('int64', [], x?.shape === undefined ? undefined : [product(x.shape)])]);

shapeRaw('Range', ({ inputs: [start, limit, delta] }) => {
  const dtype = start?.dtype ?? limit?.dtype ?? delta?.dtype;
  const [a, b, by] = [scalarIn(start), scalarIn(limit), scalarIn(delta)];
  if ((a === null || b === null || by === null) && dtype !== undefined && isFloat(dtype)) {
    // Floats that are not whole: all three must be constants.
    const [from = NaN, to = NaN, step = NaN] = [start, limit, delta].map((v) => constantsOf(v)?.[0]);
    const count = Math.max(0, Math.ceil((to - from) / step));
    return [out(dtype, [Number.isSafeInteger(count) ? count : null])];
  }
  const length = max(ceilDiv(sub(b, a), by), 0);
  const few = typeof length === 'number' && length <= mostElements;
  return [out(dtype, [length], few ? Array.from({ length }, (_, i) => add(a, mul(by, i))) : undefined)];
});

const typeOf = (n: number | undefined): DataType | undefined => (n === undefined ? undefined : dataTypeFromNumber(n));

shape('EyeLike', ({ inputs: [x], attrs: { dtype } }) => [
  out(dtype === undefined ? x?.dtype : typeOf(dtype), x?.shape),
]);
shape(['RandomNormal', 'RandomUniform'], ({ attrs }) => [out(typeOf(attrs.dtype), attrs.shape)]);
shape(['RandomNormalLike', 'RandomUniformLike', 'Bernoulli'], ({ inputs: [x], attrs: { dtype } }) => [
  out(dtype === undefined ? x?.dtype : typeOf(dtype), x?.shape),
]);
shape('Multinomial', ({ inputs: [x], attrs: { dtype, sample_size } }) => [
  out(typeOf(dtype), [dimAt(x?.shape, 0), sample_size]),
]);

shape(['BlackmanWindow', 'HammingWindow', 'HannWindow'], ({ inputs: [size], attrs: { output_datatype } }) => [
  out(typeOf(output_datatype), [scalarIn(size)]),
]);
shape('MelWeightMatrix', ({ inputs: [bins, length], attrs: { output_datatype } }) => [
  out(typeOf(output_datatype), [add(floorDiv(scalarIn(length), 2), 1), scalarIn(bins)]),
]);
