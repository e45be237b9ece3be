/** A decomposition computes what the operator's own kernel computes. */
import { describe, expect, it } from 'vitest';
import { createBuilder } from '../../src/graph/builder.ts';
import { Graph, type Value } from '../../src/graph/model.ts';
import { decomposition } from '../../src/passes/autodiff/rules.ts';
import { gradTools } from '../../src/passes/autodiff/tools.ts';
import { inferNode } from '../../src/passes/shapes.ts';
import { argumentsOf, dataOf, feedsOf, modelOf, numbers, session, title } from './harness.ts';
import { allRows } from './rows.ts';

const refuse = (v: Value): never => {
  throw new Error(`rank of ${v.name}`);
};
const rows = allRows.filter((row) => {
  if (row.refused !== undefined) return false;
  const g = createBuilder();
  const [out] = g.node({ op: row.op, inputs: [], outputs: 1 });
  return out?.producer !== undefined && decomposition(out.producer) !== undefined;
});

describe('decompositions', () => {
  it.each(rows.map((row) => [title(row), row] as const))('%s', async (_, row) => {
    const graph = new Graph('body');
    const g = createBuilder(inferNode, graph.inputs);
    const data = dataOf(row);
    const args = argumentsOf(row, data, 'static', graph, g);
    const outs = g.node({ op: row.op, inputs: args, attrs: row.attrs ?? {}, outputs: row.outputs ?? 1 });
    const [dy] = outs;
    const node = dy?.producer;
    const body = node === undefined ? undefined : decomposition(node);
    if (dy === undefined || node === undefined || body === undefined) throw new Error('no body');
    const tools = Object.assign({}, g, gradTools(g, refuse));
    const made = body.apply({ node, inputs: args, outputs: outs, attrs: node.attrs, dy, dys: [], g: tools });
    const pairs = (row.loss ?? [0]).flatMap((i) => {
      const [own, other] = [outs[i], made[i]];
      return own === undefined || other === undefined ? [] : [[own, g.Identity(other)] as const];
    });
    expect(pairs.length).toBe((row.loss ?? [0]).length);
    graph.outputs.push(...pairs.flat());
    graph.adopt();
    const got = await (await session(modelOf(graph, row.opset ?? 18))).run(feedsOf(args, data));
    for (const [own, other] of pairs) {
      const [a, b] = [got[own.name], got[other.name]];
      if (a === undefined || b === undefined) throw new Error('no result');
      expect(b.dims).toEqual(a.dims);
      const [x, y] = [numbers(a), numbers(b)];
      // Both are rounded to float32 where the row is.
      x.forEach((v, i) => {
        expect(Math.abs(v - (y[i] ?? Number.NaN))).toBeLessThanOrEqual(2e-6 * (1 + Math.abs(v)));
      });
    }
  });
});
