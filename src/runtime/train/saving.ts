/** The checkpoints of a run, its plot, and the adapter that it keeps. */

import { join } from 'node:path';
import { badCheckpoint } from '../../errors.ts';
import { writeFolderAtomic } from '../../formats/files.ts';
import type { MetricName } from '../../graph/choices/metrics.ts';
import {
  type AdapterFormat,
  checkpointPath,
  checkpointSteps,
  type Judged,
  lastCheckpoint,
  type Progress,
  prune,
  readCheckpoint,
  setAside,
  writeCheckpoint,
} from '../runFolder/checkpoint.ts';
import type { ClaimedRun } from '../runFolder/index.ts';
import type { Alarms } from './alarms.ts';
import type { PlottedLog } from './runLog.ts';
import type { Fit, PreparedEvaluation, Trainer } from './trainer.ts';
import type { TrainEvent, TrainOptions } from './trainOptions.ts';

/** The parts of a run. */
export interface Parts {
  readonly trainer: Trainer;
  readonly fit: Fit;
  readonly evaluation: PreparedEvaluation | undefined;
  readonly adapters: AdapterFormat;
  readonly options: TrainOptions;
  readonly claimed: ClaimedRun;
  readonly tell: (event: TrainEvent) => void;
  /** Doubts for the result; a run adds to them. */
  readonly warnings: string[];
  readonly alarms: Alarms;
  /** The metric that decides which evaluation is the best. */
  readonly metric: MetricName;
  /** The time at which this process began, as of performance.now. */
  readonly began: number;
  /** The identity of the run, for its checkpoints. */
  readonly id: string;
}

/**
 * Loads the state of the last good checkpoint into the trainer; undefined for a run that was interrupted before its
 * first one. Errors: BAD_CHECKPOINT.
 */
export async function takeUp({ trainer, adapters, options, tell, id }: Parts): Promise<Progress | undefined> {
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
export async function save(parts: Parts, progress: Progress, log: PlottedLog, last = false): Promise<void> {
  const { trainer, adapters, options, claimed, tell } = parts;
  claimed.lock.check();
  // The log must never lag behind the checkpoint: its lines are not written again.
  log.flush();
  const { out, keep = 5 } = options;
  const directory = writeCheckpoint(out, trainer.manifest, await trainer.getState(), progress, adapters);
  try {
    prune(out, keep, progress);
  } catch (error) {
    tell({
      kind: 'notice',
      text: `an old checkpoint could not be removed: ${error instanceof Error ? error.message : error}`,
    });
  }
  tell({ kind: 'checkpoint', step: progress.step, directory });
  await draw(parts, log, last);
}

export async function draw({ claimed, tell }: Parts, log: PlottedLog, last: boolean): Promise<void> {
  claimed.lock.check();
  const why = await log.plot.draw(last);
  if (why !== undefined) tell({ kind: 'notice', text: why });
}

/** Writes adapter/: the best on the evaluation data, else the last. Errors: WRITE_FAILED, BAD_CHECKPOINT. */
export async function keepAdapter(
  { trainer, adapters, options, claimed }: Parts,
  best: Judged | undefined,
): Promise<string> {
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
