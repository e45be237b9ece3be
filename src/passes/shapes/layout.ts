/** Operators that rearrange elements: reshapes, transposes, concatenations, splits and repeats. */
import type { Dim, Value } from '../../graph/model.ts';
import { add, broadcast, divExact, floorDiv, isStatic, mul, product, sum } from './dims.ts';
import { elementsOf, elementsOrNulls, isFollowed, mostElements, numbersIn } from './elements.ts';
import { axesIn, axisIn, dimAt, out, type Shape, shape, shapeRaw, type Typed, unknownDims, withDim } from './rule.ts';
import { sliceElements, sliceLength } from './slice.ts';

/** The number of elements of a vector, if it is known. */
const lengthOf = (v: Value | undefined): number | undefined => {
  const d = v?.shape?.length === 1 ? v.shape[0] : null;
  return typeof d === 'number' ? d : undefined;
};

/** A result of unknown dims whose rank is the number of elements of `v`. */
const rankFrom = (v: Value | undefined): Shape => {
  const rank = lengthOf(v);
  return rank === undefined ? undefined : unknownDims(rank);
};

/** Elements pass through operators that keep their order. */
const elementsIfIndex = (v: Value | undefined): readonly Dim[] | undefined =>
  isFollowed(v?.dtype) ? elementsOrNulls(v) : undefined;

shape('Reshape', ({ inputs: [x, target], attrs: { allowzero } }) => {
  const wanted = elementsOf(target);
  if (wanted === undefined) return [out(x?.dtype, rankFrom(target), elementsIfIndex(x))];
  return [out(x?.dtype, reshaped(x?.shape, wanted, allowzero === 1), elementsIfIndex(x))];
});

/** The target with zeros replaced by the input's dims and one -1 by the remaining factor. */
export function reshaped(from: Shape, wanted: readonly Dim[], zeroIsZero: boolean): Dim[] {
  const copies = wanted.map((d, i) => d === 0 && !zeroIsZero && (from === undefined || i < from.length));
  const copied = wanted.map((d, i) => (copies[i] ? (from?.[i] ?? null) : d));
  const given = copied.indexOf(-1);
  // One unknown target dim is the remaining factor of the others, as an explicit -1 is.
  const unknown = copied.flatMap((d, i) => (d === null && !copies[i] ? [i] : []));
  const open = given >= 0 ? given : unknown.length === 1 ? unknown[0] : undefined;
  if (open === undefined) return copied;
  if (from === undefined) return withDim(copied, open, null);
  // Dims that 0 copies cancel even if they are unknown.
  const total = product(from.filter((_, i) => !copies[i]));
  const others = product(copied.filter((_, i) => i !== open && !copies[i]));
  return withDim(copied, open, others === 0 ? null : (divExact(total, others) ?? divided(total, others)));
}

/** The division is exact at run time, so rounding down is safe. */
const divided = (total: Dim, others: Dim): Dim => (typeof others === 'number' ? floorDiv(total, others) : null);

shape('Flatten', ({ inputs: [x], attrs: { axis } }) => {
  const dims = x?.shape;
  if (dims === undefined) return [out(x?.dtype, unknownDims(2))];
  const at = axis < 0 ? axis + dims.length : axis;
  return [out(x?.dtype, [product(dims.slice(0, at)), product(dims.slice(at))], elementsIfIndex(x))];
});

shape('Transpose', ({ inputs: [x], attrs: { perm } }) => {
  const dims = x?.shape;
  if (dims === undefined) return [out(x?.dtype, perm === undefined ? undefined : unknownDims(perm.length))];
  const order = perm ?? dims.map((_, i) => dims.length - 1 - i);
  return [
    out(
      x?.dtype,
      order.map((i) => dimAt(dims, i)),
      dims.length < 2 ? elementsIfIndex(x) : undefined,
    ),
  ];
});

