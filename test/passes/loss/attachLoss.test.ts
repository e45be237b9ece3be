/** Losses against the formulas written out in float64, and the gradients that they start with against differences of those. */
import { describe, expect, it } from 'vitest';
import { resolveOptions } from '../../../src/compile/options.ts';
import { createBuilder } from '../../../src/graph/builder.ts';
import type { LossKind } from '../../../src/graph/choices/losses.ts';
import { noLabel } from '../../../src/graph/choices/losses.ts';
import { type Dim, Graph, tensorType, Value } from '../../../src/graph/model.ts';
import type { Target } from '../../../src/passes/common/target.ts';
import { attachLoss, type LossOptions } from '../../../src/passes/loss/attachLoss.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { coded } from '../../support/coded.ts';
import { type Data, modelOf, normal, numbers, ortTensor, random, session } from '../../support/gradients/harness.ts';

interface Case {
  readonly is: string;
  readonly kind: LossKind;
  readonly z: Data;
  /** What the graph knows of its shape. */
  readonly shape?: readonly Dim[];
  readonly labels?: Data;
  readonly classAxis?: number;
  readonly options?: Partial<LossOptions>;
  readonly target?: Target;
  /** The sum of the losses and what it is divided by. */
  readonly sum: (z: readonly number[]) => readonly [sum: number, weight: number];
}

const next = random(11);
const floats = (dims: readonly number[], scale = 1, offset = 0): Data => ({
  type: 'float32',
  dims,
  values: Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () =>
    Math.fround(offset + scale * normal(next, 0, 1)),
  ),
});
const ints = (values: readonly number[], dims: readonly number[] = [values.length]): Data => ({
  type: 'int64',
  dims,
  values,
});

/** As torch.nn.functional.cross_entropy, of rows of classes. */
function crossEntropy(
  rows: readonly (readonly number[])[],
  labels: readonly number[],
  { ignoreIndex = -100, labelSmoothing: e = 0, classWeights }: Partial<LossOptions>,
): readonly [number, number] {
  let [sum, weight] = [0, 0];
  for (const [i, row] of rows.entries()) {
    const label = labels[i] ?? 0;
    if (label === ignoreIndex) continue;
    const w = (c: number): number => classWeights?.[c] ?? 1;
    const most = Math.max(...row);
    const log = most + Math.log(row.reduce((a, x) => a + Math.exp(x - most), 0));
    const nll = row.map((x) => log - x);
    const smooth = nll.reduce((a, x, c) => a + w(c) * x, 0) / row.length;
    sum += (1 - e) * w(label) * (nll[label] ?? Number.NaN) + e * smooth;
    weight += w(label);
  }
  return [sum, weight];
}
const rowsOf = (z: readonly number[], classes: number): number[][] =>
  Array.from({ length: z.length / classes }, (_, i) => z.slice(i * classes, (i + 1) * classes));

const labels = ints([2, 0, -100, 1, 2]);
const classWeights = [0.5, 2, 1.5];
const classified = (is: string, more: Partial<Case> = {}): Case => {
  const { z = floats([5, 3]), labels: own = labels, options = {} } = more;
  return {
    is,
    kind: 'cross-entropy',
    z,
    labels: own,
    sum: (v) => crossEntropy(rowsOf(v, 3), own.values, options),
    ...more,
  };
};
const text = floats([2, 4, 3]);
const tokens = ints([0, 2, 1, -100, 1, 1, 0, 2], [2, 4]);
const image = floats([2, 3, 2]);
const places = ints([2, 0, -100, 1], [2, 2]);

