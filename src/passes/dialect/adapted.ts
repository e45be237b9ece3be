/**
 * `loraify.Adapted`: an adapted MatMul as one node, from the rewrite until `lower` expands it.
 *
 * Training form (the form of the gradient rule and the shape rule): inputs x [..., in], W, A [in, r], B [r, out], C
 * (optional, broadcast to y); attribute transW 1 means that W is [out, in]. y = x·W + scale·(x·A)·B + C. Without W, C
 * [..., out] is the output of a base that is a separate node. With dropout a sixth input is the branch's input instead
 * of x: its rows [R, in], float32, some elements dropped (dropout.ts); attribute keep is then the share of elements
 * that are kept, which the scale compensates for.
 */

import { badModel } from '../../errors.ts';
import type { Node, Value } from '../../graph/model.ts';
import { internalDomain } from '../common/internalDomain.ts';

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

export const isAdapted = (node: Node): boolean => node.domain === internalDomain && node.op === 'Adapted';

export function adaptedForm(node: Node): AdaptedForm {
  const [x, w, a, b, c, dropped] = node.inputs;
  const layer = node.layer;
  if (x === undefined || (w ?? c) === undefined || a === undefined || b === undefined || layer === undefined)
    throw badModel(`adapted node "${node.label}" is incomplete`, { node: node.label });
  const attr = node.attrs.get('transW');
  const transW = attr?.kind === 'int' ? Number(attr.value) : 0;
  const keep = node.attrs.get('keep');
  const scale = dropped !== undefined && keep?.kind === 'float' ? Math.fround(layer.scale / keep.value) : layer.scale;
  return { x, w, a, b, c, transW, scale, rank: layer.rank, dropped };
}

/** Removes dropout from an adapted MatMul. */
export function plainInputs(node: Node): void {
  if (node.inputs.length < 6) return;
  node.dropInputs(node.inputs[4] === undefined ? 4 : 5);
  node.attrs.delete('keep');
}