shapeRaw('Squeeze', ({ inputs: [x, axes] }) => {
  const dims = x?.shape;
  if (dims === undefined) return [out(x?.dtype, undefined)];
  const list = numbersIn(axes);
  if (axes !== undefined) {
    const at = list === undefined ? undefined : axesIn(list, dims.length);
    if (at !== undefined)
      return [
        out(
          x?.dtype,
          dims.filter((_, i) => !at.includes(i)),
          elementsIfIndex(x),
        ),
      ];
    const gone = lengthOf(axes);
    return [out(x?.dtype, gone === undefined ? undefined : unknownDims(Math.max(dims.length - gone, 0)))];
  }
  // Without axes every dim of 1 is removed; a dim that may be 1 leaves the rank open.
  const open = dims.some((d) => typeof d !== 'number');
  return [out(x?.dtype, open ? undefined : dims.filter((d) => d !== 1), elementsIfIndex(x))];
});

shapeRaw('Unsqueeze', ({ inputs: [x, axes] }) => {
  const [dims, list] = [x?.shape, numbersIn(axes)];
  const more = list?.length ?? lengthOf(axes);
  if (dims === undefined || more === undefined) return [out(x?.dtype, undefined)];
  const rank = dims.length + more;
  const at = list === undefined ? undefined : axesIn(list, rank);
  if (at === undefined) return [out(x?.dtype, unknownDims(rank), elementsIfIndex(x))];
  const left = [...dims];
  const result = Array.from({ length: rank }, (_, i) => (at.includes(i) ? 1 : (left.shift() ?? null)));
  return [out(x?.dtype, result, elementsIfIndex(x))];
});

shapeRaw('Expand', ({ inputs: [x, target] }) => {
  const wanted = elementsOf(target)?.map((d) => (typeof d === 'number' && d < 0 ? null : d));
  const dims = wanted === undefined ? broadcast(x?.shape, rankFrom(target)) : broadcast(x?.shape, wanted);
  const list = elementsOf(x);
  const one = list?.length === 1 && isStatic(dims) && product(dims);
  return [
    out(
      x?.dtype,
      dims,
      typeof one === 'number' && one <= mostElements ? new Array<Dim>(one).fill(list?.[0] ?? null) : undefined,
    ),
  ];
});

shape('Concat', ({ inputs, attrs: { axis } }) => {
  const dtype = inputs.find((v) => v?.dtype !== undefined)?.dtype;
  const known = inputs.flatMap((v) => (v?.shape === undefined ? [] : [v.shape]));
  const rank = known[0]?.length;
  const at = rank === undefined || axis === undefined ? undefined : axisIn(axis, rank);
  if (rank === undefined || at === undefined) return [out(dtype, undefined)];
  const dims = unknownDims(rank).map((_, i) => {
    const here = known.map((s) => dimAt(s, i));
    if (i === at) return known.length === inputs.length ? sum(here) : null;
    // All are equal at run time, so the most precise one holds for all.
    return here.find((d) => typeof d === 'number') ?? here.find((d) => d !== null) ?? null;
  });
  const lists = inputs.map(elementsIfIndex);
  return [out(dtype, dims, at === 0 && lists.every((l) => l !== undefined) ? lists.flat() : undefined)];
});

shape('Split', ({ inputs: [x, split], attrs: { axis, num_outputs }, count }) => {
  const dims = x?.shape;
  const at = dims === undefined ? undefined : axisIn(axis, dims.length);
  if (dims === undefined || at === undefined) return Array.from({ length: count }, () => out(x?.dtype, undefined));
  const lengths = split === undefined ? equalParts(dimAt(dims, at), num_outputs ?? count) : elementsOf(split);
  const list = dims.length === 1 ? elementsIfIndex(x) : undefined;
  let offset: Dim = 0;
  return Array.from({ length: count }, (_, i): Typed => {
    const d = lengths?.[i] ?? null;
    const from = offset;
    offset = add(offset, d);
    const part = typeof from === 'number' && typeof offset === 'number' ? list?.slice(from, offset) : undefined;
    return out(x?.dtype, withDim(dims, at, d), part);
  });
});

/** Parts of equal size, the last one smaller if the dim is not divisible. */
function equalParts(d: Dim, parts: number): Dim[] {
  const exact = divExact(d, parts);
  if (exact !== null) return new Array<Dim>(parts).fill(exact);
  if (typeof d !== 'number') return unknownDims(parts);
  const size = Math.ceil(d / parts);
  return Array.from({ length: parts }, (_, i) => Math.max(0, Math.min(size, d - i * size)));
}

