/** Sequences and optional values. A sequence's element type is the type common to all its elements. */
import type { Dim, Value, ValueType } from '../../graph/model.ts';
import { dataTypeFromNumber } from '../../graph/tensor.ts';
import { divExact } from './dims.ts';
import { elementsOf, scalarIn } from './elements.ts';
import { axisIn, dimAt, out, shape, shapeRaw, type Typed, withDim } from './rule.ts';
import { common } from './types.ts';

const tensor = (v: Value | undefined): ValueType => v?.type ?? { kind: 'tensor', dtype: v?.dtype, shape: v?.shape };
const sequence = (elem: ValueType | undefined): Typed => ({ type: { kind: 'sequence', elem } });
const elemOf = (v: Value | undefined): ValueType | undefined =>
  v?.type?.kind === 'sequence' || v?.type?.kind === 'optional' ? v.type.elem : undefined;

shapeRaw('SequenceAt', ({ inputs: [list] }) => [{ type: elemOf(list) }]);
shapeRaw('SequenceConstruct', ({ inputs }) => [
  sequence(inputs.map(tensor).reduce<ValueType | undefined>(common, tensor(inputs[0]))),
]);
shape('SequenceEmpty', ({ attrs: { dtype } }) => [
  sequence({ kind: 'tensor', dtype: dataTypeFromNumber(dtype ?? 1), shape: undefined }),
]);
shapeRaw('SequenceErase', ({ inputs: [list] }) => [sequence(elemOf(list))]);
shapeRaw('SequenceInsert', ({ inputs: [list, added] }) => [sequence(common(elemOf(list), tensor(added)))]);
shapeRaw('SequenceLength', () => [out('int64', [])]);

shape('SplitToSequence', ({ inputs: [x, split], attrs: { axis, keepdims } }) => {
  const dims = x?.shape;
  const at = dims === undefined ? undefined : axisIn(axis, dims.length);
  if (dims === undefined || at === undefined) return [sequence(out(x?.dtype, undefined).type)];
  if (split === undefined)
    return [sequence(out(x?.dtype, keepdims === 0 ? dims.filter((_, i) => i !== at) : withDim(dims, at, 1)).type)];
  return [sequence(out(x?.dtype, withDim(dims, at, partLength(dimAt(dims, at), split))).type)];
});

/** The dim that all parts have: a scalar that divides the axis, or equal dims. */
function partLength(d: Dim, split: Value): Dim {
  if (split.shape?.length === 0) return divExact(d, scalarIn(split)) === null ? null : scalarIn(split);
  const [first = null, ...rest] = elementsOf(split) ?? [];
  return rest.every((l) => l === first) ? first : null;
}

shape('ConcatFromSequence', ({ inputs: [list], attrs: { axis, new_axis } }) => {
  const elem = elemOf(list);
  if (elem?.kind !== 'tensor') return [out(undefined, undefined)];
  const dims = elem.shape;
  const at = dims === undefined || axis === undefined ? undefined : axisIn(axis, dims.length + new_axis);
  if (dims === undefined || at === undefined) return [out(elem.dtype, undefined)];
  return [out(elem.dtype, new_axis === 1 ? [...dims.slice(0, at), null, ...dims.slice(at)] : withDim(dims, at, null))];
});

shape('Optional', ({ inputs: [x], attrs: { type } }) => [
  { type: { kind: 'optional', elem: x === undefined ? type : tensor(x) } },
]);
shapeRaw('OptionalGetElement', ({ inputs: [x] }) => [{ type: x?.type?.kind === 'optional' ? x.type.elem : x?.type }]);
shapeRaw('OptionalHasElement', () => [out('bool', [])]);
