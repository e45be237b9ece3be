/** The runs of a package that have an adapter, among the folders beside it. */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import type { Manifest } from '../../formats/manifest.ts';
import { packageDigest } from './fingerprint.ts';
import { runFileName, runSchema } from './index.ts';

/** The run folders beside a package and in the working directory that belong to it, by name. */
export function runsOf(packageDir: string, manifest: Manifest): string[] {
  const folders = new Set([dirname(resolve(packageDir)), process.cwd()]);
  const found = [...folders].flatMap(childFolders).filter((folder) => existsSync(join(folder, 'adapter')));
  const runs = found.flatMap((folder) => {
    const digest = digestIn(join(folder, runFileName));
    return digest === undefined ? [] : [{ folder, digest }];
  });
  if (runs.length === 0) return [];
  const own = packageDigest(packageDir, manifest);
  const names = runs.filter(({ digest }) => digest === own).map(({ folder }) => shortened(folder));
  return [...new Set(names)].sort();
}

/** A path below the working directory relative to it. */
function shortened(path: string): string {
  const short = relative('', path);
  return short.startsWith('..') ? path : short;
}

function childFolders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true ? [path] : [];
    });
  } catch {
    return [];
  }
}

/** The digest of the package that a run trained. */
function digestIn(file: string): string | undefined {
  if (!existsSync(file)) return undefined;
  try {
    const parsed = runSchema.safeParse(JSON.parse(readFileSync(file, 'utf8')));
    const digest = parsed.data?.of.packageSha256;
    return typeof digest === 'string' ? digest : undefined;
  } catch {
    return undefined;
  }
}
