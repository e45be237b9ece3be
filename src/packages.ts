/** Opening what a user names: an ONNX file, or a package, which holds its source. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { printModel, splicedSource } from './emit/index.ts';
import { badPackage } from './errors.ts';
import { type Manifest, type ManifestLayer, manifestName, readManifest } from './formats/manifest.ts';
import type { Model } from './graph/model.ts';
import { type Parsed, parseFile, parseSource } from './parser/index.ts';
import { type Candidate, findCandidates } from './passes/index.ts';

/** A package that was compiled before. */
export interface OpenedPackage {
  readonly dir: string;
  readonly manifest: Manifest;
}

/** What `compile` returned of a package, read back. Errors: BAD_PACKAGE. */
export async function openPackage(dir: string): Promise<OpenedPackage> {
  return { dir, manifest: readManifest(dir) };
}

/** An ONNX file, or the source inside a package. */
export function openModel(file: string): Parsed {
  return existsSync(join(file, manifestName)) ? openSource(file, readManifest(file)) : parseFile(file);
}

/** The source of a package, byte for byte as it was. */
export function openSource(packageDir: string, manifest: Manifest): Parsed {
  const spliced = splicedSource(packageDir, { sha256: manifest.source.sha256, splices: manifest.splices ?? [] });
  return parseSource(spliced, packageDir, () => spliced.close());
}

/** The weights of a package's layers in its source, in the order of the manifest. Errors: BAD_PACKAGE. */
export function packageCandidates(model: Model, manifest: Manifest): { layer: ManifestLayer; candidate: Candidate }[] {
  const { candidates } = findCandidates(model, new Set(manifest.layers.map((l) => l.path)));
  const byPath = new Map(candidates.map((c) => [c.path, c]));
  return manifest.layers.map((layer) => {
    const candidate = byPath.get(layer.path);
    if (candidate === undefined || candidate.weight !== layer.weight)
      throw badPackage(`layer "${layer.path}" is not in the package's source; its files do not belong together`);
    return { layer, candidate };
  });
}

/** The text of a model in ONNX's syntax. Throws TEXT_UNSUPPORTED for what the syntax cannot say. */
export function printModelText(file: string, options: { full?: boolean } = {}): string {
  const { model, source } = openModel(file);
  try {
    return printModel(model, { full: options.full ?? false });
  } finally {
    source.close();
  }
}
