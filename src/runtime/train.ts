/** A training run with everything it leaves behind: log, checkpoints, the final adapter. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { badCheckpoint, LoraifyError } from '../errors.ts';
import { writeFileAtomic } from '../formats/files.ts';
import {
  type AdapterFormat,
  type Best,
  checkpointPath,
  checkpointSteps,
  lastCheckpoint,
  type Progress,
  readCheckpoint,
  writeCheckpoint,
} from './checkpoint.ts';
import type { Evaluation } from './evaluate.ts';
import type { Step } from './fit.ts';
import { lock } from './lock.ts';
import { beginRun, checkRunTarget, checkSameRun, identityHash, type Log, makeFolder, openLog } from './runFolder.ts';
import { type Fit, openTrainer, type PreparedEvaluation, type Trainer } from './trainer.ts';
import { checkCounts, identify, type TrainEvent, type TrainOptions, type TrainResult } from './trainOptions.ts';

/**
 * Trains an adapter into a run folder. A run that is cut at any moment and resumed gives the numbers of one that was not.
 * Errors: TARGET_EXISTS, RUN_LOCKED, BAD_CHECKPOINT (nothing to resume, or another run), NON_FINITE (the last good state is in a
 * checkpoint), those of openTrainer and Trainer.fit.
 */
export async function train(directory: string, options: TrainOptions, adapters: AdapterFormat): Promise<TrainResult> {
  const { out, resume = false, force = false, onEvent: tell = () => {} } = options;
  checkCounts(options);
  if (!resume) checkRunTarget(out, force);
  const closing: (() => void | Promise<void>)[] = [];
  try {
    const trainer = await openTrainer(directory, options, adapters);
    closing.push(trainer.close);
    for (const { name, reason } of trainer.passedOver) {
      tell({ kind: 'notice', text: `execution provider "${name}" cannot start: ${reason}` });
    }
    // What can be wrong with the data is found before anything is written.
    const fit = await trainer.prepareFit(options.data, options);
    closing.push(fit.close);
    const evaluation =
      options.evalData === undefined ? undefined : await trainer.prepareEvaluation(options.evalData, options);
    if (evaluation !== undefined) closing.push(evaluation.close);
    const of = await identify(trainer, options);
    if (resume) checkSameRun(out, of);
    else makeFolder(out);
    const held = lock(out);
    closing.push(held.release);
    if (!resume) beginRun(out, of);
    return await run({ trainer, fit, evaluation, adapters, options, tell, id: identityHash(of) });
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** What a run works with. */
interface Parts {
  readonly trainer: Trainer;
  readonly fit: Fit;
  readonly evaluation: PreparedEvaluation | undefined;
  readonly adapters: AdapterFormat;
  readonly options: TrainOptions;
  readonly tell: (event: TrainEvent) => void;
  /** Of the run, for its checkpoints. */
  readonly id: string;
}

async function run(parts: Parts): Promise<TrainResult> {
  const { trainer, fit, options, tell } = parts;
  const { out, signal, patience } = options;
  const { totalSteps: total, stepsPerEpoch } = fit.plan;
  const taken = options.resume === true ? await takeUp(parts) : undefined;
  let progress: Progress = taken ?? { step: 0, epoch: 0, waited: 0, run: parts.id };
  const from = progress.step;
  if (from > total) throw badCheckpoint(`"${out}" has ${from} steps already, more than the ${total} asked for`, out);

  const isEvaluated = (done: number): boolean =>
    parts.evaluation !== undefined && (done === total || done % (options.evalEvery ?? stepsPerEpoch) === 0);
  const isSaved = (done: number): boolean => done === total || done % (options.saveEvery ?? 500) === 0;
  const log = openLog(out, taken === undefined ? -1 : from);
  try {
    const { provider, manifest } = trainer;
    const { trainable } = manifest.counts;
    tell({ kind: 'start', provider, from, totalSteps: total, stepsPerEpoch, trainable });
    if (taken === undefined) {
      progress = await evaluateNow(parts, progress, log);
      await save(parts, progress, log);
    }
    let saved = from;
    let last: Step | undefined;
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
          last = step;
          progress = { ...progress, step: step.step, epoch: step.epoch };
        }
        const before = progress.best;
        if (isEvaluated(progress.step)) progress = await evaluateNow(parts, progress, log);
        stopped = whyStop();
        if (isSaved(progress.step) || progress.best !== before || stopped !== 'done') {
          await save(parts, progress, log);
          saved = progress.step;
        }
        if (stopped !== 'done') break;
      }
    } catch (error) {
      // The state is that of the last step which was good.
      const isBad = error instanceof LoraifyError && error.code === 'NON_FINITE';
      if (isBad && saved < progress.step) await save(parts, progress, log);
      throw error;
    }
    const { best, step, epoch } = progress;
    const adapter = stopped === 'interrupted' ? undefined : await keepAdapter(parts, best);
    return {
      run: out,
      ...(adapter === undefined ? {} : { adapter }),
      checkpoint: checkpointPath(out, step),
      provider,
      stopped,
      steps: step,
      epochs: epoch,
      ...(last === undefined ? {} : { loss: last.loss }),
      ...(best === undefined ? {} : { evalLoss: best.loss, bestStep: best.step }),
    };
  } finally {
    log.close();
  }
}

