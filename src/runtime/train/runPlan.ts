/**
 * Runs a training plan; prepares the next batch while the current step runs; can batch several steps into one ORT call.
 */

import { badPackage, nonFinite } from '../../errors.ts';
import { type Manifest, reportsLoss } from '../../formats/manifest.ts';
import { lossWeight, signature, stacked } from '../batches/feeds.ts';
import { type BatchOptions, batch, type Dataset } from '../data/index.ts';
import { weightedMean } from '../evaluate/metrics.ts';
import type { Engine } from '../worker/engine.ts';
import type { Feeds, RunResult, StepResult } from '../worker/protocol.ts';
import type { Plan, StepPlan } from './plan.ts';

/** One optimizer step that was taken. */
export interface Step {
  /** The number of the step, from 1. */
  readonly step: number;
  /** Epochs done after this step, as a fraction. */
  readonly epoch: number;
  /** Mean over the elements of all its batches; NaN if the caller computes the loss (`external`). */
  readonly loss: number;
  readonly lr: number;
  /** Global L2 norm of the gradient before clipping. */
  readonly gradNorm: number;
  /** The scale of the gradient in this step, in packages of float16 models. */
  readonly lossScale?: number;
  /** The gradient was not finite: the parameters are unchanged, the loss scale is halved. */
  readonly skipped?: boolean;
  /** The number of rows of this step. */
  readonly examples: number;
  readonly examplesPerSecond: number;
}

export interface RunPlanOptions {
  /** Steps done before. */
  readonly from: number;
  /** The graph that takes the steps; no other such graph is opened in addition. */
  readonly graph: StepGraph;
  /** Optimizer steps in one run of the Scan graph. */
  readonly stepsPerRun: number;
  readonly batch: BatchOptions;
  /** Whether the caller needs the state after this number of steps: no run passes it. */
  readonly boundary: (done: number) => boolean;
}

/**
 * The steps of a plan, in groups that ran at once; between two groups the engine's state is that after the last step
 * yielded. Errors: NON_FINITE, with the state from before the step in question; BAD_PACKAGE if the package lacks the
 * graphs; those of reading the data and of the engine.
 */
export async function* runPlan(
  engine: Engine,
  plan: Plan,
  dataset: Dataset,
  options: RunPlanOptions,
): AsyncGenerator<readonly Step[]> {
  const vehicle: Vehicle = vehicles[options.graph];
  const prepare = (step: number, most: number): Group => prepareGroup(engine, plan, dataset, options, step, most);
  const most = vehicle === 'scan' ? options.stepsPerRun : 1;
  let ahead: Group | undefined;
  for (let done = options.from; done < plan.totalSteps; ) {
    const started = performance.now();
    const group = ahead ?? prepare(done, most);
    ahead = undefined;
    const running = execute(engine, group, vehicle);
    let failure: { readonly error: unknown } | undefined;
    const next = done + group.steps.length;
    try {
      if (next < plan.totalSteps) ahead = prepare(next, most);
    } catch (error) {
      failure = { error };
    }
    const outcome = await running;
    if (!outcome.finite) {
      const bad = outcome.steps.findIndex(
        ({ loss, gradNorm, skipped }) =>
          isBad(loss, engine.manifest) || (!Number.isFinite(gradNorm) && skipped !== true),
      );
      if (bad > 0) {
        // The whole run was discarded; the steps before the failed one are repeated.
        const good = prepare(done, bad);
        yield report(plan, good, done, await execute(engine, good, vehicle), performance.now() - started);
      }
      const step = outcome.steps[Math.max(bad, 0)];
      throw notFinite(done + Math.max(bad, 0) + 1, step, group.steps[Math.max(bad, 0)]?.plan.lr, engine.manifest);
    }
    yield report(plan, group, done, outcome, performance.now() - started);
    if (failure !== undefined) throw failure.error;
    done = next;
  }
}

/** A graph that reads the batches of a training run. */
export type StepGraph = 'train' | 'train_k' | 'grad';

type Vehicle = 'step' | 'halves' | 'scan';

/**
 * The graph that reads the batches of a run with these options: the requested one, else one that the package has.
 * Errors: BAD_PACKAGE if it has none.
 */
export function graphOf({ graphs }: Manifest, gradAccum: number, stepsPerRun: number): StepGraph {
  if (graphs.train_k !== undefined && stepsPerRun > 1) return 'train_k';
  if (graphs.train !== undefined && gradAccum === 1) return 'train';
  if (graphs.grad !== undefined && graphs.update !== undefined) return 'grad';
  if (graphs.train_k !== undefined) return 'train_k';
  throw badPackage('the package lacks the graphs for this training run; compile with --emit all');
}

const vehicles = { train: 'step', train_k: 'scan', grad: 'halves' } as const;

interface Prepared {
  readonly plan: StepPlan;
  /** One per batch of the plan. */
  readonly feeds: readonly Feeds[];
  readonly weights: readonly number[];
}

interface Group {
  readonly steps: readonly Prepared[];
}

