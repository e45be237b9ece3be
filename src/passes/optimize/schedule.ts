/**
 * Orders the nodes of the file, which determines the order in which ONNX Runtime runs them, and so the memory: it walks
 * back from the outputs, depth first, and at each node runs the producer that is last in the file first. In the order
 * in which a gradient is derived, everything that does not depend on the backward (slopes of activations, x·A) would
 * run right behind the forward, for all layers at once.
 */
import { type Graph, type Node, producersOf, type Value } from '../../graph/model.ts';
import { forwardOf } from '../common/forwardNodes.ts';

/**
 * In place, bodies included. Places nodes from the end of the file; each time, among the nodes whose readers are
 * placed, the one that is to run first. So the loss runs before the backward, gradients of A run as early as possible,
 * and nodes that do not depend on the loss (slopes, rematerialized activations) run right before their reader, because
 * the rest of the backward is behind them in the file. https://github.com/microsoft/onnxruntime,
 * core/graph/graph_viewer.cc
 */
export function schedule(graph: Graph): void {
  for (const own of graph.allGraphs()) own.nodes.splice(0, own.nodes.length, ...scheduled(own));
}

/**
 * In place, after nodes were appended to a scheduled graph: moves the nodes that only `result`, one of its outputs,
 * needs to the end, so that they run before the rest. Otherwise the loss would keep the logits until the end.
 */
export function runFirst(graph: Graph, result: Value): void {
  const others = new Set<Node>();
  const todo = graph.outputs.flatMap((v) => (v === result || v.producer === undefined ? [] : [v.producer]));
  for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
    if (others.has(node) || node.graph !== graph) continue;
    others.add(node);
    todo.push(...producersOf(node));
  }
  const { nodes } = graph;
  nodes.splice(0, nodes.length, ...nodes.filter((n) => others.has(n)), ...nodes.filter((n) => !others.has(n)));
}

function scheduled(graph: Graph): Node[] {
  const { length } = graph.nodes;
  const at = new Map(graph.nodes.map((n, i) => [n, i]));
  const needs = graph.nodes.map((n) => [...new Set(producersOf(n).flatMap((p) => at.get(p) ?? []))]);
  const classes = classesOf(graph, needs);
  /** The number of readers of each node that are not placed yet. */
  const open = graph.nodes.map(() => 0);
  for (const list of needs) for (const p of list) open[p] = (open[p] ?? 0) + 1;
  const ready = heap();
  const add = (i: number): void => ready.push((classes[i] ?? 0) * length + i);
  for (const [i, count] of open.entries()) if (count === 0) add(i);
  const order: Node[] = [];
  for (let key = ready.pop(); key !== undefined; key = ready.pop()) {
    const i = key % length;
    const node = graph.nodes[i];
    if (node !== undefined) order.push(node);
    for (const p of needs[i] ?? []) {
      const left = (open[p] ?? 0) - 1;
      open[p] = left;
      if (left === 0) add(p);
    }
  }
  return order.reverse();
}

/**
 * The class of each node. 0: it needs the end of the forward, or only the loss needs it; 1: only the backward reads it,
 * and it needs less of the forward; 2: the forward.
 */
function classesOf(graph: Graph, needs: readonly (readonly number[])[]): number[] {
  const forward = forwardOf(graph);
  if (forward === undefined) return graph.nodes.map(() => 0);
  /** The last node of the forward that a node needs. */
  const reach: number[] = [];
  const both = new Set<number>();
  for (const [i, node] of graph.nodes.entries()) {
    const own = needs[i] ?? [];
    reach.push(forward.has(node) ? i : Math.max(-1, ...own.map((p) => reach[p] ?? -1)));
  }
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i];
    if (node !== undefined && (!forward.has(node) || both.has(i))) for (const p of needs[i] ?? []) both.add(p);
  }
  const end = graph.nodes.reduce((most, n, i) => (forward.has(n) ? most : Math.max(most, reach[i] ?? -1)), -1);
  return graph.nodes.map((n, i) => (forward.has(n) ? (both.has(i) ? 2 : 0) : reach[i] === end ? 0 : 1));
}

/** A binary heap of numbers, the smallest first. */
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
