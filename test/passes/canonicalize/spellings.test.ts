/** GELU and normalizations as exporters write them: every spelling is found, computes what it did, and nothing else is taken for one. */
import { describe, expect, it } from 'vitest';
import { type Builder, createBuilder } from '../../../src/graph/builder.ts';
import { Graph, type Value } from '../../../src/graph/model.ts';
import { compactGelu } from '../../../src/passes/canonicalize/gelu.ts';
import { compactNorms } from '../../../src/passes/canonicalize/norms.ts';
import { removeMarkers } from '../../../src/passes/dialect/customGradient.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { between, modelOf, numbers, ortTensor, session, variables } from '../../support/gradients/harness.ts';

type Make = (g: Builder, x: Value, n: (value: number) => Value) => Value;

/** What is left where fused operators may stand, with the attribute asked for where they may not, and how far results move. */
async function compacted(make: Make, compact: (graph: Graph, fused: boolean) => unknown, attr: string) {
  const made = (): { graph: Graph; x: Value; y: Value; data: ReturnType<typeof variables>['inputs'] } => {
    const graph = new Graph('compact');
    const g = createBuilder(inferNode, graph.inputs);
    const { values, inputs } = variables(graph, { x: [2, 4] }, 'static', between(-3, 3), 'float32');
    const [x] = values;
    if (x === undefined) throw new Error('no input');
    // Read behind what is replaced.
    const y = g.Identity(make(g, x, (value) => g.float(value)));
    graph.outputs.push(y);
    graph.adopt();
    return { graph, x, y, data: inputs };
  };
  const run = async ({ graph, x, y, data }: ReturnType<typeof made>): Promise<number[]> => {
    const [d] = data.values();
    const running = await session(modelOf(graph, 18));
    const t = d && (await running.run({ [x.name]: ortTensor(d) }))[y.name];
    await running.release();
    return t === undefined ? [] : numbers(t);
  };
  const [before, fused, carried] = [made(), made(), made()];
  compact(fused.graph, true);
  compact(carried.graph, false);
  const ops = fused.graph.nodes.map((n) => n.op).filter((op) => op !== 'Identity');
  removeMarkers(fused.graph);
  const [a, b] = [await run(before), await run(fused)];
  expect(a).toHaveLength(8);
  const internal = carried.graph.nodes.find((n) => n.domain === 'loraify');
  const value = internal?.attrs.get(attr);
  return {
    ops,
    internal: internal?.op,
    value: value?.kind === 'float' ? value.value : undefined,
    moved: Math.max(...a.map((x, i) => Math.abs(x - (b[i] ?? Number.NaN)))),
  };
}

const c = Math.sqrt(2 / Math.PI);
const erf = (g: Builder, x: Value, n: (v: number) => Value): Value => g.Add(g.Erf(g.Div(x, n(Math.SQRT2))), n(1));
const cube = (g: Builder, x: Value): Value => g.Mul(g.Mul(x, x), x);
const halved =
  (t: Make): Make =>
  (g, x, n) =>
    g.Mul(g.Mul(x, n(0.5)), t(g, x, n));
const tanh = (v: Make): Make => halved((g, x, n) => g.Add(n(1), g.Tanh(v(g, x, n))));

/** By how v, or all of it, is written. */
const gelus: Readonly<Record<string, readonly [op: 'Gelu' | 'FastGelu', make: Make]>> = {
  'x·t, halved behind': ['Gelu', (g, x, n) => g.Mul(g.Mul(x, erf(g, x, n)), n(0.5))],
  't halved, times x': ['Gelu', (g, x, n) => g.Mul(x, g.Mul(n(0.5), erf(g, x, n)))],
  'x halved, times t': ['Gelu', halved(erf)],
  'times 1/sqrt 2': ['Gelu', halved((g, x, n) => g.Add(g.Erf(g.Mul(n(Math.SQRT1_2), x)), n(1)))],
  'c·(x + 0.044715·x^3)': ['FastGelu', tanh((g, x, n) => g.Mul(n(c), g.Add(x, g.Mul(n(0.044715), g.Pow(x, n(3))))))],
  'the cubic first': ['FastGelu', tanh((g, x, n) => g.Mul(n(c), g.Add(g.Mul(cube(g, x), n(0.044715)), x)))],
  'x·(c + c·0.044715·x^2)': [
    'FastGelu',
    tanh((g, x, n) => g.Mul(x, g.Add(g.Mul(g.Pow(x, n(2)), n(0.044715 * c)), n(c)))),
  ],
  '(c + c·0.044715·x^2)·x': [
    'FastGelu',
    tanh((g, x, n) => g.Mul(g.Add(n(c), g.Mul(g.Pow(x, n(2)), n(0.044715 * c))), x)),
  ],
  'divided by 1/c': ['FastGelu', tanh((g, x, n) => g.Div(g.Add(x, g.Mul(cube(g, x), n(0.044715))), n(1 / c)))],
};

