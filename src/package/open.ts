/** Opens an ONNX file, or a package, which contains its source. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { changesBase } from '../adapter/index.ts';
import { isSourceOf, printModel, splicedSource } from '../emit/index.ts';
import { badOption, badPackage, LoraifyError, sourceNeeded } from '../errors.ts';
import {
  type Manifest,
  type ManifestLayer,
  type ManifestSaved,
  manifestName,
  readManifest,
} from '../formats/manifest.ts';
import type { Model } from '../graph/model.ts';
import { sameBytes } from '../graph/sameContent.ts';
import { type ByteSource, chunks, rounded } from '../graph/tensor.ts';
import { absentData, fileSource, type Parsed, parseFile, parseSource } from '../parser/index.ts';
import {
  type Candidate,
  findCandidates,
  findExistingLora,
  findParameters,
  type JoinedCopy,
  joinCopies,
  type LiftedLora,
  liftLora,
  namedCopies,
  type Parameter,
} from '../passes/index.ts';
import { withHead } from './headedSource.ts';

/** A compiled package. */
export interface OpenedPackage {
  readonly dir: string;
  readonly manifest: Manifest;
}

/** Reads a package as `compile` returned it. Errors: BAD_PACKAGE. */
export async function openPackage(dir: string): Promise<OpenedPackage> {
  return { dir, manifest: readManifest(dir) };
}

/** An ONNX file, or the source inside a package, with its manifest. */
export function openModel(file: string): Parsed & { readonly manifest?: Manifest } {
  if (!existsSync(join(file, manifestName))) return parseFile(file);
  const manifest = readManifest(file);
  return { ...openSource(file, manifest), manifest };
}

/**
 * The original source of a package, byte for byte. A package with rounded weights has only its graph: reads of a weight
 * throw SOURCE_NEEDED if the source itself is not found.
 */
export function openSource(packageDir: string, manifest: Manifest, given?: string): Parsed {
  const skeleton = { sha256: manifest.source.sha256, splices: manifest.splices ?? [] };
  if (manifest.precision === undefined) {
    if (given !== undefined)
      throw badOption('--source is for packages compiled with --precision: this one contains its source');
    const spliced = splicedSource(packageDir, skeleton);
    const place = { folder: packageDir, renamed: manifest.source.renamed };
    return parseSource(spliced, place, () => spliced.close());
  }
  const { found, reason } = findSource(packageDir, manifest, given);
  if (found !== undefined) return found;
  const absent = (): Error => sourceNeeded(given ?? manifest.source.file, reason);
  if (given !== undefined) throw absent();
  const spliced = splicedSource(packageDir, skeleton, absent);
  return parseSource(spliced, absentData(absent), () => spliced.close());
}

/**
 * The first of `given`, the recorded path, or a file of that name beside the package or in the working directory, that
 * has the same graph; with the package's head.
 */
function findSource(
  packageDir: string,
  manifest: Manifest,
  given: string | undefined,
): { found?: Parsed; reason: string } {
  const { file, path } = manifest.source;
  const places = [...(path === undefined ? [] : [resolve(packageDir, path)]), resolve(packageDir, '..', file), file];
  let reason = 'it is neither at its recorded path nor beside the package';
  for (const place of given === undefined ? places : [given]) {
    if (!existsSync(place)) continue;
    const found = sourceAt(place, manifest);
    if (found !== undefined) return { found, reason };
    reason = `"${place}" is another model than the package was compiled from`;
  }
  return { reason: given === undefined || existsSync(given) ? reason : 'the file does not exist' };
}

/** The file with the package's head, if it is the source of the package. */
function sourceAt(
  place: string,
  { source: { bytes: size, sha256 }, head, splices = [] }: Manifest,
): Parsed | undefined {
  const isOurs = (bytes: ByteSource): boolean => bytes.size === size && isSourceOf(bytes, { sha256, splices });
  if (head === undefined) {
    const bytes = fileSource(place);
    try {
      return isOurs(bytes) ? parseFile(place) : undefined;
    } finally {
      bytes.close();
    }
  }
  let parsed: Parsed | undefined;
  try {
    parsed = parseFile(place);
    parsed = withHead(parsed, head);
    if (isOurs(parsed.source.bytes)) return parsed;
  } catch (error) {
    // Another model may have no place for the head.
    if (!(error instanceof LoraifyError)) throw error;
  }
  parsed?.source.close();
  return undefined;
}

