/** `loraify.Joined`: several adapted layers that read the same x, computed by one MatMul (table.ts). */
import { badModel, unsupportedShape } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import type { Node, Value } from '../../graph/model.ts';
import { formOf, isA } from './nodes.ts';

export interface Part {
  readonly w: Value;
  readonly a: Value;
  readonly b: Value;
  readonly c: Value | undefined;
  readonly scale: number;
  readonly width: number;
}

export interface JoinedForm {
  readonly x: Value;
  readonly transW: number;
  readonly depth: number;
  readonly parts: readonly Part[];
}

const perPart = 4;

export const isJoined = (node: Node): boolean => isA(node, 'loraify.Joined');

export function joinedForm(node: Node): JoinedForm {
  const {
    inputs: [x, ...rest],
    attrs: { scales, transW, widths },
  } = formOf(node, 'loraify.Joined');
  const parts = node.outputs.map((_, i): Part => {
    const values: readonly (Value | undefined)[] = rest;
    const [w, a, b, c] = values.slice(perPart * i, perPart * (i + 1));
    const [width, scale] = [widths[i], scales[i]];
    if (w === undefined || a === undefined || b === undefined || width === undefined || scale === undefined)
      throw badModel(`loraify.Joined "${node.label}" lacks something of part ${i}`, { node: node.label });
    return { w, a, b, c, scale, width };
  });
  const depth = parts[0]?.a.shape?.[0];
  if (typeof depth !== 'number') throw unsupportedShape('an adapter of unknown shape', { node: node.label });
  return { x, transW, depth, parts };
}

/** W + s·A·B of all parts, concatenated: [depth, all widths], or its transpose if the weights have that layout. */
export function mergedWeight(g: Builder, { parts, transW }: JoinedForm): Value {
  const merged = parts.map(({ w, a, b, scale }) =>
    transW === 1 ? g.Gemm(b, a, w, { alpha: scale, transA: 1, transB: 1 }) : g.Gemm(a, b, w, { alpha: scale }),
  );
  const [only] = merged;
  return merged.length === 1 && only !== undefined ? only : g.Concat(merged, { axis: transW === 1 ? 0 : 1 });
}

/** Splits a matrix [rows, all widths] into its parts. */
export function columns(g: Builder, v: Value, widths: readonly number[]): Value[] {
  return widths.length === 1
    ? [v]
    : g.node({ op: 'Split', inputs: [v, g.ints(widths)], attrs: { axis: 1 }, outputs: widths.length });
}

export const sideBySide = (g: Builder, list: readonly Value[]): Value => {
  const [only] = list;
  return list.length === 1 && only !== undefined ? only : g.Concat(list, { axis: 1 });
};
