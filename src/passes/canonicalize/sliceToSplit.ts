/**
 * Replaces Slices that cut one value into all of its parts, as in rotary embeddings and gates, by one Split: one node
 * forward, and in the backward one Concat instead of a Pad per Slice and a sum.
 */
import { createBuilder } from '../../graph/builder.ts';
import { type Graph, Node, type Value } from '../../graph/model.ts';
import { numbersOf } from '../../graph/tensor.ts';
import { inferNode } from '../shapes/index.ts';

interface Part {
  readonly node: Node;
  readonly axis: number;
  readonly from: number;
  readonly to: number;
}

/**
 * In place, on a normalized graph whose shapes are inferred. True if a constant was added, whose name may already be in
 * use.
 */
export function splitSlices(graph: Graph): boolean {
  const g = createBuilder();
  let added = false;
  const found = new Map<Value, Part[]>();
  for (const node of graph.nodes) {
    const part = partOf(node);
    const [x] = node.inputs;
    if (part !== undefined && x !== undefined) found.set(x, [...(found.get(x) ?? []), part]);
  }
  const handedOut = new Set<Value>(graph.outputs);
  for (const [x, all] of found)
    for (const axis of new Set(all.map((p) => p.axis))) {
      const along = all.filter((p) => p.axis === axis);
      const parts = along.toSorted((a, b) => a.from - b.from);
      const ends = parts.map((p) => p.to);
      const whole = parts.every((p, i) => p.from === (ends[i - 1] ?? 0)) && ends.at(-1) === x.shape?.[axis];
      const [first] = along;
      const outputs = parts.flatMap((p) => p.node.outputs);
      if (parts.length < 2 || !whole || first === undefined || outputs.some((o) => handedOut.has(o))) continue;
      const lengths = g.ints(parts.map((p) => p.to - p.from));
      if (!graph.initializers.includes(lengths)) graph.initializers.push(lengths);
      const split = new Node({
        op: 'Split',
        name: first.node.name,
        inputs: [x, lengths],
        outputs,
        attrs: [['axis', { kind: 'int', value: axis }]],
      });
      for (const [k, v] of first.node.metadata) split.metadata.set(k, v);
      added = true;
      graph.insertAfter(first.node, split);
      graph.removeAll(new Set(parts.map((p) => p.node)));
      for (const o of outputs) o.producer = split;
      inferNode(split);
    }
  return added;
}

/** The range of a Slice along one axis of known length with step 1. */
function partOf(node: Node): Part | undefined {
  if (node.op !== 'Slice' || node.domain !== '') return undefined;
  const [x, ...rest] = node.inputs;
  const [start, end, axis = 0, step = 1] = rest.map((v, i) => {
    const list = v?.tensor === undefined ? undefined : numbersOf(v.tensor);
    // Without axes the Slice has the first ones, here one.
    return v === undefined && i > 1 ? undefined : list?.length === 1 ? list[0] : Number.NaN;
  });
  const rank = x?.shape?.length ?? 0;
  const along = axis < 0 ? axis + rank : axis;
  const length = x?.shape?.[along];
  if (start === undefined || end === undefined || step !== 1 || typeof length !== 'number') return undefined;
  const [from, to] = [start, end].map((i) => Math.min(Math.max(i < 0 ? i + length : i, 0), length));
  return from === undefined || to === undefined || !(from < to) ? undefined : { node, axis: along, from, to };
}
