/** The adapter that a command applies: the one that is given, else that of the only run beside the package. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { changesBase } from '../adapter/index.ts';
import { badAdapter, badOption, untrained } from '../errors.ts';
import type { Manifest } from '../formats/manifest.ts';
import { pathKind } from '../formats/pathKinds.ts';
import { runsOf } from '../runtime/index.ts';
import { type AdapterChoice, adapterFolder, adapterLayers } from './adapters.ts';

/** The name of the package's own adapter, from before training. */
const start = 'start';

export interface ChosenAdapter {
  readonly adapter: AdapterChoice;
  /** Sentences for the user about the choice. */
  readonly notices: readonly string[];
}

/**
 * @param isMerge an adapter that is not trained changes nothing: a merge of it is refused unless `start` selects it.
 * Errors: BAD_OPTION if there are several runs, BAD_ADAPTER for a run without an adapter, UNTRAINED.
 */
export function chosenAdapter(
  packageDir: string,
  manifest: Manifest,
  given: AdapterChoice | undefined,
  isMerge = false,
): ChosenAdapter {
  const own = join(packageDir, adapterFolder);
  const changesNothing =
    'the adapter is the start of the package, which is not trained: the merged model is the source';
  if (given === start)
    return { adapter: own, notices: isMerge && !isGiven(packageDir, manifest) ? [changesNothing] : [] };
  if (typeof given === 'string') return { adapter: inRun(given), notices: [] };
  if (given !== undefined) {
    const entries = Object.entries(given).map(([name, strength]) => [name === start ? own : inRun(name), strength]);
    return { adapter: Object.fromEntries(entries), notices: [] };
  }
  const runs = runsOf(packageDir, manifest);
  const [only, ...others] = runs;
  if (only !== undefined && others.length === 0)
    return { adapter: inRun(only), notices: [`using the adapter of the run ${only}`] };
  if (only !== undefined)
    throw badOption(
      `"${packageDir}" has ${runs.length} runs: ${runs.join(', ')}`,
      `choose one: --adapter ${only}; --adapter ${start} takes the adapter from before training`,
    );
  if (isMerge && !isGiven(packageDir, manifest)) throw untrained(packageDir);
  const from = isGiven(packageDir, manifest)
    ? 'the adapter that the package was compiled with'
    : 'the start of the package';
  return { adapter: own, notices: [`there is no run of this package beside it: using ${from}`] };
}

/** Whether the package was compiled with a trained adapter, so that its start changes the source. */
function isGiven(packageDir: string, manifest: Manifest): boolean {
  if (changesBase(manifest.lora.init)) return false;
  if (manifest.lora.peft !== undefined) return true;
  const layers = adapterLayers(packageDir, manifest, {});
  return [...layers.values()].some(({ B }) => B.some((value) => value !== 0));
}

/** The adapter of a run, if the path is that of a run folder. Errors: BAD_ADAPTER. */
function inRun(path: string): string {
  switch (pathKind(path)) {
    case 'run':
      if (existsSync(join(path, adapterFolder))) return join(path, adapterFolder);
      throw badAdapter(
        `"${path}" is a run that has not ended: it keeps no adapter yet`,
        path,
        `train with --resume -o ${path} continues it; --adapter ${join(path, 'checkpoints', 'step-N')} takes a checkpoint`,
      );
    case 'package':
      throw badAdapter(
        `"${path}" is a package, not an adapter`,
        path,
        `--adapter ${join(path, adapterFolder)} takes its start, --adapter RUN the adapter of a run`,
      );
    case 'model':
      throw badAdapter(`"${path}" is a model, not an adapter`, path, 'give a PEFT directory, an adapter file or a run');
    default:
      return path;
  }
}
