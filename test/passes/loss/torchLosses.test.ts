/** Losses and their gradients against PyTorch's (fixtures/losses/make.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createBuilder } from '../../../src/graph/builder.ts';
import { Graph, tensorType, Value } from '../../../src/graph/model.ts';
import { attachLoss } from '../../../src/passes/loss/attachLoss.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { modelOf, numbers, ortTensor, session } from '../../support/gradients/harness.ts';

const numberList = z.array(z.number());
const casesOf = z.array(
  z.object({
    is: z.string(),
    kind: z.enum(['focal', 'sigmoid-focal', 'bce', 'cross-entropy']),
    form: z.enum(['logits', 'probabilities', 'log-probabilities']).default('logits'),
    dims: numberList,
    z: numberList,
    labels: z.object({ dims: numberList, values: numberList }),
    params: z.object({ gamma: z.number().optional(), focalAlpha: z.number().optional() }),
    ignoreIndex: z.number().default(-100),
    labelSmoothing: z.number().default(0),
    classWeights: numberList.optional(),
    loss: z.number(),
    weight: z.number(),
    gradient: numberList,
  }),
);
const folder = join(import.meta.dirname, '../../../fixtures/losses');
const cases = ['focal.json', 'weighted.json'].flatMap((file) =>
  casesOf.parse(JSON.parse(readFileSync(join(folder, file), 'utf8'))),
);

describe.each(['portable', 'cpu'] as const)('losses for %s', (target) => {
  it.each(cases.map((c) => [c.is, c] as const))('%s', async (_, c) => {
    const graph = new Graph('loss');
    const g = createBuilder(inferNode, graph.inputs);
    const tensor = new Value('z', tensorType('float32', c.dims));
    graph.inputs.push(tensor);
    const choice = { kind: c.kind, output: tensor, tensor, classAxis: 1, reason: '', form: c.form };
    const { ignoreIndex, labelSmoothing, classWeights, params } = c;
    const made = attachLoss(g, choice, { ignoreIndex, labelSmoothing, classWeights, params }, 'labels', target);
    if (made.labels !== undefined) graph.inputs.push(made.labels);
    const outputs = [made.loss, made.weight, made.seed[1]].map((v) => g.Identity(v));
    graph.outputs.push(...outputs);
    graph.adopt();
    const running = await session(modelOf(graph, 18));
    const got = await running.run({
      z: ortTensor({ type: 'float32', dims: c.dims, values: c.z }),
      labels: ortTensor({ type: ['focal', 'cross-entropy'].includes(c.kind) ? 'int64' : 'float32', ...c.labels }),
    });
    await running.release();
    const [loss = [], weight = [], gradient = []] = outputs.map((v) => {
      const t = got[v.name];
      return t === undefined ? [] : numbers(t);
    });
    expect(weight).toEqual([c.weight]);
    expect(Math.abs((loss[0] ?? Number.NaN) - c.loss)).toBeLessThanOrEqual(2e-6 * (1 + Math.abs(c.loss)));
    expect(gradient).toHaveLength(c.gradient.length);
    for (const [i, d] of c.gradient.entries())
      expect(Math.abs((gradient[i] ?? Number.NaN) - d), `element ${i}`).toBeLessThanOrEqual(2e-6 * (1 + Math.abs(d)));
  });
});
