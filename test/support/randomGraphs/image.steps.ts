/** Convolutions, pools, resizing and attention on small images and sequences. Most have float32 kernels only. */
import { sizeOf } from '../../../src/graph/layers.ts';
import type { Draft, Entry } from './draft.ts';
import { layered, layerOf } from './layer.ts';
import type { Step } from './step.ts';

const float32 = { only: 'float32' } as const;

/** [N, C, lengths] with one or two spatial axes of at least three. */
function picture(d: Draft): Entry {
  return d.pick(
    (e) => (e.shape.length === 3 || e.shape.length === 4) && e.shape.slice(2).every((n) => n > 2),
    () => [1 + d.draw(2), 1 + d.draw(3), ...(d.draw(2) === 0 ? [3 + d.draw(4)] : [3, 3 + d.draw(2)])],
  );
}

interface Window {
  readonly attrs: {
    kernel_shape: number[];
    strides: number[];
    pads?: number[];
    dilations?: number[];
    auto_pad?: string;
  };
}

function window(d: Draft, x: Entry, dilated = true): Window {
  const n = x.shape.length - 2;
  const each = (f: () => number): number[] => Array.from({ length: n }, f);
  const kernel_shape = each(() => 1 + d.draw(3));
  const strides = each(() => 1 + d.draw(2));
  // A window that dilation makes wider than the picture has no place.
  const dilations = dilated ? kernel_shape.map((k) => (k === 2 ? 1 + d.draw(2) : 1)) : undefined;
  const auto = d.draw(4);
  // ONNX Runtime pads by no negative lengths, which a stride beyond the window would ask for.
  if (auto === 0 && strides.every((s, i) => s <= (kernel_shape[i] ?? 1))) {
    const auto_pad = d.oneOf(['SAME_UPPER', 'SAME_LOWER', 'VALID'] as const);
    return { attrs: { kernel_shape, strides, auto_pad } };
  }
  const most = kernel_shape.map((k) => k - 1);
  const pads = [...most, ...most].map((p) => d.draw(p + 1));
  return { attrs: { kernel_shape, strides, pads, ...(dilations === undefined ? {} : { dilations }) } };
}

/** Below opset 22 ONNX Runtime expects windows that start in the padding behind the end, which its kernels leave out. */
const ceil = (d: Draft): number => (d.opset < 22 ? 0 : d.draw(2));