shapeRaw('Slice', ({ inputs: [x, starts, ends, axes, steps] }) => {
  const dims = x?.shape;
  if (dims === undefined) return [out(x?.dtype, undefined)];
  const count = lengthOf(starts) ?? lengthOf(ends) ?? dims.length;
  const given = axes === undefined ? Array.from({ length: count }, (_, i) => i) : numbersIn(axes);
  const at = given === undefined ? undefined : axesIn(given, dims.length);
  if (at === undefined) return [out(x?.dtype, unknownDims(dims.length))];
  const [from, to] = [elementsOf(starts), elementsOf(ends)];
  const by = steps === undefined ? at.map(() => 1) : elementsOf(steps);
  const result = [...dims];
  at.forEach((axis, i) => {
    result[axis] = sliceLength(dimAt(dims, axis), from?.[i] ?? null, to?.[i] ?? null, by?.[i] ?? null);
  });
  const list = dims.length === 1 ? elementsIfIndex(x) : undefined;
  const cut = at.length === 0 ? list : sliceElements(list, from?.[0] ?? null, to?.[0] ?? null, by?.[0] ?? null);
  return [out(x?.dtype, result, cut)];
});

shapeRaw('Tile', ({ inputs: [x, repeats] }) => {
  const [dims, times] = [x?.shape, elementsOf(repeats)];
  const rank = dims?.length ?? lengthOf(repeats);
  if (rank === undefined) return [out(x?.dtype, undefined)];
  const [list, n] = [dims?.length === 1 ? elementsIfIndex(x) : undefined, times?.[0]];
  const many = list !== undefined && typeof n === 'number' && list.length * n <= mostElements;
  const elements = many ? Array.from({ length: n }, () => list).flat() : undefined;
  return [
    out(
      x?.dtype,
      unknownDims(rank).map((_, i) => mul(dimAt(dims, i), times?.[i] ?? null)),
      elements,
    ),
  ];
});

shapeRaw('Pad', ({ inputs: [x, pads, , axes] }) => {
  const dims = x?.shape;
  if (dims === undefined)
    return [out(x?.dtype, axes === undefined ? rankFrom(pads)?.slice(0, (lengthOf(pads) ?? 0) / 2) : undefined)];
  const given = axes === undefined ? dims.map((_, i) => i) : numbersIn(axes);
  const at = given === undefined ? undefined : axesIn(given, dims.length);
  const list = elementsOf(pads);
  if (at === undefined) return [out(x?.dtype, unknownDims(dims.length))];
  const around = (i: number): Dim => add(list?.[i] ?? null, list?.[i + at.length] ?? null);
  return [
    out(
      x?.dtype,
      dims.map((d, axis) => (at.includes(axis) ? add(d, around(at.indexOf(axis))) : d)),
    ),
  ];
});

shape('DepthToSpace', ({ inputs: [x], attrs: { blocksize } }) => {
  const [n = null, c = null, h = null, w = null] = x?.shape ?? [];
  const b = blocksize ?? null;
  return [out(x?.dtype, [n, divExact(c, mul(b, b)), mul(h, b), mul(w, b)])];
});

shape('SpaceToDepth', ({ inputs: [x], attrs: { blocksize } }) => {
  const [n = null, c = null, h = null, w = null] = x?.shape ?? [];
  const b = blocksize ?? null;
  return [out(x?.dtype, [n, mul(c, mul(b, b)), divExact(h, b), divExact(w, b)])];
});

shape('CenterCropPad', ({ inputs: [x, target], attrs: { axes } }) => {
  const dims = x?.shape;
  if (dims === undefined) return [out(x?.dtype, undefined)];
  const at = axesIn(axes ?? dims.map((_, i) => i), dims.length) ?? [];
  const wanted = elementsOf(target);
  return [
    out(
      x?.dtype,
      dims.map((d, i) => (at.includes(i) ? (wanted?.[at.indexOf(i)] ?? null) : d)),
    ),
  ];
});
