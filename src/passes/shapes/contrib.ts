/**
 * Contributed operators that ONNX Runtime's optimizer and quantizer produce, except those close to a standard operator.
 */
import { broadcast, divExact, mul } from './dims.ts';
import { matmulShape } from './linear.ts';
import { dimAt, intAttr, like, out, shape, shapeRaw } from './rule.ts';

// Quantized elementwise operators: each operand is followed by its scale and zero point, then those of the result.
shapeRaw(['com.microsoft.QLinearAdd', 'com.microsoft.QLinearMul'], ({ inputs: [a, , , b] }) => [
  out(a?.dtype, broadcast(a?.shape, b?.shape)),
]);
shapeRaw(
  ['com.microsoft.QLinearSigmoid', 'com.microsoft.QLinearLeakyRelu', 'com.microsoft.QLinearSoftmax'],
  ({ inputs: [x] }) => [like(x)],
);

shapeRaw('com.microsoft.DynamicQuantizeMatMul', ({ inputs: [a, b] }) => [
  out(a?.dtype, matmulShape(a?.shape, b?.shape)),
]);
shapeRaw('com.microsoft.MatMulIntegerToFloat', ({ inputs: [a, b, scale] }) => [
  out(scale?.dtype, matmulShape(a?.shape, b?.shape)),
]);

// [B, S, 2 * D]: one half gates the other.
shapeRaw('com.microsoft.BiasSplitGelu', ({ inputs: [x] }) => [
  out(x?.dtype, x?.shape === undefined ? undefined : [...x.shape.slice(0, -1), divExact(dimAt(x.shape, -1), 2)]),
]);
shapeRaw('com.microsoft.BiasAdd', ({ inputs: [x] }) => [like(x)]);

// Blocks of a quantized table: the attribute is the axis along which rows are gathered.
shapeRaw('com.microsoft.GatherBlockQuantized', ({ node, inputs: [data, indices, scales] }) => {
  const [dims, at, axis] = [data?.shape, indices?.shape, intAttr(node, 'gather_axis', 0)];
  if (dims === undefined || at === undefined || axis !== 0) return [out(scales?.dtype, undefined)];
  // Each element of a uint8 table has 8 / bits packed values.
  const packed = data?.dtype === 'uint8' ? 8 / intAttr(node, 'bits', 4) : 1;
  const last = dimAt(dims, -1);
  return [out(scales?.dtype, [...at, ...dims.slice(1, -1), typeof last === 'number' ? last * packed : null])];
});

// The state has the positions that the last tap reaches back over.
shape('com.microsoft.CausalConvWithState', ({ inputs: [x, w, , past], attrs: { dilation } }) => {
  const taps = dimAt(w?.shape, 2);
  const carried = typeof taps === 'number' ? (taps - 1) * dilation : dimAt(past?.shape, 2);
  return [like(x), out(x?.dtype, [dimAt(x?.shape, 0), dimAt(x?.shape, 1), carried])];
});

// Query heads may share a state, and states a query head.
shape('com.microsoft.LinearAttention', ({ inputs: [q, , v], attrs }) => {
  const { q_num_heads: heads, kv_num_heads: states } = attrs;
  const size = divExact(dimAt(v?.shape, 2), states ?? null);
  const count = heads === undefined || states === undefined ? null : Math.max(heads, states);
  const [batch, steps] = [dimAt(q?.shape, 0), dimAt(q?.shape, 1)];
  return [
    out(q?.dtype, [batch, steps, mul(count, size)]),
    out(q?.dtype, [batch, states ?? null, divExact(dimAt(q?.shape, 2), heads ?? null), size]),
  ];
});
