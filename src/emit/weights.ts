/**
 * The placement of a package's weights. Every tensor is stored once, however many graphs read it: data files of the
 * source are copied whole and referred to at their original offsets, everything else is streamed into one file, aligned
 * for mapping.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, copyFileSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { badModel, LoraifyError, writeFailed } from '../errors.ts';
import { graphKinds } from '../graph/choices/compile.ts';
import { trainableMark } from '../graph/marks.ts';
import { freshName, type Graph, type Model } from '../graph/model.ts';
import { chunks, staysInside, type Tensor } from '../graph/tensor.ts';
import { type Copying, type CopyRange, startCopying } from './copying.ts';
import type { Placement, Placements } from './encodeTensor.ts';
import { reason } from './outputs.ts';

/** Memory mapping requires page boundaries (https://onnx.ai/onnx/repo-docs/ExternalData.html). */
const alignment = 4096;

/** File names of a package that a data file of the source must not have. */
const packageNames: ReadonlySet<string> = new Set([
  ...graphKinds.map((n) => `${n}.onnx`),
  'loraify.json',
  'source.skeleton',
  'config.json',
  'adapter',
]);

/** A data file of the source: `location` is the name in the model, `path` where it is now. */
export interface DataFile {
  readonly location: string;
  readonly path: string;
}

export interface WeightsPlan {
  readonly placements: Placements;
  /** The new place of bytes that a tensor reads from a source; `key` is the result of `rangeKey`. */
  readonly ranges: ReadonlyMap<string, Placement>;
  /** Weights are rounded in the package: the exact ones are only in the source. */
  readonly rounded: boolean;
  /** Data files to copy whole. */
  readonly copies: readonly DataFile[];
  /** The file that this package adds, undefined if it would be empty. `bytes` is its size. */
  readonly file: { readonly name: string; readonly bytes: number; readonly tensors: readonly Tensor[] } | undefined;
}

/**
 * Places all large tensors of all the models, in order of first use; trainable ones, strings and sparse tensors stay
 * inside. `dataFiles` are those of the source, `own` the name of the file that is added. Errors: BAD_MODEL if a data
 * file has the name of a file of the package.
 */
export function planWeights(
  models: readonly Model[],
  dataFiles: readonly DataFile[] = [],
  own = 'weights.bin',
): WeightsPlan {
  for (const f of dataFiles) {
    const [first] = f.location.split(/[/\\]/).filter((p) => p !== '.' && p !== '');
    if (first !== undefined && packageNames.has(first.toLowerCase()))
      throw badModel(`its data file "${f.location}" has the name of a file that the package writes; rename it`);
  }
  const locations = new Set(dataFiles.map((f) => f.location));
  const name = freshName(own, locations);
  const placements = new Map<Tensor, Placement>();
  const byContent = new Map<string, Placement>();
  const tensors: Tensor[] = [];
  let bytes = 0;
  for (const t of models.flatMap(largeTensors)) {
    if (placements.has(t)) continue;
    const kept = inSource(t, locations);
    const key = kept === undefined ? contentKey(t) : undefined;
    const before = key === undefined ? kept : byContent.get(key);
    if (before !== undefined) {
      placements.set(t, before);
      continue;
    }
    const offset = Math.ceil(bytes / alignment) * alignment;
    const placement = { location: name, offset, length: t.byteLength };
    placements.set(t, placement);
    if (key !== undefined) byContent.set(key, placement);
    tensors.push(t);
    bytes = offset + t.byteLength;
  }
  return {
    placements,
    ranges: byContent,
    rounded: models.some((m) => allTensors(m).some((t) => t.payload.kind === 'rounded')),
    copies: dataFiles,
    file: tensors.length === 0 ? undefined : { name, bytes, tensors },
  };
}

/** The tensor's place in the source's own data file, if the tensor is unchanged. */
function inSource(t: Tensor, locations: ReadonlySet<string>): Placement | undefined {
  const declared = t.origin?.external;
  if (declared === undefined || !locations.has(declared.location)) return undefined;
  const same = t.payload.kind === 'range' && t.payload.offset === declared.offset && t.byteLength === declared.length;
  return same ? declared : undefined;
}

/** Equal keys mean equal bytes; undefined if computing the key would mean reading a weight. */
function contentKey(t: Tensor): string | undefined {
  if (t.payload.kind === 'range') return rangeKey(t.payload.source.name, t.payload.offset, t.byteLength);
  if (t.payload.kind === 'inline') return createHash('sha256').update(t.payload.bytes).digest('hex');
  if (t.payload.kind === 'rounded') {
    const exact = contentKey(t.payload.from);
    return exact === undefined ? undefined : `${exact}:${t.dtype}`;
  }
  return undefined;
}

/** A key for a range of a source. */
export const rangeKey = (source: string, offset: number, bytes: number): string => `${source}:${offset}:${bytes}`;

const largeTensors = (model: Model): Tensor[] => allTensors(model).filter(isLarge);

const allTensors = (model: Model): Tensor[] =>
  [model.graph, ...model.functions.map((f) => f.body)].flatMap(graphTensors);

