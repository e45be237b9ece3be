/** A training run with everything it leaves behind: log, checkpoints, the final adapter. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { badCheckpoint, badOption, LoraifyError } from '../errors.ts';
import { writeFileAtomic } from '../formats/files.ts';
import { manifestText } from '../formats/manifest.ts';
import { bytesOf } from '../formats/rawTensor.ts';
import {
  type AdapterFormat,
  type Best,
  checkpointPath,
  digest,
  lastCheckpoint,
  type Progress,
  readCheckpoint,
  writeCheckpoint,
} from './checkpoint.ts';
import type { Evaluation } from './evaluate.ts';
import type { Step } from './fit.ts';
import { lock } from './lock.ts';
import {
  beginRun,
  checkRunTarget,
  checkSameRun,
  fileDigest,
  identityHash,
  type Log,
  makeFolder,
  openLog,
  type RunIdentity,
} from './runFolder.ts';
import { type Fit, type FitOptions, openTrainer, type Trainer, type TrainerOptions } from './trainer.ts';

export interface TrainOptions extends TrainerOptions, Omit<FitOptions, 'from' | 'boundary'> {
  /** A data file. */
  readonly data: string;
  /** The run folder. */
  readonly out: string;
  /** Replace a run folder that is there. */
  readonly force?: boolean | undefined;
  /** Go on from the last checkpoint of `out`. */
  readonly resume?: boolean | undefined;
  /** A data file to evaluate on. */
  readonly evalData?: string | undefined;
  /** Steps between evaluations; default once per epoch. There is always one at the end. */
  readonly evalEvery?: number | undefined;
  /** Steps between checkpoints; default 500. There is always one at the end. */
  readonly saveEvery?: number | undefined;
  /** Stop after this many evaluations in a row that are no better than the best. */
  readonly patience?: number | undefined;
  /** Aborted: the run stops after the step at hand and writes a checkpoint. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: TrainEvent) => void) | undefined;
}

export type TrainEvent =
  | {
      readonly kind: 'start';
      readonly provider: string;
      readonly rows: string;
      /** Steps done before. */
      readonly from: number;
      readonly totalSteps: number;
      readonly stepsPerEpoch: number;
      readonly trainable: number;
    }
  | { readonly kind: 'step'; readonly step: Step }
  | { readonly kind: 'evaluation'; readonly step: number; readonly evaluation: Evaluation; readonly best: boolean }
  | { readonly kind: 'checkpoint'; readonly step: number; readonly directory: string }
  | { readonly kind: 'notice'; readonly text: string };

export interface TrainResult {
  readonly run: string;
  /** The PEFT directory; absent where the run was interrupted. */
  readonly adapter?: string;
  readonly checkpoint: string;
  readonly provider: string;
  readonly stopped: 'done' | 'patience' | 'interrupted';
  readonly steps: number;
  readonly epochs: number;
  /** Of the last step that this process took. */
  readonly loss?: number;
  /** Of the adapter that was kept: the best evaluation's, and its step. */
  readonly evalLoss?: number;
  readonly bestStep?: number;
}

/**
 * Trains an adapter into a run folder. A run that is cut at any moment and resumed gives the numbers of one that was not.
 * Errors: TARGET_EXISTS, RUN_LOCKED, BAD_CHECKPOINT (nothing to resume, or another run), NON_FINITE (the last good state is in a
 * checkpoint), those of openTrainer and Trainer.fit.
 */
export async function train(directory: string, options: TrainOptions, adapters: AdapterFormat): Promise<TrainResult> {
  const { out, resume = false, force = false } = options;
  checkCounts(options);
  if (!resume) checkRunTarget(out, force);
  const trainer = await openTrainer(directory, options, adapters);
  try {
    const of = await identify(trainer, options);
    if (resume) checkSameRun(out, of);
    else makeFolder(out);
    const held = lock(out);
    try {
      if (!resume) beginRun(out, of);
      return await run(trainer, options, adapters, identityHash(of));
    } finally {
      held.release();
    }
  } finally {
    await trainer.close();
  }
}

function checkCounts({ evalEvery, saveEvery, patience, evalData, resume, force }: TrainOptions): void {
  for (const [name, value] of Object.entries({ 'eval-every': evalEvery, 'save-every': saveEvery, patience })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value > 0)) {
      throw badOption(`--${name} must be a positive integer, not ${value}`);
    }
  }
  const needing = evalEvery !== undefined ? 'eval-every' : patience !== undefined ? 'patience' : undefined;
  if (evalData === undefined && needing !== undefined) throw badOption(`--${needing} needs --eval-data`);
  if (resume === true && force === true) throw badOption('--resume and --force exclude each other');
}

/** Everything that the numbers of a run depend on, but for its length: a run may be made longer. */
async function identify(trainer: Trainer, o: TrainOptions): Promise<RunIdentity> {
  const { params } = await trainer.getState();
  return {
    packageSha256: digest([Buffer.from(manifestText(trainer.manifest))]),
    'initial adapterSha256': digest([bytesOf(params)]),
    dataSha256: fileDigest(o.data),
    ...(o.evalData === undefined ? {} : { 'evaluation dataSha256': fileDigest(o.evalData) }),
    batchSize: o.batchSize ?? null,
    gradAccum: o.gradAccum ?? 1,
    learningRate: o.learningRate ?? 1e-4,
    schedule: o.schedule ?? 'constant',
    warmup: o.warmup ?? 0,
    shuffle: o.shuffle ?? true,
    seed: o.seed ?? 0,
    maxLength: o.maxLength ?? null,
    pad: o.pad ?? {},
    labelColumn: o.labelColumn ?? null,
  };
}

