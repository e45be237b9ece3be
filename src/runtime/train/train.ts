/** A training run with its outputs: log, checkpoints, the final adapter. */

import { basename, resolve } from 'node:path';
import { badCheckpoint, LoraifyError } from '../../errors.ts';
import { defined } from '../../formats/defined.ts';
import { unreachedWarning } from '../../graph/layers.ts';
import { type AdapterFormat, checkpointPath, type Progress } from '../runFolder/checkpoint.ts';
import { beginRun, checkSameRun, claimRun, identityHash, tidy } from '../runFolder/index.ts';
import { type Log, openLog } from '../runFolder/log.ts';
import { openPlot } from '../runFolder/lossPlot.ts';
import type { NodePlacement } from '../session/nodePlacement.ts';
import { alarms } from './alarms.ts';
import { afterEvaluation, checkedMetric, isImproved, judged, summarized } from './outcome.ts';
import { evaluationLine, logLine, type PlottedLog, plotted } from './runLog.ts';
import type { Step } from './runPlan.ts';
import { draw, keepAdapter, type Parts, save, takeUp } from './saving.ts';
import { openTrainer } from './trainer.ts';
import { checkCounts, identify, type TrainOptions, type TrainResult } from './trainOptions.ts';

/**
 * Trains an adapter in a run folder. A run that is interrupted at any moment and resumed gives the numbers of an
 * uninterrupted one. Errors: TARGET_EXISTS, RUN_LOCKED, BAD_CHECKPOINT (nothing to resume, or another run), NON_FINITE
 * (the last good state is in a checkpoint), those of openTrainer and Trainer.fit.
 */