export const steps: readonly Step[] = [
  {
    ops: ['Conv'],
    ...float32,
    make: (d) => {
      const x = picture(d);
      const c = x.shape[1] ?? 1;
      const group = c % 2 === 0 ? 1 + d.draw(2) : 1;
      const m = group * (1 + d.draw(2));
      const { attrs } = window(d, x);
      const dims = [m, c / group, ...attrs.kernel_shape];
      const w = group === 1 && layered(d) ? layerOf(d, dims) : d.operand(dims);
      const b = d.draw(2) === 0 ? undefined : d.operand([m]);
      const y = d.g.Conv(x.value, w.value, b?.value, { ...attrs, group });
      if ((y.shape ?? []).every((n) => typeof n === 'number' && n > 0))
        d.put(y, sizeOf(w.shape.slice(1)) * x.bound * w.bound + (b?.bound ?? 0));
    },
  },
  {
    ops: ['ConvTranspose'],
    ...float32,
    make: (d) => {
      const x = picture(d);
      const c = x.shape[1] ?? 1;
      const group = c % 2 === 0 ? 1 + d.draw(2) : 1;
      const m = 1 + d.draw(2);
      const n = x.shape.length - 2;
      const kernel_shape = Array.from({ length: n }, () => 1 + d.draw(3));
      const strides = Array.from({ length: n }, () => 1 + d.draw(2));
      const output_padding = d.draw(2) === 0 ? undefined : strides.map((s) => d.draw(s));
      const pads = [...kernel_shape, ...kernel_shape].map((k) => d.draw(k));
      const w = d.operand([c, m, ...kernel_shape]);
      const b = d.draw(2) === 0 ? undefined : d.operand([m * group]);
      const y = d.g.ConvTranspose(x.value, w.value, b?.value, { kernel_shape, strides, pads, group, output_padding });
      const known = (y.shape ?? []).every((k) => typeof k === 'number' && k > 0);
      const size = (y.shape ?? []).reduce<number>((k, l) => k * Number(l), 1);
      if (known && size <= 128) d.put(y, sizeOf(kernel_shape) * c * x.bound * w.bound + (b?.bound ?? 0));
    },
  },
  {
    ops: ['MaxPool'],
    make: (d) => {
      const x = d.distinct(picture(d));
      const { attrs } = window(d, x);
      const y = d.g.MaxPool(x.value, { ...attrs, ceil_mode: ceil(d) });
      if ((y.shape ?? []).every((n) => typeof n === 'number' && n > 0)) d.put(y, x.bound);
    },
  },
  {
    ops: ['AveragePool'],
    ...float32,
    make: (d) => {
      const x = picture(d);
      const { attrs } = window(d, x, d.opset >= 19);
      const y = d.g.AveragePool(x.value, { ...attrs, ceil_mode: ceil(d), count_include_pad: d.draw(2) });
      if ((y.shape ?? []).every((n) => typeof n === 'number' && n > 0)) d.put(y, x.bound);
    },
  },
  {
    ops: ['LpPool'],
    ...float32,
    make: (d) => {
      const x = d.around(picture(d), [1, 1.5], 0.5);
      const { attrs } = window(d, x, false);
      const y = d.g.LpPool(x.value, { ...attrs, p: 1 + d.draw(3) });
      const known = (y.shape ?? []).every((n) => typeof n === 'number' && n > 0);
      if (known) d.put(y, x.bound * sizeOf(attrs.kernel_shape));
    },
  },
  ...(['GlobalAveragePool', 'GlobalMaxPool', 'GlobalLpPool'] as const).map(
    (op): Step => ({
      ops: [op],
      ...float32,
      ...(op === 'GlobalLpPool' ? { before: 22 } : {}),
      make: (d) => {
        const e = picture(d);
        const x = op === 'GlobalMaxPool' ? d.distinct(e) : op === 'GlobalLpPool' ? d.around(e, [1, -1], 0.5) : e;
        const attrs = op === 'GlobalLpPool' ? { p: 1 + d.draw(2) } : {};
        const [y] = d.g.node({ op, inputs: [x.value], attrs, outputs: 1 });
        const dims = x.shape.map((n, i) => (i < 2 ? n : 1));
        if (y !== undefined) d.put(y, x.bound * (op === 'GlobalLpPool' ? sizeOf(x.shape.slice(2)) : 1), dims);
      },
    }),
  ),
  {
    ops: ['LRN'],
    ...float32,
    make: (d) => {
      // ONNX Runtime has it for two spatial axes only.
      const x = d.pick(
        (e) => e.shape.length === 4,
        () => [1 + d.draw(2), 1 + d.draw(4), 1 + d.draw(3), 1 + d.draw(3)],
      );
      const attrs = { size: d.oneOf([1, 3, 5]), alpha: 0.5, beta: 0.75, bias: d.oneOf([1, 1.5]) };
      d.put(d.g.LRN(x.value, attrs), x.bound, x.shape);
    },
  },
  {
    ops: ['Resize'],
    ...float32,
    make: (d) => {
      const x = d.pick(
        (e) => e.shape.length === 4,
        () => [1, 1 + d.draw(2), 2 + d.draw(2), 2 + d.draw(2)],
      );
      const [h = 1, w = 1] = x.shape.slice(2);
      const mode = d.oneOf(['nearest', 'linear', 'cubic'] as const);
      const [p, q] = [1 + d.draw(5), 1 + d.draw(5)];
      if (sizeOf([...x.shape.slice(0, 2), p, q]) > 64 || (p === h && q === w)) return;
      const transform = d.oneOf(['half_pixel', 'asymmetric', 'align_corners', 'pytorch_half_pixel'] as const);
      const attrs = { mode, coordinate_transformation_mode: transform };
      // ONNX Runtime wants to know how many there are.
      const sizes = d.whole([...x.shape.slice(0, 2), p, q], [4], { sized: true });
      d.put(d.g.Resize(x.value, undefined, undefined, sizes, attrs), 3 * x.bound, [...x.shape.slice(0, 2), p, q]);
    },
  },
  {
    ops: ['AffineGrid'],
    ...float32,
    since: 20,
    make: (d) => {
      const n = 1 + d.draw(2);
      const shape = [n, 2, 3];
      const x = d.pick(
        (e) => e.shape.join() === shape.join(),
        () => shape,
      );
      const [h, w] = [2 + d.draw(2), 2 + d.draw(2)];
      const y = d.g.AffineGrid(x.value, d.fixed([n, 1, h, w]), { align_corners: d.draw(2) });
      d.put(y, 3 * x.bound, [n, h, w, 2]);
    },
  },
  {
    // What a pool took goes back to where it was.
    ops: ['MaxUnpool'],
    ...float32,
    make: (d) => {
      const shape = [1, 1 + d.draw(2), 2 * (1 + d.draw(2)), 2 * (1 + d.draw(2))];
      const x = d.distinct(
        d.pick(
          (e) => e.shape.join() === shape.join(),
          () => shape,
        ),
      );
      const attrs = { kernel_shape: [2, 2], strides: [2, 2] };
      const [y, at] = d.g.node({ op: 'MaxPool', inputs: [x.value], attrs, outputs: 2 });
      if (y !== undefined && at !== undefined) d.put(d.g.MaxUnpool(d.g.Tanh(y), at, undefined, attrs), 1, shape);
    },
  },
  {
    ops: ['Attention'],
    ...float32,
    since: 23,
    make: (d) => {
      const [batch, shared, size] = [1 + d.draw(2), 1 + d.draw(2), 2];
      const heads = shared * (1 + d.draw(2));
      const [queries, keys] = [1 + d.draw(3), 1 + d.draw(3)];
      const fits =
        (shape: readonly number[]) =>
        (e: Entry): boolean =>
          e.shape.join() === shape.join();
      const at = (h: number, n: number): Entry => d.pick(fits([batch, h, n, size]), () => [batch, h, n, size]);
      const [q, k, v] = [at(heads, queries), at(shared, keys), at(shared, keys)];
      const mask = d.draw(2) === 0 ? undefined : d.operand([queries, keys]);
      const attrs = { is_causal: d.draw(2), softcap: d.oneOf([0, 1.5]) };
      const y = d.g.Attention(q.value, k.value, v.value, mask?.value, undefined, undefined, undefined, attrs);
      d.put(y, v.bound, [batch, heads, queries, size]);
    },
  },
  {
    ops: ['RotaryEmbedding'],
    ...float32,
    since: 23,
    make: (d) => {
      const [batch, heads, length, half] = [1 + d.draw(2), 1 + d.draw(2), 1 + d.draw(3), 1 + d.draw(2)];
      const shape = [batch, heads, length, 2 * half];
      const x = d.pick(
        (e) => e.shape.join() === shape.join(),
        () => shape,
      );
      const table = d.draw(2) === 0;
      const cache = table ? [4, half] : [batch, length, half];
      const [cos, sin] = [d.operand(cache), d.operand(cache)];
      const places = Array.from({ length: batch * length }, () => d.draw(4));
      const at = table ? d.whole(places, [batch, length]) : undefined;
      const y = d.g.RotaryEmbedding(x.value, cos.value, sin.value, at, { interleaved: d.draw(2) });
      d.put(y, 2 * x.bound * cos.bound, shape);
    },
  },
  {
    ops: ['DequantizeLinear'],
    ...float32,
    make: (d) => {
      const shape = d.shape(2);
      const perAxis = d.draw(2) === 0;
      const axis = d.draw(2);
      const scale = d.pick(
        (e) => e.shape.join() === (perAxis ? [shape[axis]] : []).join(),
        () => (perAxis ? [shape[axis] ?? 1] : []),
      );
      const x = d.g.Cast(
        d.whole(
          Array.from({ length: sizeOf(shape) }, () => d.draw(9) - 4),
          shape,
        ),
        { to: 3 },
      );
      const zero = d.g.constant(
        'int8',
        perAxis ? [shape[axis] ?? 1] : [],
        perAxis ? new Array<number>(shape[axis] ?? 1).fill(1) : [1],
      );
      const y = d.g.DequantizeLinear(x, scale.value, d.draw(2) === 0 ? zero : undefined, perAxis ? { axis } : {});
      d.put(y, 5 * scale.bound, shape);
    },
  },
];
