/** Outputs in which several axes are merged: logits [N*S, classes] of tokens [N, S]. */
import type { Dim, Node, Value } from '../../graph/model.ts';
import { attrsOf, factsOf, kindOf, opKey } from '../../graph/operators.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { isBranch } from '../dialect/branch.ts';
import { product } from '../shapes/dims.ts';
import { axisOf } from './classAxis.ts';

/**
 * The axes that the first axis of a value merges, in their order; undefined if it is one axis, or that is not known.
 */
export function axesMerged(value: Value): readonly Dim[] | undefined {
  for (let v: Value | undefined = value; v?.producer !== undefined; ) {
    const rows: Dim = v.shape?.[0] ?? null;
    const node: Node = v.producer;
    if (rows === null) return undefined;
    const [x] = node.inputs;
    if (kindOf(node) === 'view' && x?.shape?.[0] !== rows) return merged(x?.shape ?? [], rows);
    v = node.inputs.find((input, i) => input?.shape?.[0] === rows && keepsRows(node, i));
  }
  return undefined;
}

/** The shape with the axes separate that its first one merges. */
export const separated = (shape: readonly Dim[], axes: readonly Dim[] | undefined): readonly Dim[] =>
  axes === undefined ? shape : [...axes, ...shape.slice(1)];

function merged(from: readonly Dim[], rows: Dim): readonly Dim[] | undefined {
  const count = from.findIndex((_, i) => product(from.slice(0, i + 1)) === rows) + 1;
  // An axis of size 1 adds nothing: [1, N] is N rows.
  const axes = from.slice(0, count).filter((d) => d !== 1);
  return axes.length < 2 ? undefined : axes;
}

/** Whether row i of the result is computed from row i of an input. */
function keepsRows(node: Node, index: number): boolean {
  const rank = node.outputs[0]?.shape?.length;
  const isFirst = index === 0;
  const x = node.inputs[index];
  if (rank === undefined || x?.shape?.length !== rank) return false;
  if (isAdapted(node) || isBranch(node)) return isFirst;
  if (factsOf(node)?.broadcasts === true || kindOf(node) === 'elementwise') return true;
  switch (opKey(node)) {
    case 'MatMul':
      return isFirst;
    case 'Gemm':
      return isFirst && attrsOf(node, 'Gemm').transA === 0;
    case 'Softmax':
    case 'LogSoftmax':
      return axisOf(attrsOf(node, 'Softmax').axis, rank) > 0;
    case 'LayerNormalization':
      return isFirst && axisOf(attrsOf(node, 'LayerNormalization').axis, rank) > 0;
    default:
      return kindOf(node) === 'view';
  }
}
