/**
 * Moves row factors behind MatMuls. (r·X)·W is r·(X·W) for a column r; if X has a vocabulary of columns and W only the
 * model's width, the second form multiplies a hundred times fewer elements: the gradient of a cross-entropy is softmax
 * minus one-hot, each row scaled by its weight.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, takePlace, type Use, type Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { op, value } from '../common/pattern.ts';
import { pattern } from '../common/patternSearch.ts';

/** The number of columns; infinite if it is unknown. */
const widthOf = (v: Value | undefined): number =>
  typeof v?.shape?.[1] === 'number' ? v.shape[1] : Number.POSITIVE_INFINITY;
const isMatrix = ({ shape }: Value): boolean => shape?.length === 2;
const isColumn = (v: Value): boolean => isMatrix(v) && v.shape?.[1] === 1 && v.tensor === undefined;
const isWide = (v: Value): boolean =>
  isMatrix(v) && widthOf(v) > 1 && Number.isFinite(widthOf(v)) && v.dtype === 'float32';
const factored = op.Mul(value('x', isWide), value('r', isColumn)).as('y');
const rowFactor = pattern('factor of rows', factored);
const isComputedScalar = (v: Value): boolean => v.shape?.length === 0 && v.tensor === undefined;
const scaledFactor = pattern('scalar behind a factor of rows', op.Mul(factored.once, value('s', isComputedScalar)));

/** In place, for float32 matrices that only MatMuls read; new nodes are detached until `graph.adopt()`. */
export function moveRowFactors(graph: Graph, g: Builder): void {
  for (const { bound } of rowFactor.in(graph)) {
    const { x, r, y } = bound;
    if (graph.outputs.includes(y) || y.uses.size === 0) continue;
    const uses = [...y.uses];
    const moves = uses.map((use) => moveFor(use, graph));
    const cost = moves.reduce((n, m) => n + (m?.width ?? Number.POSITIVE_INFINITY), 0);
    if (cost >= widthOf(x) || new Set(uses.map((u) => u.node)).size < uses.length) continue;
    for (const [i, { node: user, index }] of uses.entries()) {
      const at = moves[i]?.operand;
      user.setInput(index, x);
      g.within({ origin: y.name, rule: 'rowFactors' }, () => {
        const operand = at === undefined ? undefined : user.inputs[at];
        if (at !== undefined && operand !== undefined) {
          user.setInput(at, g.Mul(operand, r));
          return;
        }
        const [old] = user.outputs;
        if (old === undefined) return;
        const made = g.Mul(old, r);
        takePlace(old, made, [graph], '.unscaled');
        made.producer?.setInput(0, old);
      });
    }
  }
}

/**
 * Replaces (x·r)·s by x·(r·s) for a scalar s (a loss scale): one pass over the matrix instead of two. In place, as
 * above; true if any was replaced.
 */
export function joinFactors(graph: Graph, g: Builder): boolean {
  let joined = false;
  for (const { root, bound } of scaledFactor.in(graph)) {
    const { x, r, s } = bound;
    const [old] = root.outputs;
    if (old === undefined) continue;
    const made = g.within({ origin: old.name, rule: 'rowFactors/scale' }, () => g.Mul(x, g.Mul(r, s)));
    takePlace(old, made, [graph], '.unjoined');
    joined = true;
  }
  return joined;
}

/**
 * The new position of the factor: the result of the MatMul (`operand` undefined) or its other operand, and the width
 * there.
 */
function moveFor(
  { node, index }: Use,
  graph: Graph,
): { readonly operand?: number; readonly width: number } | undefined {
  if (node.graph !== graph || node.domain !== '' || (node.op !== 'MatMul' && node.op !== 'Gemm')) return undefined;
  const [a, b, c] = node.inputs;
  if (a?.shape?.length !== 2 || b?.shape?.length !== 2) return undefined;
  const { transA, transB } = node.op === 'Gemm' ? attrsOf(node, 'Gemm') : { transA: 0, transB: 0 };
  if (index === 0 && transA === 0) return c === undefined ? { width: widthOf(node.outputs[0]) } : undefined;
  // The MatMul sums over rows, so the factor can scale the rows of the other operand instead.
  if (index === 0 && transA === 1 && transB === 0) return { operand: 1, width: widthOf(b) };
  if (index === 1 && transB === 0 && transA === 1) return { operand: 0, width: widthOf(a) };
  return undefined;
}
