/** A training run with its outputs: log, checkpoints, the final adapter. */

import { basename, join, resolve } from 'node:path';
import { badCheckpoint, LoraifyError } from '../../errors.ts';
import { writeFolderAtomic } from '../../formats/files.ts';
import type { Evaluation } from '../evaluate/evaluate.ts';
import {
  type AdapterFormat,
  type Best,
  checkpointPath,
  checkpointSteps,
  lastCheckpoint,
  type Progress,
  prune,
  readCheckpoint,
  setAside,
  writeCheckpoint,
} from '../runFolder/checkpoint.ts';
import { beginRun, type ClaimedRun, checkSameRun, claimRun, identityHash, tidy } from '../runFolder/index.ts';
import { type Log, openLog } from '../runFolder/log.ts';
import { type LossPlot, openPlot } from '../runFolder/lossPlot.ts';
import type { NodePlacement } from '../session/nodePlacement.ts';
import type { Step } from './runPlan.ts';
import { type Fit, openTrainer, type PreparedEvaluation, type Trainer } from './trainer.ts';
import { checkCounts, identify, type TrainEvent, type TrainOptions, type TrainResult } from './trainOptions.ts';

/**
 * Trains an adapter in a run folder. A run that is interrupted at any moment and resumed gives the numbers of an
 * uninterrupted one. Errors: TARGET_EXISTS, RUN_LOCKED, BAD_CHECKPOINT (nothing to resume, or another run), NON_FINITE
 * (the last good state is in a checkpoint), those of openTrainer and Trainer.fit.
 */
