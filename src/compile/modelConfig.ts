/** The configuration of a model beside its file, as transformers and onnxruntime-genai write it. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { defined } from '../formats/defined.ts';
import { type Pooling, poolingKinds } from '../graph/choices/heads.ts';
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

/** The config.json of transformers beside a model or in the folder above it. */
export function transformersConfig(model: string): Record<string, unknown> | undefined {
  for (const config of configsBeside(model, ['config.json']))
    if (typeof config === 'object' && config !== null && !Array.isArray(config))
      return Object.fromEntries(Object.entries(config));
  return undefined;
}

/** sentence-transformers' pooling of a model: `1_Pooling/config.json` beside the model or in the folder above it. */
export function modelPooling(model: string): Pooling | undefined {
  const [config] = configsBeside(model, ['1_Pooling/config.json']);
  return poolingKinds.find(
    (kind) => fieldOf(config, 'pooling_mode') === kind || fieldOf(config, poolingModes[kind]) === true,
  );
}

/** Their names in these files; newer ones have the kind itself as `pooling_mode`. */
const poolingModes: Readonly<Record<Pooling, string>> = {
  cls: 'pooling_mode_cls_token',
  mean: 'pooling_mode_mean_tokens',
  last: 'pooling_mode_lasttoken',
  max: 'pooling_mode_max_tokens',
};

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
