/** Convolutions, pools and other operators on [N, C, spatial...]. */
import type { Dim, Value } from '../../graph/model.ts';
import type { DataType } from '../../graph/tensor.ts';
import { add, ceilDiv, divExact, floorDiv, min, mul, product, sub } from './dims.ts';
import { elementsOf } from './elements.ts';
import { dimAt, out, type Shape, shape, shapeRaw, unknownDims } from './rule.ts';

interface Window {
  readonly auto_pad?: string;
  readonly ceil_mode?: number;
  readonly dilations: readonly number[] | undefined;
  readonly pads: readonly number[] | undefined;
  readonly strides: readonly number[] | undefined;
}

/** The extent of a kernel along one axis. */
const reach = (kernel: Dim, dilation: number): Dim => add(mul(sub(kernel, 1), dilation), 1);

/** Positions of a window along axis i, as the specifications of Conv and of the pools define them. */
function windowLength(d: Dim, kernel: Dim, i: number, axes: number, w: Window): Dim {
  const stride = w.strides?.[i] ?? 1;
  const auto = w.auto_pad ?? 'NOTSET';
  if (auto.startsWith('SAME')) return ceilDiv(d, stride);
  const padded = auto === 'NOTSET' || auto === '';
  const [before, after] = padded ? [w.pads?.[i] ?? 0, w.pads?.[i + axes] ?? 0] : [0, 0];
  const span = reach(kernel, w.dilations?.[i] ?? 1);
  const room = sub(add(d, before + after), span);
  if (w.ceil_mode !== 1) return add(floorDiv(room, stride), 1);
  const count = add(ceilDiv(room, stride), 1);
  // A window that would start in the padding after the end does not count; rarely possible, so decided only if it
  // matters.
  if (typeof span === 'number' && stride + after <= span) return count;
  if (typeof count !== 'number' || typeof d !== 'number') return null;
  return (count - 1) * stride >= d + before ? count - 1 : count;
}

function windows(x: Value | undefined, channels: Dim, kernel: Shape, w: Window): Shape {
  const rank = x?.shape?.length ?? (kernel === undefined ? undefined : kernel.length + 2);
  if (rank === undefined || rank < 2) return undefined;
  const axes = rank - 2;
  const spatial = unknownDims(axes).map((_, i) => windowLength(dimAt(x?.shape, i + 2), dimAt(kernel, i), i, axes, w));
  return [dimAt(x?.shape, 0), channels, ...spatial];
}

type ConvAttrs = Window & { readonly kernel_shape: readonly number[] | undefined };
export const conv = (
  dtype: DataType | undefined,
  x: Value | undefined,
  w: Value | undefined,
  attrs: ConvAttrs,
): ReturnType<typeof out> =>
  out(dtype, windows(x, dimAt(w?.shape, 0), attrs.kernel_shape ?? w?.shape?.slice(2), attrs));

shape('ConvInteger', ({ inputs: [x, w], attrs }) => [conv('int32', x, w, attrs)]);
shape('QLinearConv', ({ inputs, attrs }) => [conv(inputs[7]?.dtype, inputs[0], inputs[3], attrs)]);

shape('ConvTranspose', ({ inputs: [x, w], attrs }) => {
  const rank = x?.shape?.length ?? w?.shape?.length;
  if (rank === undefined || rank < 2) return [out(x?.dtype, undefined)];
  const kernel = attrs.kernel_shape ?? w?.shape?.slice(2);
  const axes = rank - 2;
  const length = (i: number): Dim => {
    const [d, stride] = [dimAt(x?.shape, i + 2), attrs.strides?.[i] ?? 1];
    const fixed = attrs.output_shape?.at(i - axes);
    if (fixed !== undefined) return fixed;
    const span = reach(dimAt(kernel, i), attrs.dilations?.[i] ?? 1);
    const full = add(add(mul(sub(d, 1), stride), span), attrs.output_padding?.[i] ?? 0);
    if (attrs.auto_pad.startsWith('SAME')) return min(full, mul(d, stride));
    if (attrs.auto_pad === 'VALID') return full;
    return sub(full, (attrs.pads?.[i] ?? 0) + (attrs.pads?.[i + axes] ?? 0));
  };
  const channels = mul(dimAt(w?.shape, 1), attrs.group);
  return [out(x?.dtype ?? w?.dtype, [dimAt(x?.shape, 0), channels, ...unknownDims(axes).map((_, i) => length(i))])];
});

