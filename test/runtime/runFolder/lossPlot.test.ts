/** loss.svg: what is in it, read back from the paths; its size; runs that are cut. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type TrainEvent, type TrainOptions, type TrainResult, train } from '../../../src/index.ts';
import { type Curve, emptyCurve, smoothed } from '../../../src/runtime/runFolder/curve.ts';
import { lossSvg, openPlot } from '../../../src/runtime/runFolder/lossPlot.ts';
import { compileDigits, digits, writeJsonl } from '../../support/digits.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const at = (...parts: readonly string[]): string => join(folder, ...parts);

type Point = readonly [x: number, y: number];

/** The points of the one path in a group of marks. */
function pathOf(svg: string, name: string): Point[] {
  const d = new RegExp(`role-mark ${name}"[^>]*><path d="M([^"]*?)Z?"`).exec(svg)?.[1];
  if (d === undefined) throw new Error(`no ${name}`);
  return d.split('L').map((pair): Point => {
    const [x = Number.NaN, y = Number.NaN] = pair.split(',').map(Number);
    return [x, y];
  });
}
const labels = (svg: string, what: string): string[] =>
  [...svg.matchAll(/aria-label="([^"]*)"/g)].map((m) => m[1] ?? '').filter((l) => l.startsWith(`${what} at step`));

/** How far points are from the straight line through the first and the last value: a thousandth of a pixel is what is printed. */
function bent(pixels: readonly number[], values: readonly number[]): number {
  const [p, v] = [pixels, values].map((a) => [a[0] ?? Number.NaN, a.at(-1) ?? Number.NaN] as const);
  if (p === undefined || v === undefined) throw new Error('no points');
  const slope = (p[1] - p[0]) / (v[1] - v[0]);
  return Math.max(...pixels.map((x, i) => Math.abs(x - p[0] - slope * ((values[i] ?? Number.NaN) - v[0]))));
}

async function drawn(curve: Curve): Promise<string> {
  const svg = await lossSvg(curve, 'a run');
  if (svg === undefined) throw new Error('nothing drawn');
  // Well-formed: every element is closed.
  const open: string[] = [];
  for (const [, close, name = '', alone] of svg.matchAll(/<(\/?)([a-zA-Z]+)[^>]*?(\/?)>/g)) {
    if (close === '/') expect(open.pop()).toBe(name);
    else if (alone !== '/') open.push(name);
  }
  expect(open).toEqual([]);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  return svg;
}

function falling(steps: number, loss: (step: number) => number): Curve {
  const curve = emptyCurve();
  for (let step = 1; step <= steps; step++) curve.add({ step, loss: loss(step), lr: 1e-4 * (1 - step / steps) });
  return curve;
}

