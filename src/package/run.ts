/**
 * Connects the runtime with PEFT adapters: the functions for training, evaluation and prediction of the library and the
 * command line.
 */

import { basename, extname, resolve } from 'node:path';
import { peftFiles, readPeft } from '../adapter/index.ts';
import { checkFileTarget, createFile } from '../emit/index.ts';
import { adapterMismatch, badOption } from '../errors.ts';
import { writeFileAtomic } from '../formats/files.ts';
import { peftParameter, peftPath, readManifest } from '../formats/manifest.ts';
import { writeNpz } from '../formats/npz.ts';
import type { Combination } from '../graph/choices/package.ts';
import { sizeOf } from '../graph/layers.ts';
import {
  type AdapterFormat,
  type Evaluation,
  openTrainer,
  predictionArrays,
  predictionLines,
  type RowOptions,
  type TrainOptions as RunOptions,
  type TrainerOptions,
  type Trainer as TrainerType,
  type TrainResult,
  train as trainRun,
  verdicts,
} from '../runtime/index.ts';
import { adapterParams, peftContent } from './adapters.ts';
import { chosenAdapter } from './chosenAdapter.ts';
import { storedValues } from './modulesToSave.ts';
import { stateVector } from './stateVector.ts';
import { checkTrainable } from './trainable.ts';

/** Adapters of a run are PEFT directories; its initial adapter may have any format. */
const peftAnd = (combination?: Combination): AdapterFormat => ({
  read: (manifest, adapter, directory) => adapterParams(directory, manifest, { adapter, combination }),
  readExact(manifest, directory) {
    const { tensors, saved } = readPeft(directory, manifest.lora.init);
    const layers = manifest.layers.map((layer) => {
      const tensor = tensors.get(peftPath(layer));
      if (tensor?.A.length !== sizeOf(layer.A.shape) || tensor.B.length !== sizeOf(layer.B.shape)) {
        throw adapterMismatch(`layer "${layer.path}" is missing in the adapter or has another shape`, directory);
      }
      if (layer.magnitude !== undefined && tensor.magnitude?.length !== layer.out)
        throw adapterMismatch(`layer "${layer.path}" has no magnitude in the adapter`, directory);
      return [layer, tensor] as const;
    });
    const whole = (manifest.saved ?? []).map((s) => {
      const tensor = saved.get(peftParameter(s));
      if (tensor === undefined) throw adapterMismatch(`"${s.parameter}" is missing in the adapter`, directory);
      return [s, storedValues(s, tensor, directory)] as const;
    });
    return stateVector(manifest.state.size, layers, whole);
  },
  files: (manifest, params) => peftFiles(peftContent(manifest, params)),
});

const peft = peftAnd();

export type Trainer = TrainerType;

/** `Trainer.open(package)`: parameters and optimizer in a worker thread, updated by `fit`. */
export const Trainer = {
  /** Opens a package. Errors: BAD_PACKAGE, BAD_ADAPTER, ADAPTER_MISMATCH, PROVIDER_MISSING, RUNTIME_FAILED. */
  open: (directory: string, options: TrainerOptions = {}): Promise<TrainerType> =>
    openTrainer(directory, options, peft),
};

export interface TrainOptions extends Omit<RunOptions, 'out'> {
  /** The run folder; default the package's name without `.lora`, and `.run`, in the working directory. */
  readonly out?: string | undefined;
}

/**
 * Trains an adapter of a package in a run folder: log, checkpoints, final adapter. Errors: TARGET_EXISTS, RUN_LOCKED,
 * BAD_CHECKPOINT, BAD_DATA, BAD_OPTION, NON_FINITE, LOSS_UNREACHED, and those of Trainer.open.
 */
export async function train(directory: string, options: TrainOptions): Promise<TrainResult> {
  const out = options.out ?? `${basename(resolve(directory)).replace(/\.lora$/, '')}.run`;
  checkTrainable(directory);
  return trainRun(directory, { ...options, out }, peft);
}

export interface EvaluateOptions extends TrainerOptions, RowOptions {
  /** A data file. */
  readonly data: string;
  /** The combination of several adapters; default linear if their ranks are equal, else cat. */
  readonly combination?: Combination | undefined;
  readonly onProgress?: (rows: number) => void;
}

/**
 * Loss and metrics of an adapter (default: the package's initial one) on a data file. Errors: as Trainer.open,
 * BAD_DATA.
 */
export async function evaluate(
  directory: string,
  options: EvaluateOptions,
): Promise<Evaluation & { readonly provider: string }> {
  const trainer = await openWith(directory, options);
  try {
    return { ...(await trainer.evaluate(options.data, options)), provider: trainer.provider };
  } finally {
    await trainer.close();
  }
}

/** Opens a package with the adapter of the options, else that of its only run. */
async function openWith(directory: string, options: EvaluateOptions): Promise<TrainerType> {
  const { adapter, notices } = chosenAdapter(directory, readManifest(directory), options.adapter);
  for (const text of notices) options.onNotice?.(text);
  return openTrainer(directory, { ...options, adapter }, peftAnd(options.combination));
}

export interface PredictOptions extends EvaluateOptions {
  /** A file ending in .npz (one array per output) or .jsonl (one object per row). */
  readonly out: string;
  readonly force?: boolean | undefined;
}

export interface PredictResult {
  readonly file: string;
  readonly rows: number;
  readonly outputs: readonly string[];
  /** Outputs that do not have one entry per row. */
  readonly leftOut: readonly string[];
  readonly provider: string;
}

/**
 * Writes the model's outputs for each row of a data file. Errors: as evaluate, BAD_OPTION, TARGET_EXISTS, WRITE_FAILED.
 */
export async function predict(directory: string, options: PredictOptions): Promise<PredictResult> {
  const { out, data, force = false } = options;
  const extension = extname(out).toLowerCase();
  if (extension !== '.npz' && extension !== '.jsonl') {
    throw badOption(`predictions are written as .npz or .jsonl, not "${extension}"`);
  }
  const target = {
    force,
    protect: [directory, data],
    sameKind: (path: string) => extname(path).toLowerCase() === extension,
  };
  checkFileTarget(out, target);
  const trainer = await openWith(directory, options);
  try {
    const prediction = await trainer.predict(data, options);
    await createFile(out, target, (file) => {
      if (extension === '.npz') writeNpz(file, predictionArrays(prediction));
      else writeFileAtomic(file, lineBytes(predictionLines(prediction, verdicts(trainer.manifest, prediction))));
    });
    const { rows, outputs, leftOut } = prediction;
    return { file: out, rows, outputs, leftOut, provider: trainer.provider };
  } finally {
    await trainer.close();
  }
}

function* lineBytes(lines: Iterable<string>): Generator<Uint8Array> {
  for (const line of lines) yield Buffer.from(`${line}\n`);
}
