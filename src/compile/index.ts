/**
 * The commands compile and inspect: each function is a short chain of stages.
 *
 *   parse -> candidates -> select -> adapt -+-> lower beside the base -> model.onnx
 *                                           +-> prepare -> train, train_k, eval, grad, update
 *   weights planned once for all graphs -> package
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { writePeft } from '../adapter/index.ts';
import {
  checkFolderTarget,
  createFolder,
  encodeModel,
  planWeights,
  type StartedWeights,
  startWeights,
  writeSkeleton,
  writeWeights,
} from '../emit/index.ts';
import { type Manifest, manifestFormat, manifestName, manifestText } from '../formats/manifest.ts';
import type { Model } from '../graph/model.ts';
import { adapterFolder, peftContent } from '../package/adapters.ts';
import { writeConfig } from '../package/configFile.ts';
import { ignoredModules, moduleNames } from '../package/peftModules.ts';
import { type ModelSource, parseFile } from '../parser/index.ts';
import type { OnPass, Stored } from '../passes/index.ts';
import { version } from '../version.ts';
import { buildManifest, type ManifestInputs } from './buildManifest.ts';
import { checkLoads } from './checkLoads.ts';
import type { Compiled } from './compiled.ts';
import { compileModel } from './compileModel.ts';
import { dumper } from './dump.ts';
import { openHead } from './head.ts';
import { initialParams } from './initialFactors.ts';
import { classLabels, labelSources } from './labelNames.ts';
import { modelFamily, transformersConfig } from './modelConfig.ts';
import { type CompileOptions, halfTypeOf, type ResolvedOptions, resolveOptions } from './options.ts';
import { copyTokenizer, tokenizerFolder, tokenizerSource } from './tokenizerFiles.ts';

export interface CompileResult {
  /** The package directory (for a dry run, where it would be written). */
  readonly dir: string;
  readonly manifest: Manifest;
  /** Notices for the user that are not errors. */
  readonly warnings: readonly string[];
  /** Bytes of each graph written, by file name; empty for a dry run. */
  readonly files: Readonly<Record<string, number>>;
  /** The passes that ran, in their order; only with `timings`. */
  readonly timings?: readonly PassTime[];
}

export interface PassTime {
  readonly stage: string;
  readonly pass: string;
  readonly milliseconds: number;
}

/**
 * Compiles an ONNX file into a package directory: the adapted model, training graphs that stock ONNX Runtime executes,
 * the weights once, the initial adapter and a manifest. The package appears only if everything could be built.
 *
 * Errors: those of parsing, NO_LAYERS, NO_TARGETS, NO_GRADIENT, BAD_LOSS, BAD_OPTION, ADAPTER_MISMATCH, TARGET_EXISTS,
 * WRITE_FAILED, SOURCE_REFUSED and GRAPH_REFUSED unless `verify` is false.
 */
export async function compile(file: string, options: CompileOptions = {}): Promise<CompileResult> {
  const resolved = resolveOptions(options);
  const dir = resolved.out ?? defaultOut(file);
  const { adapter } = resolved;
  const target = {
    force: resolved.force,
    protect: [file, ...(adapter === undefined ? [] : [adapter])],
    marker: manifestName,
  };
  if (!resolved.dryRun) checkFolderTarget(dir, target);
  const tokenizer = await tokenizerSource(resolved.tokenizer, file);
  const times: PassTime[] = [];
  const onPass = listener(resolved, times);
  const family = modelFamily(file);
  const labels = labelSources(resolved.labels, file);
  const headed = openHead(parseFile(file), resolved, labels, { file, family: family?.type, onPass });
  const { model, source } = headed.parsed;
  try {
    const job: Job = {
      model,
      source,
      options: headed.options,
      tokenizer,
      // The classes of a new head, or of --labels, belong into the configuration of models made from the package.
      config: resolved.head === undefined && labels.given === undefined ? undefined : (transformersConfig(file) ?? {}),
      onPass,
      manifest: {
        file: basename(file),
        bytes: source.bytes.size,
        path: relative(resolve(dir), resolve(file)),
        data: source.externalFiles,
        format: manifestFormat,
        version,
        model,
        options: headed.options,
        labels,
        tokenizer: tokenizer && tokenizerFolder,
        family,
      },
    };
    const made = resolved.dryRun
      ? dryRun(job)
      : await createFolder(dir, target, (folder) => writeVerified(folder, file, job));
    const { manifest, files } = made;
    const timings = resolved.timings ? { timings: times } : {};
    return { dir, manifest, warnings: [...headed.warnings, ...warningsOf(made, resolved)], files, ...timings };
  } finally {
    source.close();
  }
}

