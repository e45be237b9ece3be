/** The configuration of a model beside its file, as transformers and onnxruntime-genai write it. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { defined } from '../formats/defined.ts';
import type { FamilyName } from '../graph/families/families.ts';

/** A larger file is not a configuration. */
export const mostBytes = 2 ** 24;

/**
 * The content of the files of these names beside a model, then of those in the folder above it, where the Hub's layout
 * has them (`onnx/model.onnx`). Undefined for a file that is not JSON.
 */
export function* configsBeside(model: string, names: readonly string[]): Generator<unknown> {
  const folder = dirname(resolve(model));
  for (const file of [folder, dirname(folder)].flatMap((f) => names.map((name) => join(f, name)))) {
    if (!existsSync(file) || !statSync(file).isFile() || statSync(file).size > mostBytes) continue;
    yield parsed(file);
  }
}

function parsed(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

export const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? new Map<string, unknown>(Object.entries(value)).get(name) : undefined;

/** The family of a model. Undefined if no configuration names one. */
export function modelFamily(model: string): FamilyName | undefined {
  // genai_config.json of onnxruntime-genai has the type as `model.type`.
  for (const config of configsBeside(model, ['config.json', 'genai_config.json'])) {
    const type = fieldOf(config, 'model_type') ?? fieldOf(fieldOf(config, 'model'), 'type');
    const architecture = fieldOf(fieldOf(config, 'architectures'), '0');
    if (typeof type === 'string')
      return defined({ type, architecture: typeof architecture === 'string' ? architecture : undefined });
  }
  return undefined;
}
