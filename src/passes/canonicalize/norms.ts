/**
 * Finds normalizations as exporters write them: n = c/sqrt(mean(c²) + e), with c = x for RMSNorm and c = x - mean(x)
 * for LayerNorm, then scale and bias. These are seven to nine nodes with a gradient of twenty. If the provider has both
 * operators, one node replaces them. Otherwise a pass-through marker behind n has one gradient rule.
 */
import { type Graph, Node, takePlace, Value } from '../../graph/model.ts';
import { any, anything, constant, oneOf, op, type Pattern, single, type Verdict } from '../common/pattern.ts';
import { type NearMisses, pattern } from '../common/patternSearch.ts';
import { axesOf } from '../common/reductionAxes.ts';
import { insertMarker } from '../dialect/customGradient.ts';

const [x, c, n] = [any('x'), any('c'), any('n')];

/** The mean along the last axis, which is kept as 1. */
const mean = <B>(of: Pattern<B>): Pattern<B> =>
  op
    .ReduceMean(of, anything)
    .attrs({ keepdims: 1 })
    .where((_, node) => {
      const [axis, ...more] = axesOf(node) ?? [];
      const last = axis === -1 || (axis !== undefined && axis === (node.inputs[0]?.shape?.length ?? 0) - 1);
      return (last && more.length === 0) || `"${node.label}" is not along the last axis`;
    });

const centred = oneOf(op.Sub(x, mean(x)).as('c'), c);
const square = oneOf(op.Mul(c, c), op.Pow(c, single(2)));
const s = op.Sqrt(op.Add(mean(square), single('epsilon'))).as('s');
const normalization = pattern(
  'normalization',
  oneOf(op.Div(centred, s).as('n'), op.Mul(centred, oneOf(op.Reciprocal(s), op.Div(single(1), s))).as('n')),
  { least: 4 },
);

/** Whether v has one number per column. */
const isVector = ({ n, v }: { readonly n: Value; readonly v: Value }): Verdict =>
  (v.shape?.length === 1 && v.shape[0] === n.shape?.at(-1)) || `"${v.name}" is not one number for each column`;
const scaled = pattern('scale', op.Mul(n.once, constant('v')).where(isVector));
const biased = pattern('bias', op.Add(n.once, constant('v')).where(isVector));

/** In place. The marker `Standardized` has the inputs c, n and s = sqrt(mean(c²) + e). */
export function compactNorms(graph: Graph, fused: boolean, misses?: NearMisses): void {
  let replaced = false;
  for (const { bound } of normalization.in(graph, misses)) {
    const { x, c, s, n, epsilon } = bound;
    const scale = fused && n.dtype === 'float32' ? scaled.behind('n', n) : undefined;
    if (scale === undefined) {
      insertMarker(graph, 'loraify.Standardized', [c, n, s], {});
      continue;
    }
    const [product] = scale.root.outputs;
    const bias = x === undefined || product === undefined ? undefined : biased.behind('n', product);
    const last = bias?.root ?? scale.root;
    const [y] = last.outputs;
    if (y === undefined) continue;
    const out = new Value(y.name, y.type);
    const node = new Node({
      op: x === undefined ? 'SimplifiedLayerNormalization' : 'LayerNormalization',
      name: last.name,
      inputs: [x ?? c, scale.bound.v, ...(bias === undefined ? [] : [bias.bound.v])],
      outputs: [out],
      attrs: [
        ['axis', { kind: 'int', value: -1 }],
        ['epsilon', { kind: 'float', value: epsilon }],
      ],
    });
    takePlace(y, out, [graph], '.unfused');
    graph.insertAfter(last, node);
    replaced = true;
  }
  if (replaced) graph.prune();
}