export async function train(directory: string, options: TrainOptions, adapters: AdapterFormat): Promise<TrainResult> {
  const { out, resume = false, force = false, onEvent: tell = () => {} } = options;
  checkCounts(options);
  const claimed = claimRun(out, { resume, force });
  const closing: (() => void | Promise<void>)[] = [claimed.release];
  try {
    const trainer = await openTrainer(directory, options, adapters);
    closing.push(trainer.close);
    for (const { name, reason } of trainer.passedOver) {
      tell({ kind: 'notice', text: `execution provider "${name}" cannot start: ${reason}` });
    }
    // Errors in the data are found before an existing run is replaced.
    const fit = await trainer.prepareFit(options.data, options);
    closing.push(fit.close);
    if (fit.notice !== undefined) tell({ kind: 'notice', text: fit.notice });
    const evaluation =
      options.evalData === undefined ? undefined : await trainer.prepareEvaluation(options.evalData, options);
    if (evaluation !== undefined) closing.push(evaluation.close);
    const of = await identify(trainer, options);
    const isResumed = resume && claimed.begun;
    if (isResumed) {
      checkSameRun(out, of);
      tidy(out);
    } else beginRun(out, of);
    const parts: Parts = { trainer, fit, evaluation, adapters, options, claimed, tell, id: identityHash(of) };
    return await run(parts, isResumed ? await takeUp(parts) : undefined);
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** The parts of a run. */
interface Parts {
  readonly trainer: Trainer;
  readonly fit: Fit;
  readonly evaluation: PreparedEvaluation | undefined;
  readonly adapters: AdapterFormat;
  readonly options: TrainOptions;
  readonly claimed: ClaimedRun;
  readonly tell: (event: TrainEvent) => void;
  /** The identity of the run, for its checkpoints. */
  readonly id: string;
}

/** Without --save-every, slow steps are saved after this time, so that an interruption costs minutes, not hours. */
const longestUnsaved = 10 * 60 * 1000;

/** @param taken the progress of an earlier process; the trainer already has its state. */
async function run(parts: Parts, taken: Progress | undefined): Promise<TrainResult> {
  const { trainer, fit, options, tell } = parts;
  const { out, signal, patience, saveEvery } = options;
  const { totalSteps: total, stepsPerEpoch } = fit.plan;
  let progress: Progress = taken ?? { step: 0, epoch: 0, waited: 0, run: parts.id };
  const from = progress.step;
  if (from > total) throw badCheckpoint(`"${out}" has ${from} steps already, more than the requested ${total}`, out);

  const isEvaluated = (done: number): boolean =>
    parts.evaluation !== undefined && (done === total || done % (options.evalEvery ?? stepsPerEpoch) === 0);
  const isSaved = (done: number): boolean => done === total || done % (saveEvery ?? 500) === 0;
  const log = plotted(openLog(out, taken === undefined ? -1 : from), openPlot(out, titleOf(parts)));
  try {
    const { provider, manifest } = trainer;
    const { trainable } = manifest.counts;
    tell({ kind: 'start', provider, from, totalSteps: total, stepsPerEpoch, trainable });
    if (taken === undefined) {
      progress = await evaluateNow(parts, progress, log);
      await save(parts, progress, log);
    }
    let saved = { step: from, at: performance.now() };
    let last: Step | undefined;
    let placement: NodePlacement | undefined;
    const isOverdue = (): boolean => saveEvery === undefined && performance.now() - saved.at > longestUnsaved;
    const whyStop = (): TrainResult['stopped'] => {
      if (progress.step === total) return 'done';
      if (signal?.aborted === true) return 'interrupted';
      return patience !== undefined && progress.waited >= patience ? 'patience' : 'done';
    };
    let stopped = whyStop();
    try {
      for await (const group of stopped === 'done' ? fit.run(from, (n) => isEvaluated(n) || isSaved(n)) : []) {
        for (const step of group) {
          const line = logLine(step);
          log.write(line);
          tell({ kind: 'step', step, line });
          if (step.skipped === true) tell({ kind: 'notice', text: skipNotice(step) });
          last = step;
          progress = { ...progress, step: step.step, epoch: step.epoch };
        }
        if (placement === undefined && provider !== 'cpu') {
          placement = await trainer.placement();
          if (placement !== undefined) tell({ kind: 'placement', placement });
        }
        const before = progress.best;
        if (isEvaluated(progress.step)) progress = await evaluateNow(parts, progress, log);
        stopped = whyStop();
        if (isSaved(progress.step) || isOverdue() || progress.best !== before || stopped !== 'done') {
          await save(parts, progress, log, stopped !== 'done' || progress.step === total);
          saved = { step: progress.step, at: performance.now() };
        }
        if (stopped !== 'done') break;
      }
    } catch (error) {
      // The state is that after the last good step.
      const isBad = error instanceof LoraifyError && error.code === 'NON_FINITE';
      if (isBad && saved.step < progress.step) await save(parts, progress, log, true);
      throw error;
    }
    // No steps were left, but the plot may be missing.
    if (last === undefined) await draw(parts, log, true);
    const { best, baseline, step, epoch } = progress;
    const adapter = stopped === 'interrupted' ? undefined : await keepAdapter(parts, best);
    return {
      run: out,
      ...(adapter === undefined ? {} : { adapter }),
      checkpoint: checkpointPath(out, step),
      provider,
      ...(placement === undefined ? {} : { placement }),
      stopped,
      steps: step,
      epochs: epoch,
      ...(last === undefined ? {} : { loss: last.loss }),
      ...(baseline === undefined ? {} : { baselineLoss: baseline }),
      ...(best === undefined ? {} : { evalLoss: best.loss, bestStep: best.step }),
    };
  } finally {
    log.close();
  }
}

/**
 * Loads the state of the last good checkpoint into the trainer; undefined for a run that was interrupted before its
 * first one. Errors: BAD_CHECKPOINT.
 */
async function takeUp({ trainer, adapters, options, tell, id }: Parts): Promise<Progress | undefined> {
  if (checkpointSteps(options.out).length === 0) {
    tell({ kind: 'notice', text: 'the run was interrupted before its first checkpoint: it starts from the beginning' });
    return undefined;
  }
  const found = lastCheckpoint(options.out, trainer.manifest, adapters);
  const { progress, directory, state } = found.checkpoint;
  if (progress.run !== id) throw badCheckpoint(`${directory} belongs to another run`, directory);
  for (const { directory: at, reason } of found.passedOver) {
    tell({ kind: 'notice', text: `skipped a damaged checkpoint, now ${at}.damaged: ${reason}` });
  }
  if (found.lostBest !== undefined) {
    tell({
      kind: 'notice',
      text: `the best adapter so far is lost, so only later evaluations count: ${found.lostBest}`,
    });
  }
  if (found.passedOver.length > 0) tell({ kind: 'notice', text: `resuming from ${directory}` });
  setAside(found);
  await trainer.setState(state);
  return progress;
}

/** Saves a checkpoint. Errors: WRITE_FAILED, RUN_LOCKED. */
async function save(parts: Parts, progress: Progress, log: PlottedLog, last = false): Promise<void> {
  const { trainer, adapters, options, claimed, tell } = parts;
  claimed.lock.check();
  // The log must never lag behind the checkpoint: its lines are not written again.
  log.flush();
  const { out, keep = 5 } = options;
  const directory = writeCheckpoint(out, trainer.manifest, await trainer.getState(), progress, adapters);
  try {
    prune(out, keep, progress.best);
  } catch (error) {
    tell({
      kind: 'notice',
      text: `an old checkpoint could not be removed: ${error instanceof Error ? error.message : error}`,
    });
  }
  tell({ kind: 'checkpoint', step: progress.step, directory });
  await draw(parts, log, last);
}

async function draw({ claimed, tell }: Parts, log: PlottedLog, last: boolean): Promise<void> {
  claimed.lock.check();
  const why = await log.plot.draw(last);
  if (why !== undefined) tell({ kind: 'notice', text: why });
}

/** A log whose lines are also plotted. */
interface PlottedLog extends Log {
  readonly plot: LossPlot;
}

const plotted = (log: Log, plot: LossPlot): PlottedLog => ({
  ...log,
  plot,
  write: (entry) => {
    log.write(entry);
    plot.add(entry);
  },
});

const titleOf = ({ trainer: { manifest }, options }: Parts): string =>
  `${basename(resolve(options.out))}: ${manifest.loss?.kind ?? 'loss'}`;

/** The evaluation of the first state is a baseline; only trained states can be the best. */
async function evaluateNow({ evaluation, tell }: Parts, progress: Progress, log: Log): Promise<Progress> {
  if (evaluation === undefined) return progress;
  const { step, best } = progress;
  const found = await evaluation.run();
  const { loss } = found;
  const isBest = step > 0 && Number.isFinite(loss) && (best === undefined || loss < best.loss);
  const line = evaluationLine(step, found);
  log.write(line);
  tell({ kind: 'evaluation', step, evaluation: found, best: isBest, line });
  if (step === 0) return Number.isFinite(loss) ? { ...progress, baseline: loss } : progress;
  return isBest ? { ...progress, best: { step, loss }, waited: 0 } : { ...progress, waited: progress.waited + 1 };
}

const skipNotice = ({ step, lossScale = 1 }: Step): string =>
  `step ${step} was skipped: at loss scale ${lossScale} its gradient overflows float16, so the scale is now ${lossScale / 2}`;

/** A step as a line of log.jsonl. */
function logLine(step: Step): object {
  const { gradNorm, examplesPerSecond, lossScale, examples: _, ...rest } = step;
  const scale = lossScale === undefined ? {} : { loss_scale: lossScale };
  return { ...rest, grad_norm: gradNorm, ...scale, examples_per_second: Number(examplesPerSecond.toPrecision(6)) };
}

/** An evaluation as a line of log.jsonl. */
function evaluationLine(step: number, { loss, ...rest }: Evaluation): object {
  return { step, eval_loss: loss, ...rest };
}

/** Writes adapter/: the best on the evaluation data, else the last. Errors: WRITE_FAILED, BAD_CHECKPOINT. */
async function keepAdapter({ trainer, adapters, options, claimed }: Parts, best: Best | undefined): Promise<string> {
  const { manifest } = trainer;
  const state =
    best === undefined
      ? await trainer.getState()
      : readCheckpoint(checkpointPath(options.out, best.step), manifest, adapters).state;
  const target = join(options.out, 'adapter');
  claimed.lock.check();
  writeFolderAtomic(target, adapters.files(manifest, state.params));
  return target;
}
