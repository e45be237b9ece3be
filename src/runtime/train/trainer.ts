/** A package opened for training, evaluation and prediction. */

import { join } from 'node:path';
import { badOption } from '../../errors.ts';
import { makeFolders, writeFileAtomic } from '../../formats/files.ts';
import { type Manifest, readManifest } from '../../formats/manifest.ts';
import { type Data, hasNoBatch, openRows, type RowOptions, type Rows, usualBatch } from '../batches/openRows.ts';
import { tokenLabelWarning } from '../batches/tokenLabels.ts';
import { batch, rowLengths } from '../data/index.ts';
import { type Evaluation, evaluate } from '../evaluate/evaluate.ts';
import { type Prediction, predict } from '../evaluate/predict.ts';
import type { AdapterFormat, AdapterSource } from '../runFolder/checkpoint.ts';
import type { NodePlacement } from '../session/nodePlacement.ts';
import { type ChosenProvider, chooseProvider } from '../session/providers.ts';
import { type Engine, openEngine } from '../worker/engine.ts';
import type { TrainingState } from '../worker/protocol.ts';
import type { ScheduleKind } from './learningRate.ts';
import { type Plan, trainingPlan } from './plan.ts';
import { longestRun, runLength } from './runLength.ts';
import { graphOf, runPlan, type Step } from './runPlan.ts';

export interface TrainerOptions {
  /** In order of preference; default cpu. */
  readonly executionProvider?: string | readonly string[] | undefined;
  /** Threads of one operator; default one per core. */
  readonly threads?: number | undefined;
  /**
   * The initial adapter: a PEFT directory, an adapter file, or several with their strengths; default the package's own.
   */
  readonly adapter?: AdapterSource | undefined;
}

export interface FitOptions extends RowOptions {
  /** Optimizer steps; takes precedence over epochs. */
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
  /** Batches of rows of similar lengths, which need less padding. Default false. Not with shuffle: false. */
  readonly groupByLength?: boolean | undefined;
  /** Default 0. */
  readonly seed?: number | undefined;
  /** Batches per optimizer step. Default 1. */
  readonly gradAccum?: number | undefined;
  /**
   * Optimizer steps in one run of ONNX Runtime. Default 1; on CUDA up to 16, limited by the size of batches and by the
   * number of steps between evaluations or checkpoints.
   */
  readonly stepsPerRun?: number | undefined;
}

/**
 * Providers that keep the state of several steps on their device; the others have no Scan, or do not profit from it.
 */
const hasScan: ReadonlySet<string> = new Set(['cuda']);

/** A fit with its data open and its steps planned. */
export interface Fit {
  readonly plan: Plan;
  /** Notices for the user that are not errors. */
  readonly notices: readonly string[];
  /**
   * The steps after the first `from`, in the groups in which they ran; no group passes a number of steps for which
   * `boundary` is true. Errors as Trainer.fit.
   */
  run(from?: number, boundary?: (done: number) => boolean): AsyncGenerator<readonly Step[]>;
  close(): void;
}

/** An evaluation with its data open. */
export interface PreparedEvaluation {
  /** Notices for the user that are not errors. */
  readonly notices: readonly string[];
  run(onProgress?: (rows: number) => void): Promise<Evaluation>;
  close(): void;
}

