/** A package opened for training, evaluation and prediction. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { badOption } from '../errors.ts';
import { writeFileAtomic } from '../formats/files.ts';
import { type Manifest, readManifest } from '../formats/manifest.ts';
import type { AdapterFormat } from './checkpoint.ts';
import { openEngine } from './engine.ts';
import { type Evaluation, evaluate } from './evaluate.ts';
import { graphOf, runPlan, type Step } from './fit.ts';
import { type Plan, trainingPlan } from './plan.ts';
import { type Prediction, predict } from './predict.ts';
import type { TrainingState } from './protocol.ts';
import { chooseProvider } from './providers.ts';
import { type Data, openRows, type RowOptions, type Rows } from './rows.ts';
import type { ScheduleKind } from './schedule.ts';

export interface TrainerOptions {
  /** In order of preference; default cpu. */
  readonly executionProvider?: string | readonly string[] | undefined;
  /** Threads of one operator; default one per core. */
  readonly threads?: number | undefined;
  /** A PEFT directory to start from; default the package's own. */
  readonly adapter?: string | undefined;
}

export interface FitOptions extends RowOptions {
  /** Optimizer steps; wins over epochs. */
  readonly steps?: number | undefined;
  /** Default 1. */
  readonly epochs?: number | undefined;
  /** The peak. Default 1e-4. */
  readonly learningRate?: number | undefined;
  /** Default constant. */
  readonly schedule?: ScheduleKind | undefined;
  /** Below 1 a share of the steps, from 1 on their number. Default 0. */
  readonly warmup?: number | undefined;
  /** Default true: rows are shuffled in each epoch, from the seed. */
  readonly shuffle?: boolean | undefined;
  /** Default 0. */
  readonly seed?: number | undefined;
  /** Batches per optimizer step. Default 1. */
  readonly gradAccum?: number | undefined;
  /** Optimizer steps in one run of ONNX Runtime. Default 1 on the CPU, 8 elsewhere. */
  readonly stepsPerRun?: number | undefined;
  /** Steps of the plan that are done already: training goes on behind them. Default 0. */
  readonly from?: number | undefined;
  /** No run of several steps goes beyond a number of steps done for which this is true. */
  readonly boundary?: ((done: number) => boolean) | undefined;
}

/** A fit whose data is open and whose steps are laid out. */
export interface Fit {
  readonly plan: Plan;
  /** Steps in the groups in which they ran. Errors as Trainer.fit. */
  run(): AsyncGenerator<readonly Step[]>;
  close(): void;
}

/** Parameters, optimizer moments and step count live in a worker thread; `fit` moves them on. */
export interface Trainer {
  readonly manifest: Manifest;
  readonly directory: string;
  /** The execution provider in use. */
  readonly provider: string;
  /**
   * Trains, one item per optimizer step. Leaving the loop stops after the step at hand.
   * Errors: BAD_DATA, BAD_OPTION, NON_FINITE (the state stays as it was before that step), BAD_PACKAGE, RUNTIME_FAILED.
   */
  fit(data: Data, options?: FitOptions): AsyncGenerator<Step>;
  /** The same in two parts: everything that can be wrong with data and options is found before a step is taken. */
  prepareFit(data: Data, options?: FitOptions): Promise<Fit>;
  /** Loss and metrics of the parameters as they are now. Errors: BAD_DATA, BAD_OPTION, BAD_PACKAGE, RUNTIME_FAILED. */
  evaluate(data: Data, options?: RowOptions & { readonly onProgress?: (rows: number) => void }): Promise<Evaluation>;
  /** The model's outputs, row by row. Errors as evaluate. */
  predict(data: Data, options?: RowOptions & { readonly onProgress?: (rows: number) => void }): Promise<Prediction>;
  /** A copy of the state. */
  getState(): Promise<TrainingState>;
  setState(state: TrainingState): Promise<void>;
  /** Writes the parameters as a PEFT directory. Errors: WRITE_FAILED. */
  save(directory: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a package. Its graphs are loaded when they are first needed.
 * Errors: BAD_PACKAGE, BAD_ADAPTER, ADAPTER_MISMATCH, PROVIDER_MISSING, RUNTIME_FAILED.
 */
export async function openTrainer(
  directory: string,
  options: TrainerOptions,
  adapters: AdapterFormat,
): Promise<Trainer> {
  const manifest = readManifest(directory);
  const { threads } = options;
  if (threads !== undefined && !(Number.isSafeInteger(threads) && threads > 0)) {
    throw badOption(`the number of threads must be a positive integer, not ${threads}`);
  }
  const params = adapters.read(manifest, options.adapter ?? join(directory, 'adapter'));
  const provider = await chooseProvider([options.executionProvider ?? 'cpu'].flat());
  const engine = await openEngine(directory, manifest, { provider, threads });
  const { size, v } = manifest.state;
  const zeros = (): Float32Array => new Float32Array(size);
  await engine.setState({ params, m: zeros(), v: v === undefined ? undefined : zeros(), step: 0 });

  const prepareFit = async (data: Data, fit: FitOptions = {}): Promise<Fit> => {
    const stepsPerRun = fit.stepsPerRun ?? (provider === 'cpu' ? 1 : 8);
    if (!Number.isSafeInteger(stepsPerRun) || stepsPerRun < 1) {
      throw badOption(`the steps per run must be a positive integer, not ${stepsPerRun}`);
    }
    const { gradAccum = 1 } = fit;
    const rows = await openRows(engine, graphOf(manifest, gradAccum, stepsPerRun), data, fit);
    try {
      const plan = planOf(rows, fit);
      const { from = 0, boundary } = fit;
      const how = { from, gradAccum, stepsPerRun, batch: rows.batch, ...(boundary === undefined ? {} : { boundary }) };
      return { plan, run: () => runPlan(engine, plan, rows.dataset, how), close: rows.close };
    } catch (error) {
      rows.close();
      throw error;
    }
  };

  return {
    manifest,
    directory,
    provider,
    prepareFit,
    async *fit(data, fitOptions) {
      const fit = await prepareFit(data, fitOptions);
      try {
        for await (const group of fit.run()) yield* group;
      } finally {
        fit.close();
      }
    },
    async evaluate(data, how = {}) {
      const rows = await openRows(engine, 'eval', data, how);
      try {
        return await evaluate(engine, rows.dataset, { ...rows, onProgress: how.onProgress });
      } finally {
        rows.close();
      }
    },
    predict: (data, how = {}) => predict(engine, data, how),
    getState: engine.getState,
    setState: engine.setState,
    async save(target) {
      const { params: now } = await engine.getState();
      mkdirSync(target, { recursive: true });
      for (const { name, chunks } of adapters.files(manifest, now)) writeFileAtomic(join(target, name), chunks);
    },
    close: engine.close,
  };
}

function planOf({ dataset, batchSize, fixedBatch }: Rows, fit: FitOptions): Plan {
  return trainingPlan({
    rows: dataset.rows,
    batchSize,
    fixedBatch,
    steps: fit.steps,
    epochs: fit.epochs,
    learningRate: fit.learningRate ?? 1e-4,
    schedule: fit.schedule ?? 'constant',
    warmup: fit.warmup ?? 0,
    shuffle: fit.shuffle ?? true,
    seed: fit.seed ?? 0,
    gradAccum: fit.gradAccum ?? 1,
  });
}
