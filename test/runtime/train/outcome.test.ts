import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { lossKinds } from '../../../src/graph/choices/losses.ts';
import { metricNames, metrics, metricsOf } from '../../../src/graph/choices/metrics.ts';
import type { Progress } from '../../../src/runtime/runFolder/checkpoint.ts';
import { alarms } from '../../../src/runtime/train/alarms.ts';
import { afterEvaluation, checkedMetric, isImproved, judged } from '../../../src/runtime/train/outcome.ts';
import { coded } from '../../support/coded.ts';
import { tinyManifest } from '../../support/tinyManifest.ts';

const begun: Progress = { step: 0, epoch: 0, waited: 0, run: 'x' };
const evaluation = (loss: number, accuracy: number) => ({ loss, accuracy, weight: 100, examples: 100 });

/** The progress after evaluations at steps 0, 1, 2 ... */
function progressAfter(
  metric: 'loss' | 'accuracy',
  ...all: readonly (readonly [loss: number, accuracy: number])[]
): Progress {
  return all.reduce(
    (progress, [loss, right], step) => afterEvaluation(progress, judged(step, evaluation(loss, right)), metric),
    begun,
  );
}

describe('the best evaluation', () => {
  it('is that before the first step if no other beats it', () => {
    const progress = progressAfter('loss', [1, 0.5], [2, 0.6], [1, 0.7]);
    expect(progress).toMatchObject({ best: { step: 0 }, trained: { step: 2 }, end: { step: 2 }, waited: 2 });
    expect(isImproved(progress, 'loss')).toBe(false);
  });

  it('follows the metric', () => {
    const progress = progressAfter('accuracy', [1, 0.5], [2, 0.6], [3, 0.6]);
    expect(progress).toMatchObject({ best: { step: 1, metrics: { loss: 2, accuracy: 0.6 } }, waited: 1 });
    expect(isImproved(progress, 'accuracy')).toBe(true);
  });

  it('is none with a loss that is not finite', () => {
    const progress = progressAfter('loss', [Number.NaN, 0.5], [Number.NaN, 0.6]);
    expect(progress.best).toBeUndefined();
    expect(isImproved(progress, 'loss')).toBe(false);
    expect(progressAfter('loss', [Number.NaN, 0.5], [3, 0.1]).best?.step).toBe(1);
  });

  it('is not compared without evaluations', () => {
    expect(isImproved(begun, 'loss')).toBeNull();
    expect(isImproved(progressAfter('loss', [1, 0.5]), 'loss')).toBeNull();
  });
});

describe('metrics', () => {
  it('of every loss are in the table', () => {
    for (const kind of lossKinds) for (const name of metricsOf(kind)) expect(metricNames).toContain(name);
    expect(metrics.f1.better).toBe('higher');
  });

  it('that a loss does not have are refused', () => {
    expect(checkedMetric(tinyManifest())).toBe('loss');
    expect(checkedMetric(tinyManifest(), 'r2')).toBe('r2');
    expect(() => checkedMetric(tinyManifest(), 'accuracy')).toThrow(
      expect.toSatisfy(coded('BAD_OPTION', 'accuracy', 'mse')),
    );
  });
});

describe('alarms', () => {
  const step = (loss: number, gradNorm = 1) => ({
    step: 1,
    epoch: 0,
    lr: 1,
    examples: 8,
    examplesPerSecond: 1,
    loss,
    gradNorm,
  });
  const classifier = {
    ...tinyManifest(),
    loss: {
      kind: 'cross-entropy',
      output: 'y',
      tensor: 'y',
      chosen: '',
      ignoreIndex: -100,
      labelSmoothing: 0,
      classes: 10,
    },
  } as const;

  it('are given once for a loss that grows tenfold', () => {
    const signs = alarms(tinyManifest());
    const told = [1, 1, 1, 1, 1, 5, 20, 60, 200, 900].flatMap((loss) => signs.step(step(loss)));
    expect(told).toEqual([expect.stringMatching(/^the loss has grown from 1\.00 to .*learning rate is too high$/)]);
    signs.evaluation(0, evaluation(1, 0.5));
    expect(signs.evaluation(3, evaluation(50, 0.5))).toEqual([]);
    const fresh = alarms(tinyManifest());
    fresh.evaluation(0, evaluation(1, 0.5));
    expect(fresh.evaluation(3, evaluation(50, 0.5))).toHaveLength(1);
  });

  it('are not given for single batches with a high loss', () => {
    const signs = alarms(tinyManifest());
    expect([0.1, 2, 0.3, 4, 0.01, 3, 0.1, 9, 0.2, 1].flatMap((loss) => signs.step(step(loss)))).toEqual([]);
  });

  it('are given for gradients that stay 0', () => {
    const signs = alarms(tinyManifest());
    const told = [0, 0, 1, 0, 0, 0, 0, 0, 0].flatMap((norm) => signs.step(step(1, norm)));
    expect(told).toEqual([expect.stringMatching(/gradient was 0 in 5 steps/)]);
  });

  it('are given for an accuracy far below chance before the first step', () => {
    const told = (accuracy: number, at = 0, manifest: Parameters<typeof alarms>[0] = classifier) =>
      alarms(manifest).evaluation(at, { loss: 1, accuracy, weight: 400, examples: 400 });
    expect(told(0.005)).toEqual([expect.stringMatching(/0\.5 %.*10\.0 %.*shifted by one/)]);
    expect(told(0.05)).toEqual([]);
    expect(told(0.9)).toEqual([]);
    expect(told(0.005, 3)).toEqual([]);
    expect(told(0, 0, tinyManifest())).toEqual([]);
    // Ten rows may all be wrong by chance.
    expect(alarms(classifier).evaluation(0, { loss: 1, accuracy: 0, weight: 10, examples: 10 })).toEqual([]);
  });
});

it('the table of the guide has the metrics of every loss', () => {
  const page = readFileSync('docs/guide/train.md', 'utf8');
  for (const kind of lossKinds)
    for (const name of metricsOf(kind)) if (name !== 'loss') expect(page).toContain(`\`${name}\``);
});
