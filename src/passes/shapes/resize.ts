/** Resize, and the Upsample of old models. */
import type { Dim } from '../../graph/model.ts';
import { floorDiv, mul } from './dims.ts';
import { constantsOf, elementsOf, numbersIn } from './elements.ts';
import { axesIn, out, shape, shapeRaw, unknownDims } from './rule.ts';

/** Scales are floats: exact if the scaled dim is a whole number, rounded down if both are known. */
function scaled(d: Dim, by: number | undefined): Dim {
  if (by === undefined || d === null) return null;
  if (typeof d === 'number') return Math.floor(d * by);
  if (Number.isInteger(by)) return mul(d, by);
  return Number.isInteger(1 / by) ? floorDiv(d, 1 / by) : null;
}

shape('Resize', ({ inputs: [x, , scales, sizes], attrs: { axes, keep_aspect_ratio_policy: policy } }) => {
  const dims = x?.shape;
  if (dims === undefined) return [out(x?.dtype, undefined)];
  const at = axesIn(axes ?? dims.map((_, i) => i), dims.length);
  if (at === undefined) return [out(x?.dtype, unknownDims(dims.length))];
  const factors = constantsOf(scales);
  if (factors !== undefined && factors.length > 0)
    return [
      out(
        x?.dtype,
        dims.map((d, i) => (at.includes(i) ? scaled(d, factors[at.indexOf(i)]) : d)),
      ),
    ];
  const wanted = policy === 'stretch' ? elementsOf(sizes) : keptRatio(dims, at, numbersIn(sizes), policy);
  return [
    out(
      x?.dtype,
      dims.map((d, i) => (at.includes(i) ? (wanted?.[at.indexOf(i)] ?? null) : d)),
    ),
  ];
});

/** One scale for all axes: the smallest or the largest that the sizes require. */
function keptRatio(
  dims: readonly Dim[],
  at: readonly number[],
  sizes: readonly number[] | undefined,
  policy: string,
): Dim[] | undefined {
  const from = at.map((i) => dims[i]);
  if (sizes === undefined || !from.every((d) => typeof d === 'number')) return undefined;
  const ratios = sizes.map((s, i) => s / (from[i] ?? NaN));
  const ratio = policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios);
  return from.map((d) => Math.round(ratio * d));
}

shapeRaw('Upsample', ({ inputs: [x, scales] }) => {
  const factors = constantsOf(scales);
  return [
    out(
      x?.dtype,
      x?.shape?.map((d, i) => scaled(d, factors?.[i])),
    ),
  ];
});
