/** Execution providers: checks which of the requested ones start on this machine, and gives hints for the others. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { badOption, didYouMean, providerMissing } from '../../errors.ts';
import { compiledFile } from '../../formats/compiled.ts';
import { isKey, keysOf } from '../../graph/choices/choice.ts';
import { type ProviderName, providers } from '../../graph/choices/package.ts';
import { onnxRuntimeVersion } from './session.ts';

export const providerNames: readonly ProviderName[] = keysOf(providers);

/** `ok`, or the reason why the provider cannot start. */
export type ProviderState = { readonly ok: true } | { readonly ok: false; readonly reason: string };

export interface ChosenProvider {
  readonly name: string;
  /** The earlier providers in the list, and the reasons why they cannot start. */
  readonly passedOver: readonly { readonly name: string; readonly reason: string }[];
}

/**
 * The first provider of a list, in order of preference, that starts. Errors: BAD_OPTION for a name that ONNX Runtime
 * does not have; PROVIDER_MISSING with each reason if none starts.
 */
export async function chooseProvider(wanted: readonly string[]): Promise<ChosenProvider> {
  const list = wanted.length === 0 ? ['cpu'] : wanted;
  const unknown = list.find((name) => !isKey(providers, name));
  if (unknown !== undefined) {
    const near = didYouMean(unknown, providerNames) || `; known are ${providerNames.join(', ')}`;
    throw badOption(`there is no execution provider "${unknown}"${near}`);
  }
  const failures: { name: string; reason: string }[] = [];
  for (const name of list) {
    const state = await probeProvider(name);
    if (state.ok) return { name, passedOver: failures };
    failures.push({ name, reason: state.reason });
  }
  const [first] = failures;
  const rest = failures.slice(1).map(({ name, reason }) => `; nor "${name}": ${reason}`);
  throw providerMissing(
    first?.name ?? '',
    `${first?.reason}${rest.join('')}`,
    howToGet(first?.name ?? '', list.length === 1),
  );
}

/**
 * Runs a one-node graph on the provider. In a child process: graphics drivers print to stderr, and some end the process
 * when they fail.
 */
export async function probeProvider(name: string): Promise<ProviderState> {
  if (name === 'cpu') return { ok: true };
  const child = spawn(process.execPath, [compiledFile(import.meta.url, 'probe'), name], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code === 0 && text === 'ok') return { ok: true };
  const why = text === '' ? 'its process ended without a message' : text;
  return { ok: false, reason: name === 'cuda' ? cudaReason(why) : why };
}

/** The obstacle to the CUDA provider: the file that is missing, or the library that it cannot load. */
function cudaReason(reported: string): string {
  const file = cudaLibrary();
  if (file === undefined) return reported;
  if (!existsSync(file)) return `${file} is missing`;
  try {
    // The file is not a Node module, so it never registers itself, but a missing library that it depends on is named.
    process.dlopen({ exports: {} }, file);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    if (!/self-register|undefined symbol/.test(text)) return text;
  }
  return reported;
}

/** The path at which onnxruntime-node looks for its CUDA provider; undefined if the platform has none. */
function cudaLibrary(): string | undefined {
  const name =
    process.platform === 'linux'
      ? 'libonnxruntime_providers_cuda.so'
      : process.platform === 'win32'
        ? 'onnxruntime_providers_cuda.dll'
        : undefined;
  if (name === undefined) return undefined;
  const root = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
  return join(root, 'bin', 'napi-v6', process.platform, process.arch, name);
}

/** Instructions to get a provider that does not start, for the hint of an error and for `doctor`. */
export function howToGet(name: string, only = true): string {
  const otherwise = only ? 'use --ep cpu' : 'add cpu to the list';
  if (name === 'cuda') {
    return (
      `${otherwise}; or get the CUDA provider: (1) npm's build for CUDA 12, which npm fetches only when install scripts are ` +
      'allowed: npm rebuild onnxruntime-node --ignore-scripts=false; or (2) for CUDA 13: copy libonnxruntime_providers_cuda.so ' +
      `and libonnxruntime_providers_shared.so of the Python wheel onnxruntime-gpu ${onnxRuntimeVersion()} beside ` +
      `${join(dirname(cudaLibrary() ?? 'onnxruntime-node'), 'libonnxruntime.so.1')}; either way the CUDA and cuDNN libraries must ` +
      'be on LD_LIBRARY_PATH'
    );
  }
  if (name === 'webgpu')
    return `${otherwise}; WebGPU needs a GPU driver with Vulkan (Linux), Direct3D 12 (Windows) or Metal`;
  return `${otherwise}; onnxruntime-node has no "${name}" for this platform`;
}