shape('MaxPool', ({ inputs: [x], attrs }) => {
  const dims = windows(x, dimAt(x?.shape, 1), attrs.kernel_shape, attrs);
  return [out(x?.dtype, dims), out('int64', dims)];
});
shape(['AveragePool', 'LpPool'], ({ inputs: [x], attrs }) => [
  out(x?.dtype, windows(x, dimAt(x?.shape, 1), attrs.kernel_shape, attrs)),
]);

shape('MaxUnpool', ({ inputs: [x, , target], attrs: { kernel_shape: kernel, pads, strides } }) => {
  const dims = x?.shape;
  if (target !== undefined) return [out(x?.dtype, elementsOf(target) ?? dims?.map(() => null))];
  if (dims === undefined) return [out(x?.dtype, undefined)];
  const axes = dims.length - 2;
  const length = (d: Dim, i: number): Dim =>
    sub(add(mul(sub(d, 1), strides?.[i] ?? 1), kernel?.[i] ?? null), (pads?.[i] ?? 0) + (pads?.[i + axes] ?? 0));
  return [out(x?.dtype, [...dims.slice(0, 2), ...dims.slice(2).map(length)])];
});

shapeRaw(['GlobalAveragePool', 'GlobalMaxPool', 'GlobalLpPool'], ({ inputs: [x] }) => [
  out(
    x?.dtype,
    x?.shape?.map((d, i) => (i < 2 ? d : 1)),
  ),
]);

shape('MaxRoiPool', ({ inputs: [x, rois], attrs: { pooled_shape: pooled } }) => [
  out(x?.dtype, [dimAt(rois?.shape, 0), dimAt(x?.shape, 1), pooled?.[0] ?? null, pooled?.[1] ?? null]),
]);
shape('RoiAlign', ({ inputs: [x, rois], attrs: { output_height, output_width } }) => [
  out(x?.dtype, [dimAt(rois?.shape, 0), dimAt(x?.shape, 1), output_height, output_width]),
]);

shapeRaw('GridSample', ({ inputs: [x, grid] }) => {
  const rank = x?.shape?.length ?? grid?.shape?.length;
  if (rank === undefined) return [out(x?.dtype, undefined)];
  const places = unknownDims(rank - 2).map((_, i) => dimAt(grid?.shape, i + 1));
  return [out(x?.dtype, [dimAt(x?.shape, 0), dimAt(x?.shape, 1), ...places])];
});

shapeRaw('AffineGrid', ({ inputs: [theta, size] }) => {
  const wanted = elementsOf(size);
  const rank = wanted?.length ?? dimAt(size?.shape, 0);
  if (typeof rank !== 'number') return [out(theta?.dtype, undefined)];
  const spatial = unknownDims(rank - 2).map((_, i) => wanted?.[i + 2] ?? null);
  return [out(theta?.dtype, [wanted?.[0] ?? null, ...spatial, rank - 2])];
});

shapeRaw('Col2Im', ({ inputs: [x, image, block] }) => {
  const [places, kernel] = [elementsOf(image), elementsOf(block)];
  const axes = places?.length ?? dimAt(image?.shape, 0);
  if (typeof axes !== 'number') return [out(x?.dtype, undefined)];
  const channels = kernel === undefined ? null : divExact(dimAt(x?.shape, 1), product(kernel));
  return [out(x?.dtype, [dimAt(x?.shape, 0), channels, ...(places ?? unknownDims(axes))])];
});