/** The source's own files, unless they are the package's. */
export const sourceFiles = ({ precision }: Manifest, { bytes, externalFiles }: Parsed['source']): string[] =>
  precision === undefined ? [] : [bytes.name, ...externalFiles.map((f) => f.path)];

/**
 * Compares all weights of a source with the rounded ones of its package. Errors: SOURCE_NEEDED if one differs, because
 * the source was trained since.
 */
export function checkRounded(packageDir: string, manifest: Manifest, model: Model): void {
  const { precision, graphs, source: was } = manifest;
  if (precision === undefined || graphs.model === undefined) return;
  const { model: ours, source } = parseFile(join(packageDir, graphs.model));
  try {
    // The residual weights of the package's init differ from the source's.
    const changed = new Set(changesBase(manifest.lora.init) ? manifest.layers.map((l) => l.weight) : []);
    const exact = new Map([...model.graph.allGraphs()].flatMap((g) => g.initializers.map((v) => [v.name, v.tensor])));
    for (const { name, tensor } of [...ours.graph.allGraphs()].flatMap((g) => g.initializers)) {
      const from = exact.get(name);
      if (tensor?.dtype !== precision.type || from?.dtype !== 'float32' || changed.has(name)) continue;
      if (!sameBytes(chunks(tensor), chunks(rounded(from, precision.type, name))))
        throw sourceNeeded(was.file, `weight "${name}" differs from the one this package was compiled from`);
    }
  } finally {
    source.close();
  }
}

/** Changes the source of a package as its compile did before the layers were found. In place. */
export function likeCompile(
  model: Model,
  { copies = [], lora }: Manifest,
): { readonly copies: readonly JoinedCopy[]; readonly lifted: readonly LiftedLora[] } {
  const joined = joinCopies(model, namedCopies(model, copies));
  const lifted = lora.existing?.use === 'train' ? liftLora(model, findExistingLora(model).branches) : [];
  return { copies: joined, lifted };
}

/**
 * The weights of a package's layers in its source after `likeCompile`, in the order of the manifest. Errors:
 * BAD_PACKAGE.
 */
export function packageCandidates(model: Model, manifest: Manifest): { layer: ManifestLayer; candidate: Candidate }[] {
  const { candidates } = findCandidates(model, new Set(manifest.layers.map((l) => l.path)));
  const byPath = new Map(candidates.map((c) => [c.path, c]));
  return manifest.layers.map((layer) => {
    const candidate = byPath.get(layer.path);
    if (candidate === undefined || candidate.weight !== layer.weight)
      throw badPackage(`layer "${layer.path}" is not in the package's source; the files are of different packages`);
    return { layer, candidate };
  });
}

/** The modules_to_save weights of a package in its source, in the order of the manifest. Errors: BAD_PACKAGE. */
export function packageParameters(model: Model, manifest: Manifest): { saved: ManifestSaved; parameter: Parameter }[] {
  const wanted = manifest.saved ?? [];
  if (wanted.length === 0) return [];
  const { candidates } = findCandidates(model, new Set(manifest.layers.map((l) => l.path)));
  const byPath = new Map(findParameters(model, candidates).map((p) => [p.path, p]));
  return wanted.map((saved) => {
    const parameter = byPath.get(saved.parameter);
    if (parameter === undefined || parameter.tensor.dims.join() !== saved.shape.join())
      throw badPackage(`"${saved.parameter}" is not in the package's source; the files are of different packages`);
    return { saved, parameter };
  });
}

/** The text of a model in ONNX's syntax. Throws TEXT_UNSUPPORTED for facts that the syntax cannot express. */
export function printModelText(file: string, options: { full?: boolean } = {}): string {
  const { model, source } = openModel(file);
  try {
    return printModel(model, { full: options.full ?? false });
  } finally {
    source.close();
  }
}
