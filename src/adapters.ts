/** Adapters of a package: between PEFT directories and the flat state. */
import { join } from 'node:path';
import { type PeftContent, readPeft, writePeft } from './adapter/index.ts';
import { createFolder } from './emit/index.ts';
import { adapterMismatch, didYouMean } from './errors.ts';
import { type Manifest, readManifest } from './formats/manifest.ts';
import { openSource } from './packages.ts';
import { findCandidates } from './passes/index.ts';

/** The initial adapter inside a package. */
export const adapterFolder = 'adapter';

/** What a PEFT directory of this package holds. `params` is the flat vector. */
export function peftContent(manifest: Manifest, params: Float32Array): PeftContent {
  const { layers, lora, skipped } = manifest;
  const left = skipped.flatMap((s) => (s.reason.includes(': ') ? [s.reason.slice(0, s.reason.indexOf(': '))] : []));
  return {
    layers,
    params,
    scaling: lora.scaling,
    knownPaths: [...layers.map((l) => l.path), ...left],
    dropout: lora.dropout,
    init: lora.init,
  };
}

export interface ExportOptions {
  /** A PEFT directory; absent: the package's own initial adapter. */
  readonly adapter?: string | undefined;
  readonly format: 'peft';
  readonly out: string;
  readonly force?: boolean | undefined;
}

/**
 * Writes an adapter of a package as a PEFT directory that `PeftModel.from_pretrained` loads. Returns the directory and warnings.
 * Errors: BAD_PACKAGE, ADAPTER_MISMATCH, TARGET_EXISTS, WRITE_FAILED.
 */
export async function exportAdapter(
  packageDir: string,
  options: ExportOptions,
): Promise<{ dir: string; warnings: readonly string[] }> {
  const manifest = readManifest(packageDir);
  const from = options.adapter ?? join(packageDir, adapterFolder);
  const params = adapterParams(manifest, from);
  const target = { force: options.force ?? false, protect: [packageDir, from], marker: 'adapter_config.json' };
  await createFolder(options.out, target, (folder) => writePeft(folder, peftContent(manifest, params)));
  const { model, source } = openSource(packageDir, manifest);
  const fallback = findCandidates(model, new Set(manifest.layers.map((l) => l.path))).candidates.filter(
    (c) => c.from === 'fallback' && manifest.layers.some((l) => l.path === c.path),
  );
  source.close();
  const warnings =
    fallback.length === 0
      ? []
      : [
          `the file does not say which modules these layers are, so PEFT will not find them: ${fallback.map((c) => c.path).join(', ')}`,
        ];
  return { dir: options.out, warnings };
}

/** The flat vector [P] of a package from a PEFT directory. Throws ADAPTER_MISMATCH naming layers and shapes. */
export function adapterParams(manifest: Manifest, directory: string): Float32Array {
  const { tensors } = readPeft(directory);
  const params = new Float32Array(manifest.state.size);
  const unknown = [...tensors.keys()].filter((path) => !manifest.layers.some((l) => l.path === path));
  const [first] = unknown;
  if (first !== undefined)
    throw adapterMismatch(
      `the package has no layer "${first}"${didYouMean(
        first,
        manifest.layers.map((l) => l.path),
      )}`,
      directory,
    );
  for (const l of manifest.layers) {
    const t = tensors.get(l.path);
    if (t === undefined) throw adapterMismatch(`layer "${l.path}" is missing in the adapter`, directory);
    if (t.in !== l.in || t.out !== l.out || t.rank !== l.rank)
      throw adapterMismatch(
        `layer "${l.path}" is [${l.in}, ${l.out}] of rank ${l.rank} in the package, [${t.in}, ${t.out}] of rank ${t.rank} in the adapter`,
        directory,
      );
    // Another alpha means another scale: it is folded into B, which is what the branch computes.
    const fold = t.scale / l.scale;
    params.set(t.A, l.A.offset);
    params.set(fold === 1 ? t.B : t.B.map((x) => x * fold), l.B.offset);
  }
  return params;
}
