/**
 * Convolutions and pools. All have one structure: a big tensor seen through windows (kernel, stride, dilation, pads)
 * gives a small one. Conv maps big to small (narrow), ConvTranspose small to big (widen), and each is the other's
 * gradient with the same weight (Dumoulin, Visin 2016, "A guide to convolution arithmetic").
 */
import type { Builder } from '../../graph/builder.ts';
import type { Value } from '../../graph/model.ts';
import type { Length } from '../common/dimArithmetic.ts';
import type { GradTools } from '../common/shapeTools.ts';

type G = Builder & GradTools;

export interface WindowAttrs {
  readonly auto_pad: string;
  readonly dilations: readonly number[] | undefined;
  readonly pads: readonly number[] | undefined;
  readonly strides: readonly number[] | undefined;
  readonly output_padding?: readonly number[] | undefined;
  readonly output_shape?: readonly number[] | undefined;
}

/**
 * `begins` and `ends` are the pads that match exactly: big + begin + end = (small - 1)·stride + extent; an end may be
 * negative.
 */
export interface Windows {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly begins: readonly Length[];
  readonly ends: readonly Length[];
}

/**
 * The windows over the spatial axes (from 2 on). `transposed`: big is the output, which pads and output_padding fix.
 */
export function windows(
  g: G,
  big: Value,
  small: Value,
  kernel: readonly Length[],
  attrs: WindowAttrs,
  transposed = false,
): Windows {
  const strides = kernel.map((_, i) => attrs.strides?.[i] ?? 1);
  const dilations = kernel.map((_, i) => attrs.dilations?.[i] ?? 1);
  const mode = attrs.output_shape !== undefined && !attrs.auto_pad.startsWith('SAME') ? 'SAME_LOWER' : attrs.auto_pad;
  const fits = kernel.map((k, i) => {
    const s = strides[i] ?? 1;
    const more = attrs.output_padding?.[i] ?? 0;
    const extent = g.plus(g.times(g.minus(k, 1), dilations[i] ?? 1), 1);
    const slack = (): Length =>
      g.minus(g.plus(g.times(g.minus(g.length(small, i + 2), 1), s), extent), g.length(big, i + 2));
    if (!mode.startsWith('SAME')) {
      const [begin, end] = [attrs.pads?.[i] ?? 0, attrs.pads?.[i + kernel.length] ?? 0];
      // At stride 1 both dims differ by a constant, so the pads are known even if the dims are not.
      return s === 1 || transposed ? { begin, end: end - more } : { begin, end: g.minus(slack(), begin) };
    }
    const rest = s === 1 && !transposed ? g.minus(extent, 1) : slack();
    const total = g.most(g.plus(rest, more), 0);
    const half = g.over(total, 2);
    const begin = mode === 'SAME_UPPER' ? half : g.minus(total, half);
    return { begin, end: g.minus(rest, begin) };
  });
  return { strides, dilations, begins: fits.map((f) => f.begin), ends: fits.map((f) => f.end) };
}

const asPads = (w: Windows): readonly number[] | undefined => {
  const pads = [...w.begins, ...w.ends].filter((l) => typeof l === 'number');
  return pads.length === 2 * w.begins.length ? pads : undefined;
};
const spatial = (w: Windows): number[] => w.strides.map((_, i) => i + 2);

/** Maps small to big: the gradient of narrowing. */
export function widen(g: G, small: Value, weight: Value, w: Windows, group: number): Value {
  const { strides, dilations } = w;
  const pads = asPads(w);
  if (pads === undefined) {
    const whole = g.ConvTranspose(small, weight, undefined, { strides, dilations, group });
    return g.Pad(whole, g.Neg(g.vector([...w.begins, ...w.ends])), undefined, g.ints(spatial(w)));
  }
  const output_padding = pads.slice(strides.length).map((p) => Math.max(0, -p));
  const around = pads.map((p) => Math.max(0, p));
  return g.ConvTranspose(small, weight, undefined, { strides, dilations, group, pads: around, output_padding });
}

/** `big` with the pads added that the following convolution does not have as attributes. */
function padded(g: G, big: Value, w: Windows): { big: Value; pads: readonly number[] } {
  const pads = asPads(w);
  if (pads?.every((p) => p >= 0)) return { big, pads };
  const grown = g.Pad(big, g.vector([...w.begins, ...w.ends]), undefined, g.ints(spatial(w)));
  return { big: grown, pads: [...w.begins, ...w.ends].map(() => 0) };
}

/** Maps big to small. */
export function narrow(g: G, from: Value, weight: Value, w: Windows, group: number): Value {
  const { big, pads } = padded(g, from, w);
  return g.Conv(big, weight, undefined, { strides: w.strides, dilations: w.dilations, group, pads });
}

/**
 * The kernel's gradient [small channels, big channels / group, kernel]: a convolution of big, its batch as channels,
 * with small's gradient as the kernel; stride and dilation are exchanged.
 */
export function kernelGrad(g: G, from: Value, small: Value, w: Windows, group: number): Value {
  const { big, pads } = padded(g, from, w);
  const tail = spatial(w);
  const [batch, channels] = [g.length(big, 0), g.length(big, 1)];
  const grouped = (v: Value, width: Length): Value =>
    g.shaped(v, [batch, group, g.over(width, group), ...g.lengths(v, 2)]);
  const swap = [1, 0, ...tail];
  const after = tail.map((a) => a + 1);
  const x =
    group === 1
      ? g.Transpose(big, { perm: swap })
      : g.shaped(g.Transpose(grouped(big, channels), { perm: [2, 1, 0, ...after] }), [
          g.over(channels, group),
          g.times(group, batch),
          ...g.lengths(big, 2),
        ]);
  const dw = g.Conv(x, g.Transpose(small, { perm: swap }), undefined, {
    strides: w.dilations,
    dilations: w.strides,
    group,
    pads,
  });
  const dWeight = g.Transpose(dw, { perm: swap });
  // ONNX Runtime leaves the result of a convolution over no channels, here an empty batch, uninitialized.
  if (typeof batch === 'number' && batch > 0) return dWeight;
  return g.Where(g.Greater(g.vector([batch]), g.int(0)), dWeight, g.like(dWeight, 0));
}
