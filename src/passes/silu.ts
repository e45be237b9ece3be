/**
 * y = x·s with s = sigmoid(c·x), which is SiLU for c = 1, as exporters write it. Its two products and the sigmoid have a gradient of six
 * nodes; as one function it has one of four, which reads s and y alone.
 */
import type { Graph, Node, Value } from '../graph/model.ts';
import { carry } from './carried.ts';
import { madeBy, scalarOf } from './patterns.ts';

/** In place. The internal node `Silu` has the inputs x, s and y, the attribute slope (c), and one output, y again. */
export function compactSilu(graph: Graph): void {
  for (const node of [...graph.nodes]) {
    const found = match(node);
    if (found !== undefined && node.graph === graph)
      carry(graph, 'Silu', [found.x, found.s, found.y], [['slope', { kind: 'float', value: found.slope }]]);
  }
}

function match({
  op,
  domain,
  inputs,
  outputs: [y],
}: Node): { x: Value; s: Value; y: Value; slope: number } | undefined {
  if (op !== 'Mul' || domain !== '' || y === undefined) return undefined;
  for (const [x, s] of [inputs, inputs.toReversed()]) {
    const [v] = madeBy(s, 'Sigmoid')?.inputs ?? [];
    if (x === undefined || s === undefined || v === undefined) continue;
    if (v === x) return { x, s, y, slope: 1 };
    const factors = madeBy(v, 'Mul')?.inputs ?? [];
    const slope = factors.includes(x) ? factors.map(scalarOf).find((c) => c !== undefined) : undefined;
    if (slope !== undefined) return { x, s, y, slope };
  }
  return undefined;
}