/** Of each element. */
const pointwise = (kind: LossKind, of: (z: number, y: number) => number, more: Partial<Case> = {}): Case => {
  const { z = floats([3, 4], 1.5), labels: y = floats([3, 4], 1.5) } = more;
  const sum: Case['sum'] = (v) => {
    const each = v.map((x, i) => of(x, y.values[i] ?? 0)).filter((_, i) => (y.values[i] ?? 0) < noLabel);
    return [each.reduce((a, b) => a + b, 0), each.length];
  };
  return { is: kind, kind, z, labels: y, sum, ...more };
};
const l1 = (z: number, y: number): number => Math.abs(z - y);
const mse = (z: number, y: number): number => (z - y) ** 2;
const huber = (z: number, y: number): number => {
  const d = Math.abs(z - y);
  return d < 1 ? d ** 2 / 2 : d - 0.5;
};
const bce = (z: number, y: number): number => Math.log1p(Math.exp(-Math.abs(z))) + Math.max(z, 0) - z * y;
const shares: Data = { type: 'float32', dims: [3, 4], values: Array.from({ length: 12 }, () => Math.fround(next())) };
/** Every third has no label. */
const partly = ({ values, ...rest }: Data): Data => ({
  ...rest,
  values: values.map((y, i) => (i % 3 === 1 ? noLabel : y)),
});

const smoothing = { labelSmoothing: 0.2 };
const cases: readonly Case[] = [
  ...(['portable', 'cpu'] as const).flatMap((target) => [
    classified(`rows, ${target}`, { target }),
    classified(`class weights, ${target}`, { target, options: { classWeights } }),
    classified(`smoothed labels, ${target}`, { target, options: smoothing }),
    classified(`both, ${target}`, { target, options: { ...smoothing, classWeights } }),
    // e^500 is infinite.
    classified(`large logits, ${target}`, { target, z: floats([5, 3], 1, 500) }),
    classified(`no label at all, ${target}`, { target, labels: ints([7, 7, 7, 7, 7]), options: { ignoreIndex: 7 } }),
  ]),
  classified('an unknown number of classes', { shape: [null, null], options: smoothing }),
  classified('text of an unknown number of classes', {
    z: text,
    labels: tokens,
    classAxis: -1,
    shape: [null, null, null],
  }),
  classified('text', { z: text, labels: tokens, classAxis: -1 }),
  classified('classes between', {
    z: image,
    labels: places,
    classAxis: 1,
    sum: (v) => {
      const at = (n: number, s: number): number[] => [0, 1, 2].map((c) => v[(n * 3 + c) * 2 + s] ?? 0);
      return crossEntropy([at(0, 0), at(0, 1), at(1, 0), at(1, 1)], places.values, {});
    },
  }),
  classified('causal', {
    kind: 'causal-lm',
    z: text,
    labels: tokens,
    classAxis: -1,
    sum: (v) => crossEntropy(rowsOf(v, 3), [2, 1, -100, -100, 1, 0, 2, -100], {}),
  }),
  pointwise('mse', mse),
  pointwise('mse', mse, { is: 'mse of unknown lengths', shape: [null, 4] }),
  pointwise('mse', mse, { is: 'mse of nothing', z: floats([0, 4]), labels: floats([0, 4]) }),
  pointwise('l1', l1),
  pointwise('huber', huber),
  pointwise('bce', bce, { labels: shares }),
  pointwise('bce', bce, { is: 'bce of large logits', z: floats([3, 4], 200), labels: shares }),
  ...(
    [
      ['mse', mse],
      ['l1', l1],
      ['huber', huber],
      ['bce', bce],
    ] as const
  ).map(([kind, of]) =>
    pointwise(kind, of, {
      is: `${kind} of some elements`,
      labels: partly(kind === 'bce' ? shares : floats([3, 4], 1.5)),
      options: { partly: true },
    }),
  ),
  ...(['float32', 'float16'] as const).map(
    (type): Case => ({
      is: `output, ${type}`,
      kind: 'output',
      z: { type, dims: [1], values: [3] },
      sum: ([x = 0]) => [x, 1],
    }),
  ),
];

