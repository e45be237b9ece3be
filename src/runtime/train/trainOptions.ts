/** Options, progress and result of a training run. */

import { badOption } from '../../errors.ts';
import { defined } from '../../formats/defined.ts';
import { bytesOf } from '../../formats/rawTensor.ts';
import { keysOf } from '../../graph/choices/choice.ts';
import type { MetricName } from '../../graph/choices/metrics.ts';
import type { Evaluation } from '../evaluate/evaluate.ts';
import { digest, fileDigest, packageDigest } from '../runFolder/fingerprint.ts';
import type { RunIdentity } from '../runFolder/index.ts';
import type { NodePlacement } from '../session/nodePlacement.ts';
import type { JudgedEvaluation } from './outcome.ts';
import type { Step } from './runPlan.ts';
import type { FitOptions, Trainer, TrainerOptions } from './trainer.ts';

export interface TrainOptions extends TrainerOptions, FitOptions {
  /** A data file. */
  readonly data: string;
  /** The run folder. */
  readonly out: string;
  /** Replaces an existing run folder. */
  readonly force?: boolean | undefined;
  /** Resumes from the last checkpoint of `out`. */
  readonly resume?: boolean | undefined;
  /** A data file to evaluate on. */
  readonly evalData?: string | undefined;
  /** Steps between evaluations; default once per epoch. There is always one at the end. */
  readonly evalEvery?: number | undefined;
  /** Steps between checkpoints; default 500, and never more than ten minutes. There is always one at the end. */
  readonly saveEvery?: number | undefined;
  /** Checkpoints to keep: the last ones; that of the best evaluation is kept in addition. Default 5. */
  readonly keep?: number | undefined;
  /** The metric that decides which adapter is the best, and patience. Default loss. */
  readonly metric?: MetricName | undefined;
  /** Stops after this many evaluations in a row that are no better than the best. */
  readonly patience?: number | undefined;
  /** When aborted, the run stops after the current step and writes a checkpoint. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: TrainEvent) => void) | undefined;
}

export type TrainEvent =
  | {
      readonly kind: 'start';
      readonly provider: string;
      /** Steps done before. */
      readonly from: number;
      readonly totalSteps: number;
      readonly stepsPerEpoch: number;
      readonly trainable: number;
    }
  /** `line`: the step's line of log.jsonl. */
  | { readonly kind: 'step'; readonly step: Step; readonly line: object }
  | {
      readonly kind: 'evaluation';
      readonly step: number;
      readonly evaluation: Evaluation;
      readonly best: boolean;
      readonly line: object;
    }
  /** After the first run on a provider other than the CPU's. */
  | { readonly kind: 'placement'; readonly placement: NodePlacement }
  | { readonly kind: 'checkpoint'; readonly step: number; readonly directory: string }
  | { readonly kind: 'notice'; readonly text: string };

export interface TrainResult {
  readonly run: string;
  /** The PEFT directory; absent if the run was interrupted. */
  readonly adapter?: string;
  readonly checkpoint: string;
  readonly provider: string;
  /** The providers of the nodes of a step; absent on the CPU. */
  readonly placement?: NodePlacement;
  readonly stopped: 'done' | 'patience' | 'interrupted';
  readonly steps: number;
  readonly epochs: number;
  /** The loss of the last step that this process took. */
  readonly loss?: number;
  /** The metric that decided which evaluation is the best. */
  readonly metric: MetricName;
  /** Whether an evaluation after a step beats that before the first one; null without evaluations to compare. */
  readonly improved: boolean | null;
  /** The evaluation before the first step. */
  readonly start?: JudgedEvaluation;
  /** The best evaluation, that before the first step included: the adapter in `adapter/`. */
  readonly best?: JudgedEvaluation;
  /** The last evaluation. */
  readonly end?: JudgedEvaluation;
  /** Seconds that this process took. */
  readonly seconds: number;
  /** Doubts about the data and the package, for the user. */
  readonly warnings?: readonly string[];
}

/** Checks the counts. Errors: BAD_OPTION. */
export function checkCounts({
  evalEvery,
  saveEvery,
  keep,
  patience,
  metric,
  evalData,
  resume,
  force,
}: TrainOptions): void {
  for (const [name, value] of Object.entries({ 'eval-every': evalEvery, 'save-every': saveEvery, keep, patience })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value > 0)) {
      throw badOption(`--${name} must be a positive integer, not ${value}`);
    }
  }
  const given = { 'eval-every': evalEvery, patience, metric };
  const needing = keysOf(given).find((name) => given[name] !== undefined);
  if (evalData === undefined && needing !== undefined) throw badOption(`--${needing} needs --eval-data`);
  if (resume === true && force === true) throw badOption('use either --resume or --force, not both');
}

/** All facts that the numbers of a run depend on, except its length: a run may be made longer. */
export async function identify(trainer: Trainer, o: TrainOptions): Promise<RunIdentity> {
  const { params } = await trainer.getState();
  return {
    packageSha256: packageDigest(trainer.directory, trainer.manifest),
    'initial adapterSha256': digest([bytesOf(params)]),
    dataSha256: fileDigest(o.data),
    ...(o.evalData === undefined ? {} : { 'evaluation dataSha256': fileDigest(o.evalData) }),
    batchSize: o.batchSize ?? null,
    gradAccum: o.gradAccum ?? 1,
    learningRate: o.learningRate ?? 1e-4,
    schedule: o.schedule ?? 'constant',
    warmup: o.warmup ?? 0,
    shuffle: o.shuffle ?? true,
    // A run of an earlier version, which had no grouping, can be resumed.
    ...(o.groupByLength === true ? { groupByLength: true } : {}),
    seed: o.seed ?? 0,
    maxLength: o.maxLength ?? null,
    pad: o.pad ?? {},
    labelColumn: o.labelColumn ?? null,
    ...(o.metric === undefined ? {} : { metric: o.metric }),
    ...defined({
      textColumn: o.textColumn,
      textPairColumn: o.textPairColumn,
      completionOnly: o.completionOnly,
      assistantOnly: o.assistantOnly,
    }),
  };
}
