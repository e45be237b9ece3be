/** Normalizations, dropout, quantization. */
import { type DataType, dataTypeFromNumber } from '../../graph/tensor.ts';
import { axisIn, dimAt, like, out, type Shape, type Site, shape, shapeRaw, type Typed } from './rule.ts';

/** One statistic per slice: the axes from `axis` on are 1. */
function statistics(x: Shape, axis: number): Shape {
  const at = x === undefined ? undefined : axisIn(axis, x.length);
  return at === undefined ? undefined : x?.map((d, i) => (i < at ? d : 1));
}

shape('LayerNormalization', ({ inputs: [x], attrs: { axis, stash_type } }) => {
  const statistic = out(dataTypeFromNumber(stash_type), statistics(x?.shape, axis));
  return [like(x), statistic, statistic];
});
// The scale's type is the output's: with mixed types the input is normalized first and multiplied after a cast.
shapeRaw('RMSNormalization', ({ inputs: [x, scale] }) => [out(scale?.dtype ?? x?.dtype, x?.shape)]);
shape('SimplifiedLayerNormalization', ({ inputs: [x, scale], attrs: { axis, stash_type } }) => [
  out(scale?.dtype ?? x?.dtype, x?.shape),
  out(dataTypeFromNumber(stash_type), statistics(x?.shape, axis)),
]);

/** Output, mean, inverse deviation, and the sum that was normalized. */
function skipNorm({ inputs: [x] }: Site<unknown>): (Typed | undefined)[] {
  const statistic = out('float32', statistics(x?.shape, -1));
  return [like(x), statistic, statistic, like(x)];
}
shapeRaw(['com.microsoft.SkipLayerNormalization', 'com.microsoft.SkipSimplifiedLayerNormalization'], skipNorm);

shapeRaw('com.microsoft.EmbedLayerNormalization', ({ inputs: [ids, , words] }) => {
  const dims = ids?.shape ?? [null, null];
  const embedded = out(words?.dtype, [...dims, dimAt(words?.shape, 1)]);
  return [embedded, out('int32', [dimAt(dims, 0)]), embedded];
});

shapeRaw('BatchNormalization', ({ inputs: [x, , , mean, variance] }) => [like(x), like(mean), like(variance)]);
shapeRaw('Dropout', ({ inputs: [x] }) => [like(x), out('bool', x?.shape)]);

/** The type of a type attribute; 0 and absence mean none. */
const named = (n: number): DataType | undefined => (n === 0 ? undefined : dataTypeFromNumber(n));

shape('QuantizeLinear', ({ inputs: [x, , zero], attrs: { output_dtype } }) => [
  out(zero === undefined ? (named(output_dtype) ?? 'uint8') : zero.dtype, x?.shape),
]);
shape('DequantizeLinear', ({ inputs: [x, scale], attrs: { output_dtype } }) => [
  out(named(output_dtype) ?? scale?.dtype, x?.shape),
]);
shapeRaw('com.microsoft.QuantizeLinear', ({ inputs: [x, , zero] }) => [
  out(zero === undefined ? 'uint8' : zero.dtype, x?.shape),
]);
shapeRaw('com.microsoft.DequantizeLinear', ({ inputs: [x, scale] }) => [out(scale?.dtype, x?.shape)]);
shapeRaw('DynamicQuantizeLinear', ({ inputs: [x] }) => [out('uint8', x?.shape), out('float32', []), out('uint8', [])]);
