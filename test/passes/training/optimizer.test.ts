/** A step of each optimizer against the formulas of torch.optim written out in float64. */
import { expect, it } from 'vitest';
import { createBuilder } from '../../../src/graph/builder.ts';
import { Graph, tensorType, Value } from '../../../src/graph/model.ts';
import { lossScaling } from '../../../src/passes/loss/lossScale.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { type OptimizerOptions, optimizerStep } from '../../../src/passes/training/optimizer.ts';
import { type Data, modelOf, normal, numbers, ortTensor, random, session } from '../../support/gradients/harness.ts';

const next = random(21);
const vector = (scale: number, positive = false): number[] =>
  Array.from({ length: 6 }, () => {
    const x = Math.fround(scale * normal(next, 0, 1));
    return positive ? Math.abs(x) : x;
  });

interface Before {
  readonly grad: readonly number[];
  readonly params: readonly number[];
  readonly m: readonly number[];
  readonly v: readonly number[];
  readonly step: number;
}

/** torch.nn.utils.clip_grad_norm_, then torch.optim.AdamW or SGD. */
function expected({ grad, params, m, v, step }: Before, lr: number, o: OptimizerOptions) {
  const norm = Math.hypot(...grad);
  const factor = o.maxGradNorm === 0 ? 1 : Math.min(1, o.maxGradNorm / (norm + 1e-6));
  const g = grad.map((x) => x * factor);
  const at = (list: readonly number[], i: number): number => list[i] ?? Number.NaN;
  if (o.kind === 'sgd') {
    const m1 = g.map((x, i) => o.momentum * at(m, i) + x + o.weightDecay * at(params, i));
    return { norm, m: m1, params: params.map((p, i) => p - lr * at(m1, i)) };
  }
  const [b1, b2] = o.betas;
  const t = step + 1;
  const m1 = m.map((x, i) => b1 * x + (1 - b1) * at(g, i));
  const v1 = v.map((x, i) => b2 * x + (1 - b2) * at(g, i) ** 2);
  const moved = m1.map((x, i) => x / (1 - b1 ** t) / (Math.sqrt(at(v1, i) / (1 - b2 ** t)) + o.eps));
  return { norm, m: m1, v: v1, params: params.map((p, i) => p * (1 - lr * o.weightDecay) - lr * at(moved, i)) };
}

const adamw = { kind: 'adamw', betas: [0.9, 0.99], eps: 0.1, weightDecay: 0.3, maxGradNorm: 0, momentum: 0 } as const;
const sgd = { ...adamw, kind: 'sgd', momentum: 0.8 } as const;
/** Moments of steps before, or none. */
const going = (scale = 1): Before => ({
  grad: vector(scale),
  params: vector(1),
  m: vector(0.5),
  v: vector(0.5, true),
  step: 6,
});
const zeros = new Array<number>(6).fill(0);
const first = (): Before => ({ ...going(), m: zeros, v: zeros, step: 0 });

const cases: readonly (readonly [is: string, options: OptimizerOptions, before: Before])[] = [
  ['adamw, first step', adamw, first()],
  ['adamw', adamw, going()],
  ['adamw without decay, a gradient that is clipped', { ...adamw, weightDecay: 0, maxGradNorm: 0.7 }, going()],
  ['adamw, a gradient below the limit', { ...adamw, maxGradNorm: 100 }, going()],
  [
    'adamw, a gradient next to the 1e-6 that is added',
    { ...adamw, eps: 1e-7, maxGradNorm: 1e-6 },
    { ...going(1e-6), m: zeros, v: zeros },
  ],
  ['adamw without a first moment', { ...adamw, betas: [0, 0.5] }, going()],
  ['sgd', sgd, going()],
  ['sgd without momentum and decay, clipped', { ...sgd, momentum: 0, weightDecay: 0, maxGradNorm: 0.7 }, going()],
];

/** The step's results by name; `scale`: with a loss scale. */
async function taken(before: Before, lr: number, options: OptimizerOptions, scale?: number) {
  const graph = new Graph('step');
  const g = createBuilder(inferNode, graph.inputs);
  const feeds: Record<string, Data> = {};
  const input = (name: string, values: readonly number[], dims: readonly number[]): Value => {
    const v = new Value(name, tensorType('float32', dims));
    graph.inputs.push(v);
    feeds[name] = { type: 'float32', dims, values };
    return v;
  };
  const [grad, params, m] = (['grad', 'params', 'm'] as const).map((name) => input(name, before[name], [6]));
  if (grad === undefined || params === undefined || m === undefined) throw new Error('no inputs');
  const state = {
    params,
    m,
    v: options.kind === 'adamw' ? input('v', before.v, [6]) : undefined,
    step: input('step', [before.step], []),
    lossScale: scale === undefined ? undefined : input('scale', [scale], []),
  };
  const { norm, next: after } = optimizerStep(g, grad, state, input('lr', [lr], []), options);
  const results = Object.entries({ norm, ...after }).flatMap(([name, v]) =>
    v === undefined ? [] : [[name, g.Identity(v)] as const],
  );
  graph.outputs.push(...results.map(([, v]) => v));
  graph.adopt();
  const running = await session(modelOf(graph, 18));
  const got = await running.run(Object.fromEntries(Object.entries(feeds).map(([name, d]) => [name, ortTensor(d)])));
  await running.release();
  return Object.fromEntries(
    results.map(([name, v]) => {
      const t = got[v.name];
      return [name, t === undefined ? [] : numbers(t)];
    }),
  );
}

it.each(cases)('%s', async (_, options, before) => {
  const lr = 0.05;
  const got = await taken(before, lr, options);
  const want = expected(before, lr, options);
  expect(got.step).toEqual([before.step + 1]);
  expect(Object.keys(got).sort()).toEqual([...Object.keys(want), 'step'].sort());
  for (const [name, value] of Object.entries(want)) {
    const list = [value].flat();
    const off = Math.hypot(...list.map((x, i) => x - (got[name]?.[i] ?? Number.NaN)));
    // A handful of roundings of float32.
    expect(off / Math.hypot(...list), name).toBeLessThan(1e-6);
  }
});

it('the loss scale halves for a step that is not taken, doubles after an interval, and has an end', async () => {
  const { growthInterval } = lossScaling;
  const before = { ...going(), step: growthInterval - 1 };
  expect((await taken(before, 0.05, adamw, 1024)).lossScale).toEqual([2048]);
  expect((await taken(before, 0.05, adamw, 2 ** 63)).lossScale).toEqual([2 ** 63]);
  expect((await taken({ ...before, step: growthInterval }, 0.05, adamw, 1024)).lossScale).toEqual([1024]);
  const lost = await taken({ ...before, grad: before.grad.with(2, Infinity) }, 0.05, adamw, 1024);
  expect(lost).toMatchObject({ lossScale: [512], step: [before.step] });
  expect(lost.params).toEqual([...before.params]);
});
