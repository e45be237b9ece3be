/**
 * The order of nodes in a file decides the order in which ONNX Runtime runs them, and with it the memory: it walks back from the results,
 * depth first, and at each node runs the producer that stands last in the file first. In the order in which a gradient is derived
 * that puts everything which does not wait for the backward (slopes of activations, x·A) behind the forward, all layers at once.
 */
import { type Graph, type Node, producersOf } from '../graph/model.ts';

/**
 * In place, bodies included: the file is filled from its end, each time with that node of those whose readers are placed which the present order
 * runs first. A walk from the results then meets the present order wherever a depth-first one can: the loss before the
 * backward, what only the state reads as soon as it can be, and what waits for nothing right before its reader.
 * https://github.com/microsoft/onnxruntime, core/graph/graph_viewer.cc
 */
export function schedule(graph: Graph): void {
  for (const own of graph.allGraphs()) own.nodes.splice(0, own.nodes.length, ...scheduled(own));
}

function scheduled(graph: Graph): Node[] {
  const at = new Map(graph.nodes.map((n, i) => [n, i]));
  const needs = graph.nodes.map((n) => [...new Set(producersOf(n).flatMap((p) => at.get(p) ?? []))]);
  /** How many readers of a node are not placed. */
  const open = graph.nodes.map(() => 0);
  for (const list of needs) for (const p of list) open[p] = (open[p] ?? 0) + 1;
  const ready = heap();
  for (const [i, count] of open.entries()) if (count === 0) ready.push(i);
  const order: Node[] = [];
  for (let i = ready.pop(); i !== undefined; i = ready.pop()) {
    const node = graph.nodes[i];
    if (node !== undefined) order.push(node);
    for (const p of needs[i] ?? []) {
      const left = (open[p] ?? 0) - 1;
      open[p] = left;
      if (left === 0) ready.push(p);
    }
  }
  return order.reverse();
}

/** Of numbers, the smallest first. */
function heap(): { push(value: number): void; pop(): number | undefined } {
  const list: number[] = [];
  const value = (i: number): number => list[i] ?? Number.POSITIVE_INFINITY;
  const swap = (i: number, j: number): void => {
    [list[i], list[j]] = [value(j), value(i)];
  };
  return {
    push(added) {
      let i = list.push(added) - 1;
      for (let up = (i - 1) >> 1; i > 0 && value(up) > value(i); up = (i - 1) >> 1) {
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
        const smaller = value(right) < value(left) ? right : left;
        if (smaller >= list.length || value(smaller) >= value(i)) return top;
        swap(i, smaller);
        i = smaller;
      }
    },
  };
}
