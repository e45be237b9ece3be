/**
 * checkpoints/step-N of a run folder: a PEFT directory with optimizer.safetensors and trainer_state.json beside it. A
 * checkpoint is complete or absent: it is written under another name, flushed to the disk and renamed.
 */

import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { badCheckpoint } from '../../errors.ts';
import { readWhole, writeFolderAtomic, writing } from '../../formats/files.ts';
import type { Manifest } from '../../formats/manifest.ts';
import { bytesOf, type RawTensor, toFloat32 } from '../../formats/rawTensor.ts';
import { encodeSafetensors, parseSafetensors } from '../../formats/safetensors.ts';
import { metricNames } from '../../graph/choices/metrics.ts';
import type { TrainingState } from '../worker/protocol.ts';
import { digest } from './fingerprint.ts';

/** A directory or a file; or several, each with its strength. */
export type AdapterSource = string | Readonly<Record<string, number>>;

/** Reads and writes adapters; passed in because the runtime does not depend on PEFT. */
export interface AdapterFormat {
  /** The flat vector of any adapter that fits the package in `directory`. Errors: BAD_ADAPTER, ADAPTER_MISMATCH. */
  read(manifest: Manifest, source: AdapterSource, directory: string): Float32Array;
  /** The same for a directory that `files` wrote, bit for bit. */
  readExact(manifest: Manifest, directory: string): Float32Array;
  files(manifest: Manifest, params: Float32Array): readonly AdapterFile[];
}

export interface AdapterFile {
  readonly name: string;
  readonly chunks: readonly Uint8Array[];
}

/** An evaluation, by its metrics; infinite and absent numbers are left out. */
const judgedSchema = z.object({
  step: z.int().nonnegative(),
  metrics: z.partialRecord(z.enum(metricNames), z.number()),
});

const progressSchema = z.object({
  /** Optimizer steps done. */
  step: z.int().nonnegative(),
  epoch: z.number(),
  /** The best evaluation so far, that before the first step included; its adapter is in the checkpoint of that step. */
  best: judgedSchema.optional(),
  /** The best evaluation of a trained adapter. */
  trained: judgedSchema.optional(),
  /** The evaluation before the first step, and the last one. */
  start: judgedSchema.optional(),
  end: judgedSchema.optional(),
  /** The number of evaluations since the best one. */
  waited: z.int().nonnegative(),
  /** The identity of the run: package, data and options. */
  run: z.string(),
});

/** Digests of the other files, and of the fields above. */
const stateSchema = progressSchema.extend({
  format: z.literal('loraify-checkpoint/1'),
  sha256: z.record(z.string(), z.string()),
  self: z.string(),
});

export type Judged = z.infer<typeof judgedSchema>;
export type Progress = z.infer<typeof progressSchema>;

export interface Checkpoint {
  readonly directory: string;
  readonly progress: Progress;
  readonly state: TrainingState;
}

const stateName = 'trainer_state.json';
const optimizerName = 'optimizer.safetensors';
const folderOf = (run: string): string => join(run, 'checkpoints');

export function checkpointPath(run: string, step: number): string {
  return join(folderOf(run), `step-${step}`);
}

/** Writes checkpoints/step-N, replacing an existing one. Errors: WRITE_FAILED. */
export function writeCheckpoint(
  run: string,
  manifest: Manifest,
  state: TrainingState,
  progress: Progress,
  adapters: AdapterFormat,
): string {
  const target = checkpointPath(run, progress.step);
  const files = [...adapters.files(manifest, state.params), { name: optimizerName, chunks: optimizerChunks(state) }];
  const sha256 = Object.fromEntries(files.map(({ name, chunks }) => [name, digest(chunks)]));
  const fields = { format: 'loraify-checkpoint/1', ...progressSchema.parse(progress), sha256 };
  const text = `${JSON.stringify({ ...fields, self: digestOf(fields) }, undefined, 2)}\n`;
  writeFolderAtomic(target, [...files, { name: stateName, chunks: [Buffer.from(text)] }]);
  return target;
}

export interface LastCheckpoint {
  readonly checkpoint: Checkpoint;
  /** Later ones that cannot be used, newest first. */
  readonly passedOver: readonly { readonly directory: string; readonly reason: string }[];
  /** The reason why the best adapter so far is lost, if it is: training continues without it. */
  readonly lostBest?: string;
}

/**
 * The last complete checkpoint of a run, together with the one of its best evaluation. If that one is damaged, an
 * earlier checkpoint is used, so that the best adapter is found again; without an earlier one, training continues and
 * the best adapter is lost. Errors: BAD_CHECKPOINT if there is none.
 */
export function lastCheckpoint(run: string, manifest: Manifest, adapters: AdapterFormat): LastCheckpoint {
  const passedOver: { directory: string; reason: string }[] = [];
  let withoutBest: LastCheckpoint | undefined;
  for (const step of checkpointSteps(run).reverse()) {
    const directory = checkpointPath(run, step);
    try {
      const checkpoint = readCheckpoint(directory, manifest, adapters);
      if (checkpoint.progress.step !== step) throw badCheckpoint(`it is of step ${checkpoint.progress.step}`);
      const lostBest = damageOfBest(run, checkpoint.progress, manifest, adapters);
      if (lostBest === undefined) return { checkpoint, passedOver };
      const progress = { ...checkpoint.progress, best: undefined, trained: undefined, waited: 0 };
      withoutBest ??= { checkpoint: { ...checkpoint, progress }, passedOver: [...passedOver], lostBest };
      passedOver.push({ directory, reason: lostBest });
    } catch (error) {
      passedOver.push({ directory, reason: reasonOf(error) });
    }
  }
  if (withoutBest !== undefined) return withoutBest;
  const why = passedOver.map(({ directory, reason }) => `; ${directory}: ${reason}`).join('');
  throw badCheckpoint(`"${run}" has no checkpoint to resume from${why}`, run);
}

