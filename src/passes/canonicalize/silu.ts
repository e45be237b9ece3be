/**
 * Finds SiLU as exporters write it, y = x·s with s = sigmoid(a·x): the separate derivatives of both nodes read and
 * write seventeen tensors, that of the function eleven. The forward is unchanged; a pass-through marker behind it has
 * the gradient rule (Elfwing, Uchibe, Doya 2018, arXiv:1702.03118).
 */
import type { Graph } from '../../graph/model.ts';
import { any, oneOf, op, scalar } from '../common/pattern.ts';
import { type NearMisses, pattern } from '../common/patternSearch.ts';
import { insertMarker } from '../dialect/customGradient.ts';

const x = any('x');
const silu = pattern('SiLU', op.Mul(x, op.Sigmoid(oneOf(x, op.Mul(x, scalar('alpha')))).as('s')).as('y'), {
  // A gate of another value is not a SiLU.
  least: 3,
});

/** In place. The marker `Silu` has the inputs x, s and y, and a as attribute. */
export function compactSilu(graph: Graph, misses?: NearMisses): void {
  for (const { bound } of silu.in(graph, misses)) {
    const { x, s, y, alpha = 1 } = bound;
    insertMarker(graph, 'loraify.Silu', [x, s, y], { alpha });
  }
}