/** Parameters, optimizer moments and step count are in a worker thread; `fit` updates them. */
export interface Trainer {
  readonly manifest: Manifest;
  readonly directory: string;
  /** The execution provider in use. */
  readonly provider: string;
  /** Preferred providers that cannot start, with reasons. */
  readonly passedOver: ChosenProvider['passedOver'];
  /**
   * Trains, one item per optimizer step. Leaving the loop stops after the current step. Errors: BAD_DATA, BAD_OPTION,
   * NON_FINITE (the state is that from before the step), BAD_PACKAGE, RUNTIME_FAILED.
   */
  fit(data: Data, options?: FitOptions): AsyncGenerator<Step>;
  /** The same in two parts: errors in data and options are found before the first step. */
  prepareFit(data: Data, options?: FitOptions): Promise<Fit>;
  /** Loss and metrics of the current parameters. Errors: BAD_DATA, BAD_OPTION, BAD_PACKAGE, RUNTIME_FAILED. */
  evaluate(data: Data, options?: RowOptions & { readonly onProgress?: (rows: number) => void }): Promise<Evaluation>;
  /** The same in two parts, for data that is evaluated more than once. */
  prepareEvaluation(data: Data, options?: RowOptions): Promise<PreparedEvaluation>;
  /** The model's outputs, row by row. Errors as evaluate. */
  predict(data: Data, options?: RowOptions & { readonly onProgress?: (rows: number) => void }): Promise<Prediction>;
  /** The providers of the nodes of the graph that took the last step; undefined on the CPU, and before a step. */
  placement(): Promise<NodePlacement | undefined>;
  /** A copy of the state. */
  getState(): Promise<TrainingState>;
  setState(state: TrainingState): Promise<void>;
  /** Writes the parameters as a PEFT directory. Errors: WRITE_FAILED. */
  save(directory: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a package. Its graphs are loaded when they are first needed. Errors: BAD_PACKAGE, BAD_ADAPTER,
 * ADAPTER_MISMATCH, PROVIDER_MISSING, RUNTIME_FAILED.
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
  const params = adapters.read(manifest, options.adapter ?? join(directory, 'adapter'), directory);
  const { name: provider, passedOver } = await chooseProvider([options.executionProvider ?? 'cpu'].flat());
  const engine = await openEngine(directory, manifest, { provider, threads });
  await engine.setState(initialState(manifest, params));
  return {
    manifest,
    directory,
    provider,
    passedOver,
    prepareFit: (data, fitOptions) => prepareFit(engine, data, fitOptions),
    async *fit(data, fitOptions) {
      const fit = await prepareFit(engine, data, fitOptions);
      try {
        for await (const group of fit.run()) yield* group;
      } finally {
        fit.close();
      }
    },
    prepareEvaluation: (data, how) => prepareEvaluation(engine, data, how),
    async evaluate(data, how = {}) {
      const evaluation = await prepareEvaluation(engine, data, how);
      try {
        const { notices } = evaluation;
        return { ...(await evaluation.run(how.onProgress)), ...(notices.length === 0 ? {} : { warnings: notices }) };
      } finally {
        evaluation.close();
      }
    },
    predict: (data, how = {}) => predict(engine, data, how),
    placement: engine.placement,
    getState: engine.getState,
    setState: engine.setState,
    async save(target) {
      const { params: now } = await engine.getState();
      makeFolders(target);
      for (const { name, chunks } of adapters.files(manifest, now)) writeFileAtomic(join(target, name), chunks);
    },
    close: engine.close,
  };
}

/** The state before the first step: zero moments, and the loss scale that the graphs start with. */
function initialState({ state, optimizer }: Manifest, params: Float32Array): TrainingState {
  const { size, v, lossScale } = state;
  return {
    params,
    m: new Float32Array(size),
    v: v === undefined ? undefined : new Float32Array(size),
    step: 0,
    lossScale: lossScale === undefined ? undefined : optimizer.lossScale?.initial,
  };
}

async function prepareFit(engine: Engine, data: Data, fit: FitOptions = {}): Promise<Fit> {
  const { stepsPerRun, gradAccum = 1 } = fit;
  if (stepsPerRun !== undefined && (!Number.isSafeInteger(stepsPerRun) || stepsPerRun < 1)) {
    throw badOption(`the steps per run must be a positive integer, not ${stepsPerRun}`);
  }
  const most = stepsPerRun ?? (hasScan.has(engine.provider) ? longestRun : 1);
  const perStep = gradAccum * rowsOneByOne(engine.manifest, fit);
  const graph = graphOf(engine.manifest, perStep, most);
  const rows = await openRows(engine, graph, data, fit);
  try {
    const plan = planOf(rows, fit);
    const chosen = (from: number, boundary: (done: number) => boolean): number => {
      if (graph !== 'train_k' || from >= plan.totalSteps) return 1;
      const isFilled = rows.batch.rows !== undefined;
      return runLength({ plan, from, boundary, isFilled, bytesPerStep: bytesOfStep(plan, from, rows) });
    };
    return {
      plan,
      notices: noticesOf(engine.manifest, rows, leftOut(rows)),
      run: (from = 0, boundary = () => false) => {
        const how = { graph, stepsPerRun: stepsPerRun ?? chosen(from, boundary), batch: rows.batch };
        return runPlan(engine, plan, rows.dataset, { ...how, from, boundary });
      },
      close: rows.close,
    };
  } catch (error) {
    rows.close();
    throw error;
  }
}

async function prepareEvaluation(engine: Engine, data: Data, how: RowOptions = {}): Promise<PreparedEvaluation> {
  const rows = await openRows(engine, 'eval', data, how);
  const { dataset, close } = rows;
  const notices = noticesOf(engine.manifest, rows);
  return { notices, run: (onProgress) => evaluate(engine, dataset, { ...rows, onProgress }), close };
}

/** The rows of a batch that run one by one because no input has a batch axis; else 1. */
const rowsOneByOne = ({ inputs, labels }: Manifest, { batchSize }: FitOptions): number =>
  hasNoBatch(labels === undefined ? inputs : [...inputs, labels]) ? (batchSize ?? usualBatch) : 1;

const noticesOf = (manifest: Manifest, { dataset }: Rows, other?: string): string[] =>
  [other, tokenLabelWarning(manifest, dataset)].filter((text) => text !== undefined);

/** The size of a step's batches; those of other steps may be longer or shorter. */
function bytesOfStep(plan: Plan, step: number, { dataset, batch: how }: Rows): number {
  const feeds = plan.at(step).batches.flatMap(({ rows }) => Object.values(batch(dataset, rows, how)));
  return feeds.reduce((n, { data }) => n + data.byteLength, 0);
}

/** A sentence about rows that fill no batch of a fixed size, if there are any. */
function leftOut({ dataset, batchSize, fixedBatch, leavesOut }: Rows): string | undefined {
  const rest = fixedBatch ? dataset.rows % batchSize : 0;
  if (rest === 0 || dataset.rows < batchSize) return undefined;
  const why = leavesOut === undefined ? '' : `, and batches cannot be padded: ${leavesOut}`;
  return `each epoch leaves out ${rest} of ${dataset.rows} rows: batches have ${batchSize}${why}`;
}

function planOf(data: Rows, fit: FitOptions): Plan {
  const { dataset, batchSize, fixedBatch, oneByOne = 1 } = data;
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
    lengths: fit.groupByLength === true ? rowLengths(dataset, data.batch) : undefined,
    seed: fit.seed ?? 0,
    gradAccum: (fit.gradAccum ?? 1) * oneByOne,
  });
}
