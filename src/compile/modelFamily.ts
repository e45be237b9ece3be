/** The configuration beside a model: the family of the model, such as `llama` or `phi3`, and the rest. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type Pooling, poolingKinds } from '../graph/choices/heads.ts';

/** config.json of transformers; genai_config.json of onnxruntime-genai has the type as `model.type`. */
const transformers = 'config.json';
const names = [transformers, 'genai_config.json'];
const mostBytes = 16 << 20;

/** Undefined if neither file is beside the model or in the folder above it. */
export function modelFamily(model: string): string | undefined {
  for (const config of configs(model, names)) {
    const type = field(config, 'model_type') ?? field(field(config, 'model'), 'type');
    if (typeof type === 'string') return type;
  }
  return undefined;
}

/** The config.json of transformers beside the model or in the folder above it. */
export function modelConfig(model: string): Record<string, unknown> | undefined {
  const [first] = configs(model, [transformers]).filter(
    (c) => typeof c === 'object' && c !== null && !Array.isArray(c),
  );
  return first === undefined ? undefined : Object.fromEntries(Object.entries(first ?? {}));
}

/** sentence-transformers' pooling of the model: `1_Pooling/config.json` beside the model or in the folder above it. */
export function modelPooling(model: string): Pooling | undefined {
  const [config] = configs(model, ['1_Pooling/config.json']);
  return poolingKinds.find((kind) => field(config, 'pooling_mode') === kind || field(config, modes[kind]) === true);
}

/** Their names in these files; newer ones have the kind itself as `pooling_mode`. */
const modes: Readonly<Record<Pooling, string>> = {
  cls: 'pooling_mode_cls_token',
  mean: 'pooling_mode_mean_tokens',
  last: 'pooling_mode_lasttoken',
  max: 'pooling_mode_max_tokens',
};

/** The contents of the files that are there and can be parsed, in the order of preference. */
function configs(model: string, files: readonly string[]): unknown[] {
  const folder = dirname(resolve(model));
  return [folder, dirname(folder)]
    .flatMap((f) => files.map((name) => join(f, name)))
    .filter((f) => existsSync(f) && statSync(f).isFile() && statSync(f).size <= mostBytes)
    .map(parsed);
}

function parsed(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

const field = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? new Map<string, unknown>(Object.entries(value)).get(name) : undefined;