/** The same functions with other constants: there is no operator, only the form. */
const others: Readonly<Record<string, readonly [op: 'Gelu' | 'GeluTanh', slope: number, make: Make]>> = {
  'another cubic': ['GeluTanh', c, tanh((g, x, n) => g.Mul(n(c), g.Add(x, g.Mul(n(0.044716), cube(g, x)))))],
  'another slope': ['GeluTanh', 0.7, tanh((g, x, n) => g.Add(g.Mul(x, n(0.7)), g.Mul(n(0.044715 * c), cube(g, x))))],
  'a slope alone': ['GeluTanh', 1.6, tanh((g, x, n) => g.Div(x, n(0.625)))],
  'another scale in erf': ['Gelu', 0.6, halved((g, x, n) => g.Add(g.Erf(g.Mul(x, n(0.6))), n(1)))],
  'two added': ['Gelu', Math.SQRT1_2, halved((g, x, n) => g.Add(g.Erf(g.Div(x, n(Math.SQRT2))), n(2)))],
  'not halved': ['Gelu', Math.SQRT1_2, (g, x, n) => g.Mul(g.Mul(x, n(0.25)), erf(g, x, n))],
};

/** No odd polynomial of what the product is with, up to the cube. */
const none: Readonly<Record<string, Make>> = {
  'x squared': tanh((g, x, n) => g.Add(x, g.Mul(g.Mul(x, x), n(0.1)))),
  'a constant in v': tanh((g, x, n) => g.Add(x, n(0.1))),
  'the fifth power': tanh((g, x) => g.Add(x, g.Mul(cube(g, x), g.Mul(x, x)))),
  'a cubic in erf': halved((g, x, n) => g.Add(g.Erf(g.Add(x, cube(g, x))), n(1))),
  'divided by x': tanh((g, x, n) => g.Div(n(1), x)),
};

describe('GELU', () => {
  it.each(Object.entries(gelus))('%s', async (_, [op, make]) => {
    const { ops, internal, value, moved } = await compacted(make, compactGelu, 'slope');
    expect({ ops, internal }).toEqual({ ops: [op], internal: op === 'Gelu' ? 'Gelu' : 'GeluTanh' });
    expect(value).toBeCloseTo(op === 'Gelu' ? Math.SQRT1_2 : c, 6);
    // Float32 around 3, and the kernels' own polynomials.
    expect(moved).toBeLessThan(2e-6);
  });

  it.each(Object.entries(others))('with %s', async (_, [op, slope, make]) => {
    const { ops, internal, value } = await compacted(make, (graph, fused) => compactGelu(graph, fused), 'slope');
    expect(ops.filter((name) => name === 'FastGelu')).toEqual([]);
    expect(ops.at(-1)).toBe(op);
    expect(ops.length).toBeGreaterThan(4);
    expect(internal).toBe(op);
    expect(value).toBeCloseTo(slope, 6);
  });

  it.each(Object.entries(none))('is not %s', async (_, make) => {
    const { ops, internal } = await compacted(make, compactGelu, 'slope');
    expect(ops.filter((op) => op.includes('Gelu'))).toEqual([]);
    expect(internal).toBeUndefined();
  });
});

const mean = (g: Builder, v: Value, axis = -1): Value => g.ReduceMean(v, g.ints([axis]), { keepdims: 1 });
const vector = (g: Builder, from: number): Value => g.constant('float32', [4], [from, 1, -1, 2]);
const root = (g: Builder, v: Value, n: (value: number) => Value, square = g.Mul(v, v)): Value =>
  g.Sqrt(g.Add(mean(g, square), n(1e-3)));

const norms: Readonly<Record<string, readonly [op: string, make: Make]>> = {
  'a quotient, scaled and shifted': [
    'LayerNormalization',
    (g, x, n) => {
      const v = g.Sub(x, mean(g, x));
      return g.Add(g.Mul(g.Div(v, root(g, v, n, g.Pow(v, n(2)))), vector(g, 0.5)), vector(g, 3));
    },
  ],
  'operands the other way round': [
    'LayerNormalization',
    (g, x, n) => {
      const v = g.Sub(x, mean(g, x, 1));
      return g.Add(vector(g, 3), g.Mul(vector(g, 0.5), g.Mul(g.Reciprocal(root(g, v, n)), v)));
    },
  ],
  'times the inverse': [
    'SimplifiedLayerNormalization',
    (g, x, n) => g.Mul(g.Mul(x, g.Div(n(1), root(g, x, n))), vector(g, 0.5)),
  ],
  'the root of mean squares': [
    'SimplifiedLayerNormalization',
    (g, x, n) => g.Mul(vector(g, 0.5), g.Div(x, g.Sqrt(g.Add(n(1e-3), mean(g, g.Mul(x, x), 1))))),
  ],
};

describe('normalizations', () => {
  it.each(Object.entries(norms))('%s', async (_, [op, make]) => {
    const { ops, internal, moved } = await compacted(make, compactNorms, 'epsilon');
    expect({ ops, internal }).toEqual({ ops: [op], internal: 'Standardized' });
    // Float32 around 4.
    expect(moved).toBeLessThan(2e-6);
  });

  it('are along the last axis alone', async () => {
    const { ops, internal } = await compacted(
      (g, x, n) => g.Div(x, g.Sqrt(g.Add(mean(g, g.Mul(x, x), 0), n(1e-3)))),
      compactNorms,
      'epsilon',
    );
    expect(ops).toContain('ReduceMean');
    expect(internal).toBeUndefined();
  });
});
