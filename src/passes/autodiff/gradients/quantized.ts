/**
 * Quantized weights and activations. A packed weight passes a gradient to its activation, as in QLoRA (Dettmers et al.
 * 2023); a quantizer of activations passes it straight through where it does not saturate (Bengio et al. 2013,
 * "Estimating or propagating gradients through stochastic neurons"; torch.fake_quantize_per_tensor_affine has the same
 * gradient).
 */
import { unsupportedShape } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import { attrsOf } from '../../../graph/operators.ts';
import { bytesOf, type DataType, dataTypeNumber, isFloat, numbersOf } from '../../../graph/tensor.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { unpackBnb4 } from '../../precision/unpackBnb4.ts';
import { unpackWeight } from '../../precision/unpackNBits.ts';
import { grad } from '../rules.ts';
import { widen, windows } from '../windows.ts';

type G = Builder & GradTools;

// y = x·Wᵀ with W [N, K]: dx = dy·W. W's rows are padded to whole blocks, and so is dx until it is sliced.
grad('com.microsoft.MatMulNBits', ({ node, inputs: [x, , , , , bias], dy, g }) => {
  const { weight, shift, K, N, block, blocks } = unpackWeight(node, g);
  const rows = g.rows(dy, N);
  const whole = g.Gemm(rows, weight);
  const spread =
    shift === undefined
      ? undefined
      : g.Reshape(
          g.Expand(g.Unsqueeze(g.Gemm(rows, shift), g.ints([2])), g.ints([1, 1, block])),
          g.ints([-1, blocks * block]),
        );
  const dx = spread === undefined ? whole : g.Sub(whole, spread);
  const cut = blocks * block === K ? dx : g.Slice(dx, g.ints([0]), g.ints([K]), g.ints([1]));
  return [g.reshapeLike(cut, x), undefined, undefined, undefined, undefined, bias && dy];
});

// y = x·Wᵀ with W [N, K].
grad('com.microsoft.MatMulBnb4', ({ node, inputs: [x], dy, g }) => {
  const weight = unpackBnb4(node, g);
  return [g.reshapeLike(g.Gemm(g.rows(dy, attrsOf(node, 'com.microsoft.MatMulBnb4').N ?? 0), weight), x)];
});

/** A scale or zero point shaped to multiply x: for the whole tensor, or one for each index of an axis. */
function along(g: G, v: Value, x: Value, axis: number): Value {
  if (v.shape?.length === 0) return v;
  if (v.shape?.[0] === 1) return g.Reshape(v, g.ints([]));
  return g.Reshape(v, g.ints(g.axesFrom(x, 0).map((a) => (a === g.axis(x, axis) ? -1 : 1))));
}

/** The value of a constant that has only one. */
function knownNumber({ tensor }: Value): number | undefined {
  const numbers = tensor === undefined || tensor.byteLength > 8 ? undefined : numbersOf(tensor);
  return numbers?.length === 1 ? numbers[0] : undefined;
}

const ranges: Readonly<Partial<Record<DataType, readonly [number, number]>>> = {
  uint4: [0, 15],
  int4: [-8, 7],
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
};

// The integers have the gradient of the numbers they encode, so its magnitude is unchanged.
grad(
  'QuantizeLinear',
  ({ node, inputs: [x, scale, zero], outputs: [q], attrs: { axis, block_size }, dy, g }) => {
    if (block_size !== 0) throw unsupportedShape('blocked scales of an activation', { node: node.label });
    const range = ranges[q.dtype ?? 'uint8'];
    // 8-bit floats saturate only at large values.
    if (range === undefined) return [dy];
    const bound = (to: number): Value => {
      const [step, from] = [knownNumber(scale), zero === undefined ? 0 : knownNumber(zero)];
      if (step !== undefined && from !== undefined) return g.like(scale, (to - from) * step);
      const offset = zero === undefined ? g.like(scale, to) : g.Sub(g.like(scale, to), g.CastLike(zero, scale));
      return along(g, g.Mul(offset, scale), x, axis);
    };
    const inside = g.And(g.GreaterOrEqual(x, bound(range[0] - 0.5)), g.LessOrEqual(x, bound(range[1] + 0.5)));
    return [g.Where(inside, dy, g.like(dy, 0))];
  },
  { integers: true },
);

/**
 * (x - zero point)·scale, where the scale may be per tensor or per index of an axis. Integers that do not come from a
 * quantizer are data; with another scale they would encode other numbers.
 */
