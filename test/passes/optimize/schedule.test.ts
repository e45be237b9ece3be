/** The order of a file and the order in which ONNX Runtime runs it. */
import { describe, expect, it } from 'vitest';
import { parseText } from '../../../src/parser/index.ts';
import { verify } from '../../../src/passes/index.ts';
import { executionOrder } from '../../../src/passes/memory/order.ts';
import { runFirst, schedule } from '../../../src/passes/optimize/schedule.ts';

/** A chain of four, whose backward reads slopes that do not wait for it, and four leaves. */
const text = `<ir_version: 8, opset_import: ["" : 18]>
main (float[N] x) => (float[M] y) {
  a = Tanh (x)
  b = Tanh (a)
  c = Tanh (b)
  d = Exp (c)
  sc = Mul (c, c)
  dc = Mul (d, sc)
  gc = Sum (dc, c)
  sb = Mul (b, b)
  db = Mul (dc, sb)
  gb = Sum (db, b)
  sa = Mul (a, a)
  da = Mul (db, sa)
  ga = Sum (da, a)
  y = Concat <axis: int = 0> (ga, gb, gc)
}`;

const names = (nodes: readonly { outputs: readonly { name: string }[] }[]): string =>
  nodes.map((n) => n.outputs[0]?.name ?? '').join(' ');

describe('schedule', () => {
  it('runs as the graph was written, slopes beside their use and leaves as soon as they can be', () => {
    const model = parseText(text);
    const { graph } = model;
    const written = names(graph.nodes);
    // As written, the slopes run behind the forward and the leaves at the end.
    expect(names(executionOrder(graph))).toBe('a sa b sb c sc d dc db da ga gb gc y');
    schedule(graph);
    verify(model);
    expect(names(graph.nodes)).not.toBe(written);
    expect(names(executionOrder(graph))).toBe(written);
  });

  it('runs the loss before the backward, also where nodes were added behind it', () => {
    const { graph } = parseText(`<ir_version: 8, opset_import: ["" : 18]>
main (float[N] x) => (float loss, float[N] g, float[N] next) {
  p = Exp (x)
  n = Neg (p)
  loss = ReduceSum <keepdims: int = 0> (n)
  d = Mul (p, p)
  g = Mul (d, x)
  next = Sub (x, g)
}`);
    for (const node of graph.nodes.slice(3)) node.metadata.set('loraify.rule', 'grad/Exp');
    const added = graph.nodes.at(-1);
    schedule(graph);
    expect(names(executionOrder(graph))).toBe('p n loss d g next');
    // As an optimizer's nodes come.
    if (added !== undefined) graph.nodes.push(...graph.nodes.splice(graph.nodes.indexOf(added), 1));
    expect(names(executionOrder(graph))).toBe('p d g next n loss');
    const [loss] = graph.outputs;
    if (loss !== undefined) runFirst(graph, loss);
    expect(names(executionOrder(graph))).toBe('p n loss d g next');
  });

  it('of an unchanged order is repeatable', () => {
    const [first, second] = [parseText(text), parseText(text)];
    schedule(first.graph);
    schedule(second.graph);
    expect(names(first.graph.nodes)).toBe(names(second.graph.nodes));
  });
});
