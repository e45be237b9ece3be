/**
 * The rules in other types than their tables': in float16, and in float64 where ONNX Runtime has no kernel, against the same
 * numbers in float32. Every operator that a rule makes must load and compute there.
 */
import { describe, expect, it } from 'vitest';
import { createBuilder } from '../../src/graph/builder.ts';
import { ml } from '../../src/graph/ml.ts';
import { Graph } from '../../src/graph/model.ts';
import { halfToNumber, isFloat, numberToHalf } from '../../src/graph/tensor.ts';
import { gradients } from '../../src/passes/autodiff/index.ts';
import { widenMissingKernels } from '../../src/passes/precision/missingKernels.ts';
import { inferNode } from '../../src/passes/shapes/index.ts';
import {
  argumentsOf,
  type Case,
  dataOf,
  type FloatType,
  feedsOf,
  modelOf,
  nodeOf,
  numbers,
  session,
  title,
} from '../support/gradients/harness.ts';
import { allRows } from './all.rows.ts';

const rounded = (v: number): number => halfToNumber(numberToHalf(v));

/** All gradients of a row, one after another, from numbers that float16 holds. */
async function gradientOf(row: Case, type: FloatType): Promise<number[]> {
  const c: Case = { ...row, dtype: type };
  const data = dataOf(c).map((d) => (d?.type === type ? { ...d, values: d.values.map(rounded) } : d));
  const graph = new Graph('types');
  const g = createBuilder(inferNode, graph.inputs);
  const args = argumentsOf(c, data, 'static', graph, g);
  const outs = nodeOf(c, args, g).outputs;
  graph.outputs.push(...(c.loss ?? [0]).flatMap((i) => outs[i] ?? []));
  graph.adopt();
  const model = modelOf(graph, c.opset ?? 18);
  widenMissingKernels(model);
  // Any function of the result needs no shape; this one has slopes where the norm of a normalized result has none.
  const seeds = graph.outputs.map((y) => [y, g.Abs(y)] as const);
  const wrt = args.filter((v) => v !== undefined && v.tensor === undefined && isFloat(v.dtype ?? 'bool'));
  const found = gradients({ g, seeds, wrt: wrt.filter((v) => v !== undefined) });
  for (const [v, dv] of found) expect(dv.dtype, `gradient of ${v.name}`).toBe(v.dtype);
  const results = [...found.values()].map((dv) => g.Identity(dv));
  graph.outputs.push(...results);
  graph.adopt();
  const running = await session(model);
  const got = await running.run(feedsOf(args, data));
  await running.release();
  return results.flatMap((v) => {
    const t = got[v.name];
    return t === undefined ? [Number.NaN] : numbers(t);
  });
}

async function agree(row: Case, type: FloatType, tolerance: number): Promise<void> {
  const [own, exact] = [await gradientOf(row, type), await gradientOf(row, 'float32')];
  const norm = (list: readonly number[]): number => Math.sqrt(list.reduce((n, v) => n + v * v, 0));
  const off = norm(own.map((v, i) => v - (exact[i] ?? Number.NaN)));
  expect(off / (norm(exact) || 1), title(row)).toBeLessThan(tolerance);
}

/** Whose inputs the standard does not have in these types, or where the tables' scales would be of the type too. */
const not: Readonly<Record<string, readonly string[]>> = {
  float16: [...Object.keys(ml), 'Celu', 'Range', 'DequantizeLinear', 'Resize'],
  float64: ['Celu', 'Range', 'DequantizeLinear', 'Resize', 'RotaryEmbedding', 'com.microsoft.MultiHeadAttention'],
};

/** The row of each operator with the most inputs, the last of equals. */
function some(type: FloatType, wanted: (row: Case) => boolean): (readonly [string, Case])[] {
  const rows = allRows.filter((r) => r.refused === undefined && not[type]?.includes(r.op) !== true && wanted(r));
  const most = new Map<string, Case>();
  for (const row of rows) if (row.in.length >= (most.get(row.op)?.in.length ?? 0)) most.set(row.op, row);
  return [...most];
}

describe('gradients in float16', () => {
  // Half a unit in the last place is 2^-11; few results pass more than three roundings.
  it.each(some('float16', () => true))('%s', (_, row) => agree(row, 'float16', 2e-3));
});

describe('gradients in float64, where the tables are in float32', () => {
  it.each(some('float64', (row) => row.dtype === 'float32'))('%s', (_, row) => agree(row, 'float64', 1e-5));
});
