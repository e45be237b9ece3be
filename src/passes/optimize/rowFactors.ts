/**
 * Factors of rows behind products. (r·X)·W is r·(X·W) for a column r, and with a vocabulary of columns in X and a width in W the second
 * touches a hundred times fewer elements: the gradient of a cross-entropy is softmax minus one-hot, each row by its weight.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, takePlace, type Use, type Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';

/** In place, over float32 matrices that only products read; new nodes are detached until `graph.adopt()`. */
export function moveRowFactors(graph: Graph, g: Builder): void {
  const outputs = new Set(graph.outputs);
  for (const node of [...graph.nodes]) {
    const [y] = node.outputs;
    const form = factored(node);
    if (y === undefined || form === undefined || outputs.has(y) || y.uses.size === 0) continue;
    const uses = [...y.uses];
    const moves = uses.map((use) => moveFor(use, graph));
    const cost = moves.reduce((n, m) => n + (m?.width ?? Number.POSITIVE_INFINITY), 0);
    if (cost >= form.width || new Set(uses.map((u) => u.node)).size < uses.length) continue;
    for (const [i, { node: user, index }] of uses.entries()) {
      const at = moves[i]?.operand;
      user.setInput(index, form.x);
      g.within({ origin: y.name, rule: 'rowFactors' }, () => {
        const operand = at === undefined ? undefined : user.inputs[at];
        if (at !== undefined && operand !== undefined) {
          user.setInput(at, g.Mul(operand, form.r));
          return;
        }
        const [old] = user.outputs;
        if (old === undefined) return;
        const made = g.Mul(old, form.r);
        takePlace(old, made, [graph], '.unscaled');
        made.producer?.setInput(0, old);
      });
    }
  }
}

/** (x·r)·s is x·(r·s) for a scalar s (a loss scale): one pass over the matrix. In place, as above; true where there was one. */
export function joinFactors(graph: Graph, g: Builder): boolean {
  const outputs = new Set(graph.outputs);
  let joined = false;
  for (const node of [...graph.nodes]) {
    const [old] = node.outputs;
    if (node.op !== 'Mul' || node.domain !== '' || old === undefined) continue;
    const at = node.inputs.findIndex((v) => v?.shape?.length === 0 && v.tensor === undefined);
    const [s, y] = [node.inputs[at], node.inputs[1 - at]];
    const form = y?.producer?.graph === graph ? factored(y.producer) : undefined;
    if (s === undefined || y === undefined || form === undefined || y.uses.size > 1 || outputs.has(y)) continue;
    const { x, r } = form;
    const made = g.within({ origin: old.name, rule: 'rowFactors/scale' }, () => g.Mul(x, g.Mul(r, s)));
    takePlace(old, made, [graph], '.unjoined');
    joined = true;
  }
  return joined;
}

interface Factored {
  readonly x: Value;
  /** [rows, 1] */
  readonly r: Value;
  readonly width: number;
}

function factored({ op, domain, inputs: [a, b] }: Node): Factored | undefined {
  if (op !== 'Mul' || domain !== '' || a?.dtype !== 'float32' || b === undefined) return undefined;
  for (const [x, r] of [
    [a, b],
    [b, a],
  ] as const) {
    const width = x.shape?.[1];
    const isColumn = r.shape?.length === 2 && r.shape[1] === 1 && r.tensor === undefined;
    if (x.shape?.length === 2 && typeof width === 'number' && width > 1 && isColumn) return { x, r, width };
  }
  return undefined;
}

/** Where the factor goes: onto the product (`operand` undefined) or its other operand, and how wide that is. */
function moveFor(
  { node, index }: Use,
  graph: Graph,
): { readonly operand?: number; readonly width: number } | undefined {
  if (node.graph !== graph || node.domain !== '' || (node.op !== 'MatMul' && node.op !== 'Gemm')) return undefined;
  const [a, b, c] = node.inputs;
  if (a?.shape?.length !== 2 || b?.shape?.length !== 2) return undefined;
  const of = (v: Value | undefined): number =>
    typeof v?.shape?.[1] === 'number' ? v.shape[1] : Number.POSITIVE_INFINITY;
  const { transA, transB } = node.op === 'Gemm' ? attrsOf(node, 'Gemm') : { transA: 0, transB: 0 };
  if (index === 0 && transA === 0) return c === undefined ? { width: of(node.outputs[0]) } : undefined;
  // Summed over rows: the other operand's rows take the factor as well.
  if (index === 0 && transA === 1 && transB === 0) return { operand: 1, width: of(b) };
  if (index === 1 && transB === 0 && transA === 1) return { operand: 0, width: of(a) };
  return undefined;
}
