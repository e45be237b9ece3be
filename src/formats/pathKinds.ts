/** The kind of a path, by its marker, for messages about a path in the wrong place. */

import { existsSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';

export type PathKind = 'package' | 'run' | 'adapter' | 'model';

/** The files that mark folders of this program and of PEFT. */
const markers: readonly (readonly [file: string, kind: PathKind])[] = [
  ['loraify.json', 'package'],
  ['run.json', 'run'],
  ['adapter_config.json', 'adapter'],
];

/** The kind of a path; undefined for anything else, and for nothing. */
export function pathKind(path: string): PathKind | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() === true) return extname(path).toLowerCase() === '.onnx' ? 'model' : undefined;
  return stat === undefined ? undefined : markers.find(([file]) => existsSync(join(path, file)))?.[1];
}

/** A kind in a sentence. */
export const kindTexts: Readonly<Record<PathKind, string>> = {
  package: 'a package',
  run: 'a run folder',
  adapter: 'an adapter',
  model: 'a model',
};