function damageOfBest(
  run: string,
  { step, best }: Progress,
  manifest: Manifest,
  adapters: AdapterFormat,
): string | undefined {
  if (best === undefined || best.step === step) return undefined;
  try {
    readCheckpoint(checkpointPath(run, best.step), manifest, adapters);
    return undefined;
  } catch (error) {
    return `the best evaluation's checkpoint step-${best.step}: ${reasonOf(error)}`;
  }
}

/**
 * Renames checkpoints to step-N.damaged: the run repeats their steps, and until then they must not be taken for its
 * last ones. Errors: WRITE_FAILED.
 */
export function setAside({ passedOver }: LastCheckpoint): void {
  for (const { directory } of passedOver) {
    const aside = `${directory}.damaged`;
    writing(directory, () => {
      rmSync(aside, { recursive: true, force: true });
      renameSync(directory, aside);
    });
  }
}

/**
 * Removes all checkpoints except the last `keep` and those of the best evaluations, and the leftovers of killed
 * processes. Errors: WRITE_FAILED.
 */
export function prune(run: string, keep: number, { best, trained }: Pick<Progress, 'best' | 'trained'>): void {
  const steps = checkpointSteps(run);
  const kept = new Set([best?.step, trained?.step]);
  const extra = steps.slice(0, -keep).filter((step) => !kept.has(step));
  // The checkpoint from before the first step is kept until there is another, or while it is the best.
  if (steps.length > 1 && steps[0] === 0 && !kept.has(0) && !extra.includes(0)) extra.push(0);
  for (const step of extra) {
    // A partly removed checkpoint must never be visible under its name.
    const gone = join(folderOf(run), `.step-${step}.${process.pid}.old`);
    writing(checkpointPath(run, step), () => {
      renameSync(checkpointPath(run, step), gone);
      rmSync(gone, { recursive: true, force: true });
    });
  }
}

/** The steps of the checkpoints of a run, ascending. */
export function checkpointSteps(run: string): number[] {
  const folder = folderOf(run);
  if (!existsSync(folder)) return [];
  const steps = readdirSync(folder).flatMap((name) => (/^step-\d+$/.test(name) ? [Number(name.slice(5))] : []));
  return steps.sort((a, b) => a - b);
}

/** Reads a checkpoint. Errors: BAD_CHECKPOINT for a file that is missing, changed or of another package's size. */
export function readCheckpoint(directory: string, manifest: Manifest, adapters: AdapterFormat): Checkpoint {
  const fail = (reason: string): Error => badCheckpoint(reason, directory);
  const read = (name: string): Uint8Array =>
    readWhole(join(directory, name), 2 ** 33, () => fail(`${name} is too large`));
  const parsed = stateSchema.safeParse(parseJson(read(stateName)));
  if (!parsed.success) throw fail(`${stateName} is malformed: ${parsed.error.issues[0]?.message}`);
  const { self, ...said } = parsed.data;
  if (self !== digestOf(said)) throw fail(`${stateName} was changed`);
  const { format: _, sha256, ...progress } = said;
  const contents = new Map(Object.keys(sha256).map((name) => [name, read(name)]));
  for (const [name, bytes] of contents) if (digest([bytes]) !== sha256[name]) throw fail(`${name} was changed`);
  const { tensors } = parseSafetensors(
    contents.get(optimizerName) ?? read(optimizerName),
    join(directory, optimizerName),
  );
  const vector = (name: string, size: number): Float32Array => {
    const tensor = tensors.get(name);
    const values = tensor === undefined ? undefined : toFloat32(tensor);
    if (values?.length !== size) throw fail(`${optimizerName} has no ${name} of ${size} elements`);
    return values;
  };
  const { size, v, lossScale } = manifest.state;
  const state: TrainingState = {
    params: adapters.readExact(manifest, directory),
    m: vector('lora_m', size),
    v: v === undefined ? undefined : vector('lora_v', size),
    step: vector('lora_step', 1)[0] ?? 0,
    lossScale: lossScale === undefined ? undefined : vector('lora_loss_scale', 1)[0],
  };
  return { directory, progress, state };
}

function optimizerChunks({ m, v, step, lossScale }: TrainingState): Uint8Array[] {
  const tensor = (values: Float32Array, shape: readonly number[]): RawTensor => ({
    dtype: 'F32',
    shape,
    data: bytesOf(values),
  });
  return encodeSafetensors([
    ['lora_m', tensor(m, [m.length])],
    ...(v === undefined ? [] : [['lora_v', tensor(v, [v.length])] as const]),
    ['lora_step', tensor(Float32Array.of(step), [])],
    ...(lossScale === undefined ? [] : [['lora_loss_scale', tensor(Float32Array.of(lossScale), [])] as const]),
  ]);
}

/** A digest of the values, independent of their order. */
function digestOf(fields: object): string {
  const sorted = Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1));
  return digest([Buffer.from(JSON.stringify(sorted))]);
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
