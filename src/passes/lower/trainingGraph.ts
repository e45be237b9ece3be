/**
 * Lowers adapted MatMuls in a training graph to Gemms over rows, with scale and bias inside Gemm. The branch shares x·A
 * with the backward, which requests the identical node.
 */

import { unsupportedShape } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { type Graph, takePlace, type Value } from '../../graph/model.ts';
import { asType, besideBase } from '../common/computeType.ts';
import { rewriteNodes } from '../common/rewriteNodes.ts';
import { gradTools } from '../common/shapeTools.ts';
import { adaptedForm, isAdapted } from '../dialect/adapted.ts';
import { removeMarkers } from '../dialect/customGradient.ts';
import { dropDetached } from '../dialect/detach.ts';
import { lowerJoined } from './joined.ts';

/** In place, bodies included; new nodes of the main graph are detached until `graph.adopt()`. */
export function lowerTraining(graph: Graph, builder: Builder): void {
  const graphs = [...graph.allGraphs()];
  dropDetached(graph);
  for (const own of graphs) removeMarkers(own);
  lowerJoined(graph, builder, leading);
  rewriteNodes(graph, builder, isAdapted, (node, g) => {
    const [y] = node.outputs;
    const { x, w, a, b, c, transW, scale, dropped } = adaptedForm(node);
    const [depth, width] = [a.shape?.[0], b.shape?.[1]];
    if (y === undefined || typeof depth !== 'number' || typeof width !== 'number')
      throw unsupportedShape('an adapter of unknown shape', { node: node.label });
    const tools = gradTools(g, (v) => {
      throw unsupportedShape(`the rank of "${v.name}" is not known`, { node: node.label });
    });
    const { name } = y;
    const out = g.within({ origin: name, rule: 'lower/training' }, () => {
      const flat = x.shape?.length === 2;
      const rows = tools.rows(x, depth);
      const perColumn = c?.shape?.length === 1 && c.shape[0] === width;
      const fits = w === undefined || (c?.dtype === w.dtype && (flat || perColumn));
      const bias = fits ? c : undefined;
      const base = w === undefined ? c && tools.rows(c, width) : baseProduct(g, rows, w, bias, transW);
      const sum = besideBase(g, g.MatMul(asType(g, dropped ?? rows, a.dtype), a), b, base, { alpha: scale });
      const shaped = flat ? sum : g.Reshape(sum, leading(g, x, width));
      return c === undefined || bias !== undefined ? shaped : g.Add(shaped, c);
    });
    takePlace(y, out, graphs, '.adapted');
  });
}

/** Computed in the type of the weight, returned in that of x. */
function baseProduct(g: Builder, x: Value, w: Value, bias: Value | undefined, transW: number): Value {
  const rows = asType(g, x, w.dtype);
  const y = transW === 1 || bias !== undefined ? g.Gemm(rows, w, bias, { transB: transW }) : g.MatMul(rows, w);
  return asType(g, y, x.dtype);
}

/** The shape of x with its last dim replaced. */
function leading(g: Builder, v: Value, last: number): Value {
  const shape = v.shape;
  const lengths = shape?.slice(0, -1).map((d) => (typeof d === 'number' ? d : undefined));
  const open = lengths?.filter((d) => d === undefined).length;
  // Reshape computes a single open dim itself.
  if (lengths !== undefined && open !== undefined && open <= 1) return g.ints([...lengths.map((d) => d ?? -1), last]);
  const symbols = shape
    ?.slice(0, -1)
    .map((d) => (typeof d === 'number' ? g.ints([d]) : d === null ? undefined : g.symbol(d)));
  if (symbols?.every((d) => d !== undefined) === true) return g.Concat([...symbols, g.ints([last])], { axis: 0 });
  return g.Concat([g.Shape(v, { end: -1 }), g.ints([last])], { axis: 0 });
}