async function run(trainer: Trainer, options: TrainOptions, adapters: AdapterFormat, id: string): Promise<TrainResult> {
  const { out, signal, evalData } = options;
  const tell = options.onEvent ?? (() => {});
  let from = 0;
  let epoch = 0;
  let best: Best | undefined;
  let waited = 0;
  if (options.resume === true) {
    const { checkpoint, damaged } = lastCheckpoint(out, trainer.manifest, adapters);
    for (const text of damaged) tell({ kind: 'notice', text: `passed over a damaged checkpoint: ${text}` });
    const { progress } = checkpoint;
    if (progress.run !== id)
      throw badCheckpoint(`${checkpoint.directory} belongs to another run`, checkpoint.directory);
    ({ step: from, epoch, best, waited } = progress);
    await trainer.setState(checkpoint.state);
  }

  let every = { save: options.saveEvery ?? 500, evaluate: options.evalEvery ?? 0 };
  const isDue = (done: number, total: number): { save: boolean; evaluate: boolean } => ({
    save: done === total || done % every.save === 0,
    evaluate: evalData !== undefined && (done === total || done % every.evaluate === 0),
  });
  let total = Number.POSITIVE_INFINITY;
  const boundary = (done: number): boolean => Object.values(isDue(done, total)).some(Boolean);
  const fit: Fit = await trainer.prepareFit(options.data, { ...options, from, boundary });
  let log: Log | undefined;
  let last: Step | undefined;
  let saved = from;
  let stopped: TrainResult['stopped'] = 'done';
  const save = async (step: number): Promise<void> => {
    const progress: Progress = { step, epoch, waited, run: id, ...(best === undefined ? {} : { best }) };
    log?.flush();
    const written = writeCheckpoint(out, trainer.manifest, await trainer.getState(), progress, adapters);
    saved = step;
    // The one from before the first step is there only until there is another.
    if (step > 0) rmSync(checkpointPath(out, 0), { recursive: true, force: true });
    tell({ kind: 'checkpoint', step, directory: written });
  };
  const evaluateNow = async (step: number): Promise<void> => {
    if (evalData === undefined) return;
    const evaluation = await trainer.evaluate(evalData, options);
    const { loss, ...rest } = evaluation;
    const isBest = step > 0 && Number.isFinite(loss) && (best === undefined || loss < best.loss);
    if (isBest) best = { step, loss };
    waited = isBest || step === 0 ? 0 : waited + 1;
    log?.write({ step, eval_loss: loss, ...rest });
    tell({ kind: 'evaluation', step, evaluation, best: isBest });
  };

  try {
    total = fit.plan.totalSteps;
    if (every.evaluate === 0) every = { ...every, evaluate: fit.plan.stepsPerEpoch };
    if (from > total) throw badCheckpoint(`"${out}" has ${from} steps already, more than the ${total} asked for`, out);
    log = openLog(out, from);
    const { provider, manifest } = trainer;
    const { stepsPerEpoch } = fit.plan;
    const trainable = manifest.counts.trainable;
    tell({ kind: 'start', provider, rows: options.data, from, totalSteps: total, stepsPerEpoch, trainable });
    if (from === 0) {
      if (options.resume !== true) await evaluateNow(0);
      await save(0);
    }
    let done = from;
    try {
      for await (const group of signal?.aborted === true ? [] : fit.run()) {
        for (const step of group) {
          log.write(line(step));
          tell({ kind: 'step', step });
        }
        last = group.at(-1) ?? last;
        done = last?.step ?? done;
        epoch = last?.epoch ?? epoch;
        const due = isDue(done, total);
        const bestBefore = best;
        if (due.evaluate) await evaluateNow(done);
        const isOver = options.patience !== undefined && waited >= options.patience;
        if (isOver) stopped = 'patience';
        if (signal?.aborted === true && done < total) stopped = 'interrupted';
        if (due.save || best !== bestBefore || stopped !== 'done') await save(done);
        if (stopped !== 'done') break;
      }
    } catch (error) {
      // The state is that of the last step which was good.
      if (error instanceof LoraifyError && error.code === 'NON_FINITE' && saved < done) await save(done);
      throw error;
    }
    if (signal?.aborted === true && done < total) stopped = 'interrupted';
    const adapter = stopped === 'interrupted' ? undefined : await keepAdapter(trainer, out, best, adapters);
    return {
      run: out,
      ...(adapter === undefined ? {} : { adapter }),
      checkpoint: checkpointPath(out, saved),
      provider,
      stopped,
      steps: done,
      epochs: epoch,
      ...(last === undefined ? {} : { loss: last.loss }),
      ...(best === undefined ? {} : { evalLoss: best.loss, bestStep: best.step }),
    };
  } finally {
    log?.close();
    fit.close();
  }
}

/** A line of log.jsonl. */
export function line(step: Step): object {
  const { gradNorm, examplesPerSecond, examples: _, ...rest } = step;
  return { ...rest, grad_norm: gradNorm, examples_per_second: Number(examplesPerSecond.toPrecision(6)) };
}

/** Writes adapter/: the best on the evaluation data, else the last. */
async function keepAdapter(
  trainer: Trainer,
  out: string,
  best: Best | undefined,
  adapters: AdapterFormat,
): Promise<string> {
  const target = join(out, 'adapter');
  if (best === undefined) {
    await trainer.save(target);
    return target;
  }
  const { state } = readCheckpoint(checkpointPath(out, best.step), trainer.manifest, adapters);
  makeFolder(target);
  for (const { name, chunks } of adapters.files(trainer.manifest, state.params))
    writeFileAtomic(join(target, name), chunks);
  return target;
}