export async function train(directory: string, options: TrainOptions, adapters: AdapterFormat): Promise<TrainResult> {
  const { out, resume = false, force = false, onEvent: tell = () => {} } = options;
  checkCounts(options);
  const began = performance.now();
  const claimed = claimRun(out, { resume, force });
  const closing: (() => void | Promise<void>)[] = [claimed.release];
  try {
    const trainer = await openTrainer(directory, options, adapters);
    closing.push(trainer.close);
    const metric = checkedMetric(trainer.manifest, options.metric);
    for (const { name, reason } of trainer.passedOver) {
      tell({ kind: 'notice', text: `execution provider "${name}" cannot start: ${reason}` });
    }
    // Errors in the data are found before an existing run is replaced.
    const onNotice = (text: string): void => tell({ kind: 'notice', text });
    const fit = await trainer.prepareFit(options.data, { ...options, onNotice });
    closing.push(fit.close);
    const { loss, layers } = trainer.manifest;
    const unreached = unreachedWarning(loss?.output ?? '', loss?.unreached ?? [], layers.length);
    const warnings = [...(unreached === undefined ? [] : [unreached]), ...fit.notices];
    const evaluation =
      options.evalData === undefined
        ? undefined
        : await trainer.prepareEvaluation(options.evalData, { ...options, onNotice });
    if (evaluation !== undefined) closing.push(evaluation.close);
    warnings.push(...(evaluation?.notices ?? []).filter((text) => !warnings.includes(text)));
    for (const text of warnings) tell({ kind: 'notice', text });
    const of = await identify(trainer, options);
    const isResumed = resume && claimed.begun;
    if (isResumed) {
      checkSameRun(out, of);
      tidy(out);
    } else beginRun(out, of);
    const signs = alarms(trainer.manifest);
    const what = { trainer, fit, evaluation, adapters, options, claimed, tell, warnings, alarms: signs, metric, began };
    const parts: Parts = { ...what, id: identityHash(of) };
    return await run(parts, isResumed ? await takeUp(parts) : undefined);
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** Without --save-every, slow steps are saved after this time, so that an interruption costs minutes, not hours. */
const longestUnsaved = 10 * 60 * 1000;

/** @param taken the progress of an earlier process; the trainer already has its state. */
async function run(parts: Parts, taken: Progress | undefined): Promise<TrainResult> {
  const { trainer, fit, options, tell } = parts;
  const { out } = options;
  const { totalSteps, stepsPerEpoch } = fit.plan;
  const from = taken?.step ?? 0;
  if (from > totalSteps)
    throw badCheckpoint(`"${out}" has ${from} steps already, more than the requested ${totalSteps}`, out);
  const log = plotted(openLog(out, taken === undefined ? -1 : from), openPlot(out, titleOf(parts)));
  try {
    const { trainable } = trainer.manifest.counts;
    tell({ kind: 'start', provider: trainer.provider, from, totalSteps, stepsPerEpoch, trainable });
    const start = taken ?? (await firstCheckpoint(parts, log));
    const end = await takeSteps(parts, start, log);
    // No steps were left, but the plot may be missing.
    if (end.last === undefined) await draw(parts, log, true);
    const adapter = end.stopped === 'interrupted' ? undefined : await keepAdapter(parts, end.progress.best);
    return resultOf(parts, end, adapter);
  } finally {
    log.close();
  }
}

/** The evaluation and the checkpoint of the state before the first step. */
async function firstCheckpoint(parts: Parts, log: PlottedLog): Promise<Progress> {
  const progress = await evaluateNow(parts, { step: 0, epoch: 0, waited: 0, run: parts.id }, log);
  await save(parts, progress, log);
  return progress;
}

/** The state of a run when its process ends. */
interface RunEnd {
  readonly progress: Progress;
  readonly stopped: TrainResult['stopped'];
  /** The last step of this process. */
  readonly last: Step | undefined;
  readonly placement: NodePlacement | undefined;
}

/** Takes the steps that are left, with the evaluations and checkpoints between them. */
async function takeSteps(parts: Parts, start: Progress, log: PlottedLog): Promise<RunEnd> {
  const { trainer, fit, tell } = parts;
  const { isEvaluated, isSaved, isOverdue } = milestonesOf(parts);
  let progress = start;
  let saved = { step: start.step, at: performance.now() };
  let last: Step | undefined;
  let placement: NodePlacement | undefined;
  let stopped = whyStop(parts, progress);
  try {
    for await (const group of stopped === 'done' ? fit.run(start.step, (n) => isEvaluated(n) || isSaved(n)) : []) {
      for (const step of group) {
        reportStep(parts, step, log);
        last = step;
        progress = { ...progress, step: step.step, epoch: step.epoch };
      }
      if (placement === undefined && trainer.provider !== 'cpu') {
        placement = await trainer.placement();
        if (placement !== undefined) tell({ kind: 'placement', placement });
      }
      const before = progress.best;
      if (isEvaluated(progress.step)) progress = await evaluateNow(parts, progress, log);
      stopped = whyStop(parts, progress);
      if (isSaved(progress.step) || isOverdue(saved.at) || progress.best !== before || stopped !== 'done') {
        await save(parts, progress, log, stopped !== 'done' || progress.step === fit.plan.totalSteps);
        saved = { step: progress.step, at: performance.now() };
      }
      if (stopped !== 'done') break;
    }
  } catch (error) {
    // The state is that of the last step which was good.
    const isBad = error instanceof LoraifyError && error.code === 'NON_FINITE';
    if (isBad && saved.step < progress.step) await save(parts, progress, log, true);
    throw error;
  }
  return { progress, stopped, last, placement };
}

/** After which numbers of steps the run is evaluated and saved. */
function milestonesOf({ fit, evaluation, options: { saveEvery, evalEvery } }: Parts) {
  const { totalSteps, stepsPerEpoch } = fit.plan;
  const isEvery = (done: number, interval: number): boolean => done === totalSteps || done % interval === 0;
  return {
    isEvaluated: (done: number): boolean => evaluation !== undefined && isEvery(done, evalEvery ?? stepsPerEpoch),
    isSaved: (done: number): boolean => isEvery(done, saveEvery ?? 500),
    /** `savedAt`: the time of the last checkpoint. */
    isOverdue: (savedAt: number): boolean => saveEvery === undefined && performance.now() - savedAt > longestUnsaved,
  };
}

/** The reason why no further step is taken; `done` if none is left, or nothing stops the run yet. */
function whyStop({ fit, options: { signal, patience } }: Parts, { step, waited }: Progress): TrainResult['stopped'] {
  if (step === fit.plan.totalSteps) return 'done';
  if (signal?.aborted === true) return 'interrupted';
  return patience !== undefined && waited >= patience ? 'patience' : 'done';
}

function reportStep(parts: Parts, step: Step, log: PlottedLog): void {
  const { tell } = parts;
  const line = logLine(step);
  log.write(line);
  tell({ kind: 'step', step, line });
  if (step.skipped === true) tell({ kind: 'notice', text: skipNotice(step) });
  warn(parts, parts.alarms.step(step));
}

function resultOf(
  { trainer, warnings, metric, began, options: { out } }: Parts,
  end: RunEnd,
  adapter: string | undefined,
): TrainResult {
  const { progress, stopped, last, placement } = end;
  const { best, start, end: latest, step, epoch } = progress;
  return defined({
    run: out,
    adapter,
    checkpoint: checkpointPath(out, step),
    provider: trainer.provider,
    placement,
    stopped,
    steps: step,
    epochs: epoch,
    loss: last?.loss,
    metric,
    improved: isImproved(progress, metric),
    start: summarized(start),
    best: summarized(best),
    end: summarized(latest),
    seconds: (performance.now() - began) / 1000,
    warnings: warnings.length === 0 ? undefined : warnings,
  });
}

const titleOf = ({ trainer: { manifest }, options }: Parts): string =>
  `${basename(resolve(options.out))}: ${manifest.loss?.kind ?? 'loss'}`;

/** Evaluates the current state. The one before the first step takes part in the choice of the best. */
async function evaluateNow(parts: Parts, progress: Progress, log: Log): Promise<Progress> {
  const { evaluation, metric, tell } = parts;
  if (evaluation === undefined) return progress;
  const { step } = progress;
  const found = await evaluation.run();
  const after = afterEvaluation(progress, judged(step, found), metric);
  const line = evaluationLine(step, found);
  log.write(line);
  tell({ kind: 'evaluation', step, evaluation: found, best: step > 0 && after.best?.step === step, line });
  warn(parts, parts.alarms.evaluation(step, found));
  return after;
}

/** Tells doubts, and keeps them for the result. */
function warn({ tell, warnings }: Parts, texts: readonly string[]): void {
  warnings.push(...texts);
  for (const text of texts) tell({ kind: 'notice', text });
}

const skipNotice = ({ step, lossScale = 1 }: Step): string =>
  `step ${step} was skipped: at loss scale ${lossScale} its gradient overflows float16, so the scale is now ${lossScale / 2}`;
