/**
 * checkpoints/step-N of a run folder: a PEFT directory with optimizer.safetensors and trainer_state.json beside it. A checkpoint
 * is there whole or not at all: it is written under another name, flushed to the disk and renamed.
 */

import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { badCheckpoint, writeFailed } from '../errors.ts';
import { readWhole, writeFileAtomic } from '../formats/files.ts';
import type { Manifest } from '../formats/manifest.ts';
import { bytesOf, type RawTensor, toFloat32 } from '../formats/rawTensor.ts';
import { encodeSafetensors, parseSafetensors } from '../formats/safetensors.ts';
import type { TrainingState } from './protocol.ts';

/** How adapters are read and written; the runtime does not know PEFT. */
export interface AdapterFormat {
  /** The flat vector of any adapter directory that fits the package. Errors: BAD_ADAPTER, ADAPTER_MISMATCH. */
  read(manifest: Manifest, directory: string): Float32Array;
  /** The same for a directory that `files` wrote: bit for bit what was given. */
  readExact(manifest: Manifest, directory: string): Float32Array;
  files(manifest: Manifest, params: Float32Array): readonly AdapterFile[];
}

export interface AdapterFile {
  readonly name: string;
  readonly chunks: readonly Uint8Array[];
}

const bestSchema = z.object({ step: z.int(), loss: z.number() });

const progressSchema = z.object({
  format: z.literal('loraify-checkpoint/1'),
  /** Optimizer steps done. */
  step: z.int().nonnegative(),
  epoch: z.number(),
  /** The best evaluation so far; its adapter is in the checkpoint of that step. */
  best: bestSchema.optional(),
  /** Evaluations since the best one. */
  waited: z.int().nonnegative(),
  /** Of the run: package, data and options. */
  run: z.string(),
  sha256: z.record(z.string(), z.string()),
});

export type Best = z.infer<typeof bestSchema>;
export type Progress = Omit<z.infer<typeof progressSchema>, 'format' | 'sha256'>;

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

/** Writes checkpoints/step-N, replacing one that is there. Errors: WRITE_FAILED. */
export function writeCheckpoint(
  run: string,
  manifest: Manifest,
  state: TrainingState,
  progress: Progress,
  adapters: AdapterFormat,
): string {
  const target = checkpointPath(run, progress.step);
  const temporary = join(folderOf(run), `.step-${progress.step}.${process.pid}.tmp`);
  const files = [...adapters.files(manifest, state.params), { name: optimizerName, chunks: optimizerChunks(state) }];
  const sha256 = Object.fromEntries(files.map(({ name, chunks }) => [name, digest(chunks)]));
  const text = `${JSON.stringify({ format: 'loraify-checkpoint/1', ...progress, sha256 }, undefined, 2)}\n`;
  try {
    mkdirSync(temporary, { recursive: true });
    for (const { name, chunks } of files) writeFileAtomic(join(temporary, name), chunks);
    writeFileAtomic(join(temporary, stateName), [Buffer.from(text)]);
    flushFolder(temporary);
    rmSync(target, { recursive: true, force: true });
    renameSync(temporary, target);
    flushFolder(folderOf(run));
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error instanceof Error && 'syscall' in error
      ? writeFailed(target, error.message.split(', ')[0] ?? '')
      : error;
  }
  return target;
}

/**
 * The last checkpoint of a run that is whole; later ones that are damaged are passed over and named.
 * Errors: BAD_CHECKPOINT where there is none.
 */
export function lastCheckpoint(
  run: string,
  manifest: Manifest,
  adapters: AdapterFormat,
): { readonly checkpoint: Checkpoint; readonly damaged: readonly string[] } {
  const damaged: string[] = [];
  for (const step of checkpointSteps(run).reverse()) {
    const directory = checkpointPath(run, step);
    try {
      return { checkpoint: readCheckpoint(directory, manifest, adapters), damaged };
    } catch (error) {
      damaged.push(`${directory}: ${error instanceof Error ? error.message : error}`);
    }
  }
  const why = damaged.length === 0 ? '' : `; those there are damaged: ${damaged.join('; ')}`;
  throw badCheckpoint(`"${run}" has no checkpoint to resume from${why}`, run);
}

/** The steps of the checkpoints of a run, ascending. */
export function checkpointSteps(run: string): number[] {
  const folder = folderOf(run);
  if (!existsSync(folder)) return [];
  const steps = readdirSync(folder).flatMap((name) => (/^step-\d+$/.test(name) ? [Number(name.slice(5))] : []));
  return steps.sort((a, b) => a - b);
}

/** Errors: BAD_CHECKPOINT for a file that is missing, changed or of another package's size. */
export function readCheckpoint(directory: string, manifest: Manifest, adapters: AdapterFormat): Checkpoint {
  const fail = (reason: string): Error => badCheckpoint(reason, directory);
  const read = (name: string): Uint8Array =>
    readWhole(join(directory, name), 2 ** 33, () => fail(`${name} is too large`));
  const parsed = progressSchema.safeParse(parseJson(read(stateName)));
  if (!parsed.success) throw fail(`${stateName} is malformed: ${parsed.error.issues[0]?.message}`);
  const { format: _, sha256, ...progress } = parsed.data;
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
  const { size, v } = manifest.state;
  const state: TrainingState = {
    params: adapters.readExact(manifest, directory),
    m: vector('lora_m', size),
    v: v === undefined ? undefined : vector('lora_v', size),
    step: vector('lora_step', 1)[0] ?? 0,
  };
  return { directory, progress, state };
}

function optimizerChunks({ m, v, step }: TrainingState): Uint8Array[] {
  const tensor = (values: Float32Array, shape: readonly number[]): RawTensor => ({
    dtype: 'F32',
    shape,
    data: bytesOf(values),
  });
  return encodeSafetensors([
    ['lora_m', tensor(m, [m.length])],
    ...(v === undefined ? [] : [['lora_v', tensor(v, [v.length])] as const]),
    ['lora_step', tensor(Float32Array.of(step), [])],
  ]);
}

export function digest(chunks: Iterable<Uint8Array>): string {
  const hash = createHash('sha256');
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** Some systems cannot flush a folder; the rename is on its way then. */
function flushFolder(folder: string): void {
  try {
    const fd = openSync(folder, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    return;
  }
}
