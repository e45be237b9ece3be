/** `loraify.Adapted` in its training form (table.ts). */

import { badModel } from '../../errors.ts';
import type { Node, Value } from '../../graph/model.ts';
import { formOf, isA, layerOf } from './nodes.ts';

export interface AdaptedForm {
  readonly x: Value;
  readonly w: Value | undefined;
  readonly a: Value;
  readonly b: Value;
  readonly c: Value | undefined;
  readonly transW: number;
  readonly scale: number;
  readonly rank: number;
  /** The branch's input instead of x. */
  readonly dropped: Value | undefined;
}

export const isAdapted = (node: Node): boolean => isA(node, 'loraify.Adapted');

export function adaptedForm(node: Node): AdaptedForm {
  const {
    inputs: [x, w, a, b, c, dropped],
    attrs: { keep, transW },
  } = formOf(node, 'loraify.Adapted');
  const layer = layerOf(node);
  if (w === undefined && c === undefined)
    throw badModel(`loraify.Adapted "${node.label}" has neither a weight nor the output of a base`, {
      node: node.label,
    });
  const scale = dropped !== undefined && keep !== undefined ? Math.fround(layer.scale / keep) : layer.scale;
  return { x, w, a, b, c, transW, scale, rank: layer.rank, dropped };
}

/** Removes dropout from an adapted MatMul. */
export function plainInputs(node: Node): void {
  if (node.inputs.length < 6) return;
  node.dropInputs(node.inputs[4] === undefined ? 4 : 5);
  node.attrs.delete('keep');
}