describe('losses', () => {
  it.each(cases.map((c) => [c.is, c] as const))('%s', async (_, c) => {
    const graph = new Graph('loss');
    const g = createBuilder(inferNode, graph.inputs);
    const tensor = new Value('z', tensorType(c.z.type, c.shape ?? c.z.dims));
    graph.inputs.push(tensor);
    const choice = { kind: c.kind, output: tensor, tensor, classAxis: c.classAxis ?? 1, reason: '' };
    const options = { ignoreIndex: -100, labelSmoothing: 0, classWeights: undefined, ...c.options };
    const made = attachLoss(g, choice, options, 'labels', c.target ?? 'portable');
    if (made.labels !== undefined) graph.inputs.push(made.labels);
    const outputs = [made.loss, made.weight, made.seed[1]].map((v) => g.Identity(v));
    graph.outputs.push(...outputs);
    graph.adopt();
    const running = await session(modelOf(graph, 18));
    const feeds = { z: ortTensor(c.z), ...(c.labels === undefined ? {} : { labels: ortTensor(c.labels) }) };
    const got = await running.run(feeds);
    await running.release();
    expect(outputs.slice(0, 2).map((v) => got[v.name]?.dims)).toEqual([[], []]);
    const [loss = [], weight = [], gradient = []] = outputs.map((v) => {
      const t = got[v.name];
      return t === undefined ? [] : numbers(t);
    });
    const mean = (z: readonly number[]): number => {
      const [sum, by] = c.sum(z);
      return by === 0 ? 0 : sum / by;
    };
    expect(weight).toEqual([c.sum(c.z.values)[1]]);
    // Sums of a few float32 numbers.
    expect(loss).toHaveLength(1);
    expect(Math.abs((loss[0] ?? Number.NaN) - mean(c.z.values))).toBeLessThanOrEqual(2e-6 * (1 + mean(c.z.values)));
    const h = 1e-5;
    const slope = (i: number): number => {
      const moved = (by: number): number[] => c.z.values.with(i, (c.z.values[i] ?? 0) + by);
      return (mean(moved(h)) - mean(moved(-h))) / (2 * h);
    };
    expect(gradient).toHaveLength(c.z.values.length);
    // Rounding of float64 over the step where a loss is 500: 1e-8; of float32: 1e-7 of slopes up to 4.
    for (const [i, d] of gradient.entries()) expect(Math.abs(d - slope(i)), `element ${i}`).toBeLessThan(2e-6);
  });

  it('external takes the gradient of the output, and leaves the output as it is', () => {
    const g = createBuilder(inferNode, []);
    const tensor = new Value('z', tensorType('float32', [2, 3]));
    const choice = { kind: 'external', output: tensor, tensor, classAxis: 1, reason: '' } as const;
    const options = { ignoreIndex: -100, labelSmoothing: 0, classWeights: undefined };
    const made = attachLoss(g, choice, options, 'd_z');
    expect(made.loss).toBe(tensor);
    expect(made.seed).toEqual([tensor, made.labels]);
    expect(made.labels).toMatchObject({ name: 'd_z', dtype: 'float32', shape: [2, 3] });
    expect(made.weight.tensor?.dims).toEqual([]);
    expect(g.float(1)).toBe(made.weight);
  });
});

describe('class weights', () => {
  it.each([[[1, -1]], [[1, Number.NaN]], [[Number.POSITIVE_INFINITY]], [[]]])(
    '%j are refused as an option',
    (weights) => {
      expect(() => resolveOptions({ classWeights: weights })).toThrow(
        expect.toSatisfy(coded('BAD_OPTION', 'classWeights')),
      );
    },
  );

  const attached = (kind: LossKind, weights: readonly number[]): unknown => {
    const tensor = new Value('z', tensorType('float32', [4, 3]));
    const choice = { kind, output: tensor, tensor, classAxis: 1, reason: '' };
    const options = { ignoreIndex: -100, labelSmoothing: 0, classWeights: weights };
    return attachLoss(createBuilder(inferNode, []), choice, options, 'labels');
  };

  it.each(['cross-entropy', 'focal'] as const)('that are all 0 are refused with %s', (kind) => {
    const refused = coded('BAD_LOSS', 'all class weights of "z" are 0');
    expect(() => attached(kind, [0, 0, 0])).toThrow(expect.toSatisfy(refused));
    expect(attached(kind, [0, 0, 1])).toHaveProperty('loss');
  });
});