describe('a plot', () => {
  it('has every step of a short run, the evaluations and the learning rates', async () => {
    const curve = emptyCurve();
    const losses = Array.from({ length: 20 }, (_, i) => 2 / (i + 1) + (i % 3) / 10);
    const evaluations = new Map([
      [0, 2.5],
      [10, 0.7],
      [20, 0.9],
    ]);
    curve.add({ step: 0, eval_loss: 2.5 });
    for (const [i, loss] of losses.entries()) {
      curve.add({ step: i + 1, loss, lr: (20 - i) * 1e-4 });
      if (i === 9 || i === 19) curve.add({ step: i + 1, eval_loss: evaluations.get(i + 1) });
    }
    const svg = await drawn(curve);
    const train = pathOf(svg, 'line_losses');
    expect(train).toHaveLength(20);
    expect(
      bent(
        train.map(([x]) => x),
        losses.map((_, i) => i),
      ),
    ).toBeLessThan(2e-3);
    expect(
      bent(
        train.map(([, y]) => y),
        losses,
      ),
    ).toBeLessThan(2e-3);
    expect(labels(svg, 'training')).toEqual(losses.map((loss, i) => `training at step ${i + 1}: ${loss}`));
    // On the same axes as the losses.
    const both = [...train, ...pathOf(svg, 'line_evaluations')].map(([, y]) => y);
    expect(bent(both, [...losses, ...evaluations.values()])).toBeLessThan(2e-3);
    expect(labels(svg, 'evaluation')).toEqual([...evaluations].map(([s, loss]) => `evaluation at step ${s}: ${loss}`));
    expect(svg).toContain('aria-label="best evaluation, step 10"');
    const rates = pathOf(svg, 'line_rates').map(([, y]) => y);
    expect(
      bent(
        rates,
        losses.map((_, i) => 20 - i),
      ),
    ).toBeLessThan(2e-3);
  });

  it('has a smoothed line over the steps of a longer one, which does not lag behind', async () => {
    const curve = falling(400, (step) => 3 - step / 200 + (step % 2 === 0 ? 0.2 : -0.2));
    const svg = await drawn(curve);
    expect(pathOf(svg, 'line_losses')).toHaveLength(400);
    expect(pathOf(svg, 'line_smoothed')).toHaveLength(400);
    for (const { step, value } of smoothed(curve.losses).slice(20, -20))
      expect(Math.abs(value - (3 - step / 200))).toBeLessThan(0.005);
  });

  it('is of bounded size however long the run, and loses no step', async () => {
    const loss = (step: number): number => (step === 70_001 ? 9 : step % 7);
    const curve = falling(100_000, loss);
    const { points, width } = curve.losses;
    expect(width).toBe(256);
    expect(points.length).toBe(Math.ceil(100_000 / 256));
    expect(points.reduce((n, p) => n + p.count, 0)).toBe(100_000);
    const mean = points.reduce((n, p) => n + (p.mean * p.count) / 100_000, 0);
    const all = Array.from({ length: 100_000 }, (_, i) => loss(i + 1)).reduce((n, x) => n + x / 100_000, 0);
    // Sums of 100,000 numbers in float64, in two orders.
    expect(mean).toBeCloseTo(all, 9);
    expect(Math.max(...points.map((p) => p.high))).toBe(9);
    const svg = await drawn(curve);
    expect(pathOf(svg, 'band')).toHaveLength(2 * points.length);
    expect(svg.length).toBeLessThan(80_000);
  });

  it('does not go flat for a few wild steps, and says how far they go', async () => {
    const svg = await drawn(falling(200, (step) => (step % 50 === 7 ? 1000 : 2 - step / 200)));
    const ys = pathOf(svg, 'line_smoothed').map(([, y]) => y);
    // The smoothed line takes the wild steps in, and is in sight.
    expect(Math.min(...ys)).toBeGreaterThanOrEqual(0);
    expect(svg).toContain('highest 1000');
    expect(Number(/Y-axis titled 'loss' for a \w+ scale with values from \S+ to (\d+)/.exec(svg)?.[1])).toBeLessThan(
      500,
    );
  });

  it('takes a logarithmic scale for losses over decades', async () => {
    const losses = Array.from({ length: 30 }, (_, i) => 1000 * 10 ** (-i / 6));
    const svg = await drawn(falling(30, (step) => losses[step - 1] ?? 0));
    expect(
      bent(
        pathOf(svg, 'line_losses').map(([, y]) => y),
        losses.map(Math.log),
      ),
    ).toBeLessThan(2e-3);
    expect(svg).toContain('for a log scale');
  });

  it.each([
    ['one step', [{ step: 1, loss: 2, lr: 0 }]],
    ['equal losses', [1, 2, 3].map((step) => ({ step, loss: 0, lr: 1 }))],
    ['negative losses', [1, 2, 3].map((step) => ({ step, loss: -step, lr: 1 }))],
    ['steps without a finite loss', [1, 2, 3].map((step) => ({ step, loss: step === 2 ? null : 1, lr: 1 }))],
  ])('is drawn for %s', async (_, lines) => {
    const curve = emptyCurve();
    for (const line of lines) curve.add(line);
    await drawn(curve);
  });

  it('is not drawn without losses', async () => {
    const curve = emptyCurve();
    curve.add({ step: 1, loss: Number.NaN, lr: 1 });
    curve.add({ step: 1, eval_loss: 1 });
    expect(await lossSvg(curve, 'external')).toBeUndefined();
  });

  it('that cannot be written says why and ends nothing', async () => {
    const plot = openPlot(at('nowhere'), 'a run');
    plot.add({ step: 1, loss: 1, lr: 1 });
    expect(await plot.draw(true)).toMatch(/^loss\.svg is not written: .*nowhere/);
  });

  it('loads Vega when it is drawn, not before', () => {
    const text = readFileSync(join(import.meta.dirname, '../../../src/runtime/runFolder/lossPlot.ts'), 'utf8');
    expect(text.match(/.*'vega'.*/g)?.map((l) => l.trim().split(' ')[1])).toEqual(['type', '{']);
    expect(text).toContain("await import('vega')");
  });
});

describe('runs', () => {
  let dir = '';
  let [data, evalData] = ['', ''];
  beforeAll(async () => {
    dir = await compileDigits(folder, { emit: ['train', 'eval'] });
    data = writeJsonl(at('train.jsonl'), digits(0, 64));
    evalData = writeJsonl(at('eval.jsonl'), digits(100, 20));
  });
  const run = (out: string, options: Partial<TrainOptions> = {}): Promise<TrainResult> =>
    train(dir, {
      data,
      evalData,
      evalEvery: 4,
      out: at(out),
      steps: 12,
      batchSize: 16,
      learningRate: 0.01,
      ...options,
    });
  const plot = (out: string): string => readFileSync(at(out, 'loss.svg'), 'utf8');

  it('leave a plot of their log', async () => {
    await run('whole/run');
    const lines = readFileSync(at('whole/run/log.jsonl'), 'utf8').trim().split('\n');
    const curve = emptyCurve();
    for (const line of lines) curve.add(JSON.parse(line));
    expect(plot('whole/run')).toBe(await lossSvg(curve, 'run: cross-entropy'));
    expect(labels(plot('whole/run'), 'training')).toHaveLength(12);
    expect(labels(plot('whole/run'), 'evaluation')).toHaveLength(4);
  });

  it('that are cut have one as well, and resumed that of a run that was not', async () => {
    const stop = new AbortController();
    const onEvent = (event: TrainEvent): void => {
      if (event.kind === 'step' && event.step.step === 5) stop.abort();
    };
    await run('cut/run', { signal: stop.signal, onEvent });
    expect(labels(plot('cut/run'), 'training')).toHaveLength(5);
    await run('cut/run', { resume: true });
    expect(plot('cut/run')).toBe(plot('whole/run'));
    // Lost with nothing left to do.
    rmSync(at('cut/run/loss.svg'));
    await run('cut/run', { resume: true });
    expect(plot('cut/run')).toBe(plot('whole/run'));
  });

  it('do not end for a plot that cannot be written', async () => {
    const notices: string[] = [];
    const onEvent = (event: TrainEvent): void => {
      if (event.kind === 'notice') notices.push(event.text);
      // A file cannot replace a folder.
      if (event.kind === 'start') mkdirSync(at('blocked/loss.svg'));
    };
    const { stopped } = await run('blocked', { steps: 2, onEvent });
    expect(stopped).toBe('done');
    expect(notices).toEqual([expect.stringMatching(/^loss\.svg is not written: /)]);
    expect(existsSync(at('blocked/adapter'))).toBe(true);
  });
});