grad('DequantizeLinear', ({ node, inputs: [x, scale], outputs: [y], attrs: { axis, block_size }, dy, g }) => {
  if (block_size !== 0) throw unsupportedShape('the gradient of a blocked scale is missing', { node: node.label });
  const quantizer = scaleOf(x);
  const dx =
    quantizer === undefined
      ? undefined
      : isSame(quantizer, scale)
        ? dy
        : g.Mul(dy, g.Div(along(g, scale, x, axis), along(g, quantizer, x, axis)));
  if (scale.shape?.length === 0) return [dx, g.Div(g.Mul(dy, y), scale)];
  const others = g.axesFrom(x, 0).filter((a) => a !== g.axis(x, axis));
  return [dx, g.Div(g.ReduceSum(g.Mul(dy, y), g.ints(others), { keepdims: 0 }), scale)];
});

/** The scale of integers that a quantizer made. */
function scaleOf({ producer }: Value): Value | undefined {
  if (producer?.op === 'QuantizeLinear') return producer.inputs[1];
  return producer?.op === 'DynamicQuantizeLinear' ? producer.outputs[1] : undefined;
}

// The scale follows from the data, so no element saturates; it counts as a constant.
grad('DynamicQuantizeLinear', ({ dys: [dq] }) => [dq], { many: true, integers: true });

/** Integers minus their zero point, as floats. */
const counted = (g: G, v: Value, zero: Value | undefined, axis: number): Value =>
  g.DequantizeLinear(v, zero === undefined ? g.float(1) : g.Expand(g.float(1), g.shapeOf(zero)), zero, { axis });
/**
 * Converts the gradient with respect to the integers to that of the numbers they encode; integers not made by a
 * quantizer are data.
 */
function byNumber(g: G, v: Value, d: Value): Value | undefined {
  const scale = scaleOf(v);
  if (scale === undefined || v.producer === undefined) return undefined;
  return g.Div(d, along(g, scale, v, attrsOf(v.producer, 'QuantizeLinear').axis));
}

// Integers may have a gradient, which has a float type.
grad('Cast', ({ inputs: [x], dy, g }) => {
  if (x.dtype === undefined) return [g.CastLike(dy, x)];
  if (isFloat(x.dtype)) return [g.Cast(dy, { to: dataTypeNumber(x.dtype) })];
  return [byNumber(g, x, dy) ?? dy];
});

// MatMuls and convolutions of integers: the scales are multiplied in afterwards.
grad(
  'MatMulInteger',
  ({ inputs: [a, b, aZero, bZero], dy, g }) => [
    byNumber(g, a, g.MatMul(dy, g.T(counted(g, b, bZero, -1)))),
    byNumber(g, b, g.MatMul(g.T(counted(g, a, aZero, -2)), dy)),
  ],
  { integers: true },
);
/** The float matrix [in, out] of an 8-bit weight with one scale, or one for each column. */
function columns(g: G, w: Value, scale: Value, zero: Value | undefined): Value {
  const [one, flat] = [scale.shape?.[0] === 1, (v: Value): Value => g.Reshape(v, g.ints([]))];
  return g.DequantizeLinear(w, one ? flat(scale) : scale, zero !== undefined && one ? flat(zero) : zero, { axis: 1 });
}

// The activation is quantized by its own range, so no element saturates, as in DynamicQuantizeLinear.
grad('com.microsoft.DynamicQuantizeMatMul', ({ inputs: [, b, scale, zero, bias], dy, g }) => [
  g.MatMul(dy, g.T(columns(g, b, scale, zero))),
  undefined,
  undefined,
  undefined,
  bias && dy,
]);
grad('com.microsoft.MatMulIntegerToFloat', ({ inputs: [a, b, aScale, scale, , zero, bias], dy, g }) => {
  const quantizer = scaleOf(a);
  const d = g.MatMul(dy, g.T(columns(g, b, scale, zero)));
  const rescaled = (q: Value): Value => (isSame(q, aScale) ? d : g.Mul(d, g.Div(aScale, q)));
  const none = [undefined, undefined, undefined, undefined, undefined];
  return [quantizer && rescaled(quantizer), ...none, bias && dy];
});
grad(
  'ConvInteger',
  ({ inputs: [x, w, , wZero], attrs, dy, g }) => {
    const fit = windows(g, x, dy, g.lengths(w, 2), attrs);
    return [byNumber(g, x, widen(g, dy, counted(g, w, wZero, 0), fit, attrs.group))];
  },
  { integers: true },
);

/** Scales are compared by content, because they are small and exporters write one for each node. */
function isSame(a: Value, b: Value): boolean {
  if (a === b) return true;
  if (a.tensor === undefined || b.tensor === undefined || a.tensor.byteLength !== b.tensor.byteLength) return false;
  const [left, right] = [bytesOf(a.tensor), bytesOf(b.tensor)];
  return left.every((byte, i) => byte === right[i]);
}