/**
 * The state of the last good checkpoint, into the trainer; undefined for a run that was cut before its first one.
 * Errors: BAD_CHECKPOINT.
 */
async function takeUp({ trainer, adapters, options, tell, id }: Parts): Promise<Progress | undefined> {
  if (checkpointSteps(options.out).length === 0) return undefined;
  const { checkpoint, damaged } = lastCheckpoint(options.out, trainer.manifest, adapters);
  for (const text of damaged) tell({ kind: 'notice', text: `passed over a damaged checkpoint: ${text}` });
  const { progress, directory, state } = checkpoint;
  if (progress.run !== id) throw badCheckpoint(`${directory} belongs to another run`, directory);
  await trainer.setState(state);
  return progress;
}

async function save({ trainer, adapters, options, tell }: Parts, progress: Progress, log: Log): Promise<void> {
  log.flush();
  const { out } = options;
  const directory = writeCheckpoint(out, trainer.manifest, await trainer.getState(), progress, adapters);
  // The one from before the first step is there only until there is another.
  if (progress.step > 0) rmSync(checkpointPath(out, 0), { recursive: true, force: true });
  tell({ kind: 'checkpoint', step: progress.step, directory });
}

/** The evaluation of the first state is a baseline; only trained ones can be the best. */
async function evaluateNow({ evaluation, tell }: Parts, progress: Progress, log: Log): Promise<Progress> {
  if (evaluation === undefined) return progress;
  const { step } = progress;
  const found = await evaluation.run();
  const isBest =
    step > 0 && Number.isFinite(found.loss) && !(found.loss >= (progress.best?.loss ?? Number.POSITIVE_INFINITY));
  const line = evaluationLine(step, found);
  log.write(line);
  tell({ kind: 'evaluation', step, evaluation: found, best: isBest, line });
  if (isBest) return { ...progress, best: { step, loss: found.loss }, waited: 0 };
  return { ...progress, waited: step === 0 ? 0 : progress.waited + 1 };
}

/** A step as a line of log.jsonl. */
function logLine(step: Step): object {
  const { gradNorm, examplesPerSecond, examples: _, ...rest } = step;
  return { ...rest, grad_norm: gradNorm, examples_per_second: Number(examplesPerSecond.toPrecision(6)) };
}

/** An evaluation as a line of log.jsonl. */
function evaluationLine(step: number, { loss, ...rest }: Evaluation): object {
  return { step, eval_loss: loss, ...rest };
}

/** Writes adapter/: the best on the evaluation data, else the last. */
async function keepAdapter({ trainer, adapters, options }: Parts, best: Best | undefined): Promise<string> {
  const target = join(options.out, 'adapter');
  if (best === undefined) {
    await trainer.save(target);
    return target;
  }
  const { state } = readCheckpoint(checkpointPath(options.out, best.step), trainer.manifest, adapters);
  makeFolder(target);
  const files = adapters.files(trainer.manifest, state.params);
  for (const { name, chunks } of files) writeFileAtomic(join(target, name), chunks);
  return target;
}
