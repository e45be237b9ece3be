/** Operators that read or write at given indices: gathers, scatters, selections. */
import type { Dim, Value } from '../../graph/model.ts';
import { product } from './dims.ts';
import { elementsOrNulls, isFollowed, numbersIn, scalarIn } from './elements.ts';
import { axisIn, dimAt, like, out, shape, shapeRaw, withDim } from './rule.ts';

/** Elements of a vector at known indices. */
function gathered(data: Value | undefined, indices: Value | undefined): Dim[] | undefined {
  const [list, at] = [isFollowed(data?.dtype) ? elementsOrNulls(data) : undefined, numbersIn(indices)];
  if (list === undefined || at === undefined || data?.shape?.length !== 1) return undefined;
  return at.map((i) => list.at(i) ?? null);
}

shape('Gather', ({ inputs: [data, indices], attrs: { axis } }) => {
  const [dims, at] = [data?.shape, indices?.shape];
  const where = dims === undefined ? undefined : axisIn(axis, dims.length);
  if (dims === undefined || at === undefined || where === undefined) return [out(data?.dtype, undefined)];
  return [out(data?.dtype, [...dims.slice(0, where), ...at, ...dims.slice(where + 1)], gathered(data, indices))];
});

shapeRaw('GatherElements', ({ inputs: [data, indices] }) => [
  out(data?.dtype, indices?.shape ?? data?.shape?.map(() => null), gathered(data, indices)),
]);

shape('GatherND', ({ inputs: [data, indices], attrs: { batch_dims } }) => {
  const [dims, at] = [data?.shape, indices?.shape];
  const depth = at?.at(-1);
  if (dims === undefined || at === undefined || typeof depth !== 'number') return [out(data?.dtype, undefined)];
  return [out(data?.dtype, [...at.slice(0, -1), ...dims.slice(batch_dims + depth)])];
});

/** Exporters write into a vector of known elements to patch a shape. */
shape('ScatterND', ({ inputs: [data, indices, updates], attrs: { reduction } }) => {
  const [list, at, values] = [elementsOrNulls(data), numbersIn(indices), elementsOrNulls(updates)];
  const whole = data?.shape?.length === 1 && indices?.shape?.length === 2 && indices.shape[1] === 1;
  if (!whole || !isFollowed(data?.dtype) || list === undefined || at === undefined || reduction !== 'none')
    return [like(data)];
  const written = [...list];
  at.forEach((place, i) => {
    written[place < 0 ? place + list.length : place] = values?.[i] ?? null;
  });
  return [{ ...like(data), elements: written.length === list.length ? written : undefined }];
});

shape('OneHot', ({ inputs: [indices, depth, values], attrs: { axis } }) => {
  const dims = indices?.shape;
  const where = dims === undefined ? undefined : axisIn(axis, dims.length + 1);
  if (dims === undefined || where === undefined) return [out(values?.dtype, undefined)];
  return [out(values?.dtype, [...dims.slice(0, where), scalarIn(depth), ...dims.slice(where)])];
});

shape('TopK', ({ inputs: [x, k], attrs: { axis } }) => {
  const dims = x?.shape;
  const where = dims === undefined ? undefined : axisIn(axis, dims.length);
  const result = dims === undefined || where === undefined ? undefined : withDim(dims, where, scalarIn(k));
  return [out(x?.dtype, result), out('int64', result)];
});

shapeRaw('NonZero', ({ inputs: [x] }) => {
  const [rank, list] = [x?.shape?.length ?? null, isFollowed(x?.dtype) ? numbersIn(x) : undefined];
  const found = list?.flatMap((d, i) => (d !== 0 ? [i] : []));
  return [out('int64', [rank === 0 ? null : rank, found?.length ?? null], rank === 1 ? found : undefined)];
});

shape('Compress', ({ inputs: [x], attrs: { axis } }) => {
  const dims = x?.shape;
  if (axis === undefined) return [out(x?.dtype, [null])];
  const where = dims === undefined ? undefined : axisIn(axis, dims.length);
  return [out(x?.dtype, dims === undefined || where === undefined ? undefined : withDim(dims, where, null))];
});

shape('Unique', ({ inputs: [x], attrs: { axis } }) => {
  const dims = x?.shape;
  const where = axis === undefined || dims === undefined ? undefined : axisIn(axis, dims.length);
  const found =
    axis === undefined ? [null] : dims === undefined || where === undefined ? undefined : withDim(dims, where, null);
  const all = dims === undefined ? null : where === undefined ? product(dims) : dimAt(dims, where);
  return [
    out(x?.dtype, found),
    out('int64', [null]),
    out('int64', [axis === undefined || where !== undefined ? all : null]),
    out('int64', [null]),
  ];
});

shapeRaw('NonMaxSuppression', () => [out('int64', [null, 3])]);