/** A parsed source and the settings of its compile. */
interface Job {
  readonly model: Model;
  readonly source: ModelSource;
  readonly options: ResolvedOptions;
  /** The folder with the tokenizer's files. */
  readonly tokenizer: string | undefined;
  /** The config.json beside the source, if the package gets one. */
  readonly config: Record<string, unknown> | undefined;
  readonly onPass: OnPass;
  /** The fields of the manifest that are known before the compile. */
  readonly manifest: Omit<ManifestInputs, 'compiled' | 'skeleton' | 'weightsFile'>;
}

type Made = Pick<CompileResult, 'manifest' | 'files'> & { readonly compiled: Compiled };

/** Measures every pass, and dumps it where the options ask for it. */
function listener({ dump: folder }: ResolvedOptions, times: PassTime[]): OnPass {
  const dump = dumper(folder);
  return (run) => {
    const { stage, pass, milliseconds } = run;
    times.push({ stage, pass, milliseconds });
    dump?.(run);
  };
}

function dryRun({ model, options, onPass, manifest: known }: Job): Made {
  const compiled = compileModel(model, options, { onPass, family: known.family?.type });
  const skeleton = { sha256: '0'.repeat(64), splices: [] };
  return { compiled, manifest: buildManifest({ ...known, compiled, skeleton }), files: {} };
}

/** Writes a package that ONNX Runtime loads. Errors: SOURCE_REFUSED, GRAPH_REFUSED. */
async function writeVerified(folder: string, file: string, job: Job): Promise<Made> {
  const made = await writePackage(folder, job);
  if (job.options.verify) await checkLoads(folder, made.manifest, file);
  return made;
}

/** All files of a package, into a new folder. */
async function writePackage(
  folder: string,
  { model, source, options, tokenizer, config, onPass, manifest: known }: Job,
): Promise<Made> {
  // Files of exact weights would be most of a package that rounds them, so it refers to the source instead.
  const copied = (stored: Stored | undefined) => (stored === undefined ? source.externalFiles : []);
  const files: Record<string, number> = {};
  let started: StartedWeights | undefined;
  try {
    // model.onnx reads nearly all weights: they are copied while the training graphs are made.
    const onModel = (made: Model, stored: Stored | undefined): void => {
      started = startWeights(planWeights([made], copied(stored)), folder);
    };
    const compiled = compileModel(model, options, { onPass, onModel, family: known.family?.type });
    const plan = planWeights([...compiled.graphs.values()], copied(compiled.stored));
    for (const [name, graph] of compiled.graphs) {
      const bytes = encodeModel(graph, plan.placements);
      writeFileSync(join(folder, `${name}.onnx`), bytes);
      files[`${name}.onnx`] = bytes.length;
    }
    const skeleton = writeSkeleton(source, plan, folder);
    const manifest = buildManifest({ ...known, compiled, skeleton, weightsFile: plan.file?.name });
    mkdirSync(join(folder, adapterFolder));
    writePeft(join(folder, adapterFolder), peftContent(manifest, initialParams(compiled)));
    if (tokenizer !== undefined) copyTokenizer(tokenizer, folder);
    if (config !== undefined) {
      const { names } = classLabels(compiled.prepared, known.labels, options.headPlan) ?? {};
      writeConfig(folder, { head: manifest.head, names, loss: options.loss }, config);
    }
    writeFileSync(join(folder, manifestName), manifestText(manifest));
    await writeWeights(plan, folder, started);
    return { compiled, manifest, files };
  } finally {
    await started?.end();
  }
}

const defaultOut = (file: string): string => `${basename(file).replace(/\.onnx$/, '')}.lora`;

function warningsOf({ compiled, manifest }: Made, options: ResolvedOptions): string[] {
  const { selection, prepared, stored } = compiled;
  const type = halfTypeOf(options);
  const same =
    type === undefined || stored !== undefined
      ? []
      : [`--precision ${options.precision} changes nothing: the weights are ${type} already`];
  // The names of an adapter that is given are those that PEFT wrote.
  const names = options.adapter === undefined ? ignoredModules(manifest.source.family, moduleNames(manifest)) : [];
  return [...selection.warnings, ...names, ...same, ...(prepared?.notes ?? []), ...(prepared?.warnings ?? [])];
}
