/**
 * The order of nodes in a file decides the order in which ONNX Runtime runs them, and with it the memory: it walks back from the results,
 * depth first, and at each node runs the producer that stands last in the file first. In the order in which a gradient is derived
 * that puts everything which does not wait for the backward (slopes of activations, x·A) behind the forward, all layers at once.
 */
import { type Graph, type Node, producersOf } from '../graph/model.ts';

/**
 * In place, bodies included: nodes in the order whose walk comes closest to the present one, by taking always the last of the nodes that
 * could come next. https://github.com/microsoft/onnxruntime, core/graph/graph_viewer.cc
 */
export function schedule(graph: Graph): void {
  for (const own of graph.allGraphs()) own.nodes.splice(0, own.nodes.length, ...scheduled(own));
}

function scheduled(graph: Graph): Node[] {
  const at = new Map(graph.nodes.map((n, i) => [n, i]));
  const waiting: number[] = [];
  const readers: number[][] = graph.nodes.map(() => []);
  for (const [i, node] of graph.nodes.entries()) {
    const needs = new Set(producersOf(node).flatMap((p) => at.get(p) ?? []));
    waiting.push(needs.size);
    for (const p of needs) readers[p]?.push(i);
  }
  const ready = heap();
  for (const [i, count] of waiting.entries()) if (count === 0) ready.push(i);
  const order: Node[] = [];
  for (let i = ready.pop(); i !== undefined; i = ready.pop()) {
    const node = graph.nodes[i];
    if (node !== undefined) order.push(node);
    for (const reader of readers[i] ?? []) {
      const left = (waiting[reader] ?? 0) - 1;
      waiting[reader] = left;
      if (left === 0) ready.push(reader);
    }
  }
  return order;
}

/** Of numbers, the largest first. */
function heap(): { push(value: number): void; pop(): number | undefined } {
  const list: number[] = [];
  const value = (i: number): number => list[i] ?? Number.NEGATIVE_INFINITY;
  const swap = (i: number, j: number): void => {
    [list[i], list[j]] = [value(j), value(i)];
  };
  return {
    push(added) {
      let i = list.push(added) - 1;
      for (let up = (i - 1) >> 1; i > 0 && value(up) < value(i); up = (i - 1) >> 1) {
        swap(i, up);
        i = up;
      }
    },
    pop() {
      const [top] = list;
      const last = list.pop();
      if (list.length > 0 && last !== undefined) list[0] = last;
      for (let i = 0; ; ) {
        const [left, right] = [2 * i + 1, 2 * i + 2];
        const larger = value(right) > value(left) ? right : left;
        if (larger >= list.length || value(larger) <= value(i)) return top;
        swap(i, larger);
        i = larger;
      }
    },
  };
}
