/**
 * `loraify.Adapted`: an adapted product as one node, from the rewrite until `lower` expands it.
 *
 * Training form (what the gradient rule and the shape rule see): inputs x [..., in], W, A [in, r], B [r, out], C (optional,
 * broadcast to y); attribute transW 1 says W lies as [out, in]. y = x·W + scale·(x·A)·B + C. Without W, C [..., out] is the output
 * of a base that is a node of its own.
 */
import { badModel } from '../errors.ts';
import type { Node, Value } from '../graph/model.ts';

export const internalDomain = 'loraify';

export interface AdaptedForm {
  readonly x: Value;
  readonly w: Value | undefined;
  readonly a: Value;
  readonly b: Value;
  readonly c: Value | undefined;
  readonly transW: number;
  readonly scale: number;
  readonly rank: number;
}

export const isAdapted = (node: Node): boolean => node.domain === internalDomain && node.op === 'Adapted';

export function adaptedForm(node: Node): AdaptedForm {
  const [x, w, a, b, c] = node.inputs;
  const layer = node.layer;
  if (x === undefined || (w ?? c) === undefined || a === undefined || b === undefined || layer === undefined)
    throw badModel(`adapted node "${node.label}" is incomplete`, { node: node.label });
  const attr = node.attrs.get('transW');
  const transW = attr?.kind === 'int' ? Number(attr.value) : 0;
  return { x, w, a, b, c, transW, scale: layer.scale, rank: layer.rank };
}