/** The graph's tensors, except those that are trained. */
function graphTensors(graph: Graph): Tensor[] {
  const tensors: Tensor[] = [];
  for (const v of graph.initializers)
    if (v.tensor !== undefined && !v.metadata.has(trainableMark)) tensors.push(v.tensor);
  for (const n of graph.nodes) {
    // Only Constant's value: loaders do not look for external data in other attributes.
    if (n.op === 'Constant' && n.domain === '')
      for (const a of n.attrs.values()) if (a.kind === 'tensor') tensors.push(a.value);
    if (n.bodies.length > 0) tensors.push(...n.bodies.flatMap(graphTensors));
  }
  return tensors;
}

const isLarge = (t: Tensor): boolean =>
  !staysInside(t) && t.payload.kind !== 'strings' && t.metadata?.has(trainableMark) !== true;

/** Weights that are being written to the file of a plan, while the graphs that need them are still being made. */
export interface StartedWeights {
  /** Offsets of the tensors that are being copied. */
  readonly offsets: ReadonlyMap<Tensor, number>;
  readonly copying: Copying;
  readonly fd: number;
  /** Must always be called, after `writeWeights` or instead of it. */
  end(): Promise<void>;
}

/**
 * Starts to copy the tensors of a plan that are in open files; `writeWeights` with a plan that begins with the same
 * tensors finishes it. Errors: WRITE_FAILED.
 */
export function startWeights(plan: WeightsPlan, folder: string): StartedWeights | undefined {
  if (plan.file === undefined) return undefined;
  const offsets = new Map<Tensor, number>();
  const ranges: CopyRange[] = [];
  for (const t of plan.file.tensors) {
    const place = plan.placements.get(t);
    const range = rangeOf(t);
    if (range === undefined || place === undefined) continue;
    offsets.set(t, place.offset);
    ranges.push({ ...range, to: place.offset });
  }
  const fd = openTarget(join(folder, plan.file.name));
  const copying = startCopying({ target: fd, ranges });
  return {
    offsets,
    fd,
    copying,
    end: async () => {
      await copying.stop();
      closeSync(fd);
    },
  };
}

/** The range of a tensor that a worker thread, which handles only files, can read and round. */
function rangeOf(t: Tensor): Omit<CopyRange, 'to'> | undefined {
  const { payload: p, dtype, byteLength: bytes } = t;
  if (p.kind === 'rounded' && (dtype === 'float16' || dtype === 'bfloat16')) {
    const exact = rangeOf(p.from);
    return exact?.round === undefined ? exact && { ...exact, round: dtype } : undefined;
  }
  if (p.kind !== 'range' || p.source.fd === undefined) return undefined;
  return { fd: p.source.fd, offset: p.offset, bytes };
}

/**
 * Copies and writes the plan's weights into `folder`, except for those of `started`, which is awaited. Memory does not
 * depend on the weights. Errors: WRITE_FAILED, and those of reading the sources.
 */
export async function writeWeights(plan: WeightsPlan, folder: string, started?: StartedWeights): Promise<void> {
  for (const { location, path } of plan.copies) {
    const to = join(folder, location);
    try {
      mkdirSync(dirname(to), { recursive: true });
      copyFileSync(path, to, constants.COPYFILE_FICLONE);
    } catch (error) {
      throw writeFailed(to, reason(error));
    }
  }
  if (plan.file === undefined) return;
  const { name, bytes, tensors } = plan.file;
  const to = join(folder, name);
  const fd = started?.fd ?? openTarget(to);
  try {
    const offsetOf = (t: Tensor): number => plan.placements.get(t)?.offset ?? 0;
    const isCopied = (t: Tensor): boolean => started?.offsets.get(t) === offsetOf(t);
    for (const t of tensors) if (!isCopied(t)) writeTensor(fd, t, offsetOf(t));
    // An error of the worker thread is thrown here, with its code.
    if (started !== undefined && !(await started.copying.done))
      for (const t of tensors) if (isCopied(t)) writeTensor(fd, t, offsetOf(t));
    // The gaps between tensors are never written: they read as zeros.
    ftruncateSync(fd, bytes);
  } catch (error) {
    if (error instanceof LoraifyError) throw error;
    throw writeFailed(to, reason(error));
  } finally {
    if (started === undefined) closeSync(fd);
  }
}

function openTarget(path: string): number {
  try {
    return openSync(path, 'wx');
  } catch (error) {
    throw writeFailed(path, reason(error));
  }
}

function writeTensor(fd: number, t: Tensor, offset: number): void {
  let at = offset;
  for (const chunk of chunks(t)) {
    writeAt(fd, chunk, at);
    at += chunk.length;
  }
}

/** Writes all of the bytes, in as many calls as that takes. */
export function writeAt(fd: number, bytes: Uint8Array, position: number): void {
  let done = 0;
  while (done < bytes.length)
    done += writeSync(fd, bytes, done, Math.min(bytes.length - done, 2 ** 30), position + done);
}
