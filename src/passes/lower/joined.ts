/** Lowers Joined to one Gemm with the concatenated weights, and a Split. */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, takePlace, type Value } from '../../graph/model.ts';
import { numbersOf, tensorOf } from '../../graph/tensor.ts';
import { columns, isJoined, type JoinedForm, joinedForm, mergedWeight } from '../dialect/joined.ts';

/** The concatenated biases; zeros for a part without one. */
function jointBias(g: Builder, { parts }: JoinedForm): Value | undefined {
  if (parts.every((p) => p.c === undefined)) return undefined;
  const vectors = parts.map((p) => p.c ?? g.constant('float32', [p.width], new Array<number>(p.width).fill(0)));
  const [only] = vectors;
  if (vectors.length === 1 && only !== undefined) return only;
  const values = vectors.flatMap((v) => (v.tensor === undefined ? [] : (numbersOf(v.tensor) ?? [])));
  const name = `${only?.name ?? 'bias'}.joint`;
  return g.tensor(name, tensorOf('float32', [values.length], values));
}

/**
 * In place; new nodes are detached until `graph.adopt()`. `leading` is the shape of a value with its last dim replaced.
 */
export function lowerJoined(graph: Graph, g: Builder, leading: (g: Builder, v: Value, last: number) => Value): void {
  for (const node of graph.nodes.filter(isJoined)) {
    const form = joinedForm(node);
    const flat = form.x.shape?.length === 2;
    const [first] = node.outputs;
    g.within({ origin: first?.name ?? node.label, rule: 'lower/joined' }, () => {
      const x = flat ? form.x : g.Reshape(form.x, g.ints([-1, form.depth]));
      const y = g.Gemm(x, mergedWeight(g, form), jointBias(g, form), { transB: form.transW });
      const widths = form.parts.map((p) => p.width);
      columns(g, y, widths).forEach((part, i) => {
        const old = node.outputs[i];
        if (old === undefined) return;
        const out = flat ? part : g.Reshape(part, leading(g, form.x, widths[i] ?? 0));
        takePlace(old, out, [...graph.allGraphs()], '.adapted');
      });
    });
  }
}