/** Up to `most` steps from `step` whose batches have equal shapes, without passing a boundary. */
function prepareGroup(
  { manifest }: Engine,
  plan: Plan,
  dataset: Dataset,
  { batch: batchOptions, boundary }: RunPlanOptions,
  step: number,
  most: number,
): Group {
  const steps: Prepared[] = [];
  let shape: string | undefined;
  while (steps.length < most && step + steps.length < plan.totalSteps) {
    const at = plan.at(step + steps.length);
    const feeds = at.batches.map(({ rows }) => batch(dataset, rows, batchOptions));
    const shapes = feeds.map(signature);
    shape ??= shapes[0];
    if (steps.length > 0 && shapes.some((s) => s !== shape)) break;
    steps.push({ plan: at, feeds, weights: feeds.map((f) => lossWeight(manifest, f)) });
    if (shapes.some((s) => s !== shape) || boundary(step + steps.length)) break;
  }
  return { steps };
}

/** Executes a group; one result per step. */
async function execute(engine: Engine, group: Group, vehicle: Vehicle): Promise<RunResult> {
  const [only] = group.steps;
  if (vehicle === 'scan') {
    const all = group.steps.flatMap((s) => s.feeds);
    const [first] = all;
    if (first !== undefined && all.every((feeds) => signature(feeds) === signature(first)))
      return scan(engine, group, all);
    // Batches of one step that differ in shape cannot be stacked.
    return halves(engine, only);
  }
  return vehicle === 'step' ? single(engine, only) : halves(engine, only);
}

async function single(engine: Engine, prepared: Prepared | undefined): Promise<RunResult> {
  const feeds = prepared?.feeds[0];
  if (prepared === undefined || feeds === undefined || prepared.feeds.length > 1) return halves(engine, prepared);
  return engine.step(feeds, { lr: prepared.plan.lr, seed: prepared.plan.batches[0]?.seed ?? 0 });
}

async function halves(engine: Engine, prepared: Prepared | undefined): Promise<RunResult> {
  if (prepared === undefined) return { steps: [], finite: true };
  const losses: number[] = [];
  const weights: number[] = [];
  for (const [i, feeds] of prepared.feeds.entries()) {
    const { loss, weight } = await engine.gather(feeds, prepared.plan.batches[i]?.seed ?? 0, i === 0);
    if (isBad(loss, engine.manifest)) return { steps: [{ loss, gradNorm: Number.NaN }], finite: false };
    losses.push(loss);
    weights.push(weight);
  }
  const { steps, finite } = await engine.update(prepared.plan.lr);
  return { steps: steps.map((s) => ({ ...s, loss: combined(losses, weights) })), finite };
}

async function scan(engine: Engine, { steps }: Group, feeds: readonly Feeds[]): Promise<RunResult> {
  const apply = steps.flatMap((s) => s.feeds.map((_, i) => i === s.feeds.length - 1));
  const settings = steps.flatMap((s) => s.plan.batches.map(({ seed }) => ({ lr: s.plan.lr, seed })));
  const outcome = await engine.steps(stacked(feeds), settings, apply);
  let at = 0;
  const merged = steps.map(({ weights }): StepResult => {
    const micro = outcome.steps.slice(at, at + weights.length);
    at += weights.length;
    const losses = micro.map((m) => m.loss);
    const worst = micro.find((m) => !Number.isFinite(m.gradNorm));
    return {
      ...micro.at(-1),
      loss: combined(losses, weights),
      gradNorm: (worst ?? micro.at(-1))?.gradNorm ?? Number.NaN,
    };
  });
  return { steps: merged, finite: outcome.finite };
}

/** The mean over the elements of several batches. If all labels are ignored it is 0, as in the graphs. */
function combined(losses: readonly number[], weights: readonly number[]): number {
  const [only] = losses;
  if (losses.length === 1 && only !== undefined) return only;
  const mean = weightedMean();
  for (const [i, loss] of losses.entries()) mean.add(loss, weights[i] ?? 0);
  return mean.weight === 0 ? 0 : mean.value;
}

const isBad = (loss: number, { loss: chosen }: Manifest): boolean => reportsLoss(chosen) && !Number.isFinite(loss);

function report(plan: Plan, group: Group, done: number, outcome: RunResult, milliseconds: number): Step[] {
  const rows = (p: Prepared): number => p.plan.batches.reduce((n, b) => n + b.rows.length, 0);
  const all = group.steps.reduce((n, p) => n + rows(p), 0);
  return group.steps.map((prepared, i) => ({
    ...(outcome.steps[i] ?? { loss: Number.NaN, gradNorm: Number.NaN }),
    step: done + i + 1,
    epoch: (done + i + 1) / plan.stepsPerEpoch,
    lr: prepared.plan.lr,
    examples: rows(prepared),
    examplesPerSecond: all / (milliseconds / 1000),
  }));
}

function notFinite(step: number, result: StepResult | undefined, lr: number | undefined, manifest: Manifest): Error {
  const lossBad = result !== undefined && isBad(result.loss, manifest);
  const [what, value] = lossBad ? ['loss', result.loss] : ['gradient norm', result?.gradNorm];
  const scaled = lossBad || result?.lossScale === undefined ? '' : `, loss scale ${result.lossScale}`;
  return nonFinite(
    `the ${what} is ${value} at step ${step} (learning rate ${lr}${scaled}); the state before that step is kept`,
  );
}
