/** The family of a model, as the configuration beside it names it: `llama`, `phi3`. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/** config.json of transformers; genai_config.json of onnxruntime-genai has the type as `model.type`. */
const names = ['config.json', 'genai_config.json'];
const mostBytes = 16 << 20;

/** Undefined if neither file is beside the model or in the folder above it. */
export function modelFamily(model: string): string | undefined {
  const folder = dirname(resolve(model));
  for (const file of [folder, dirname(folder)].flatMap((f) => names.map((name) => join(f, name)))) {
    if (!existsSync(file) || !statSync(file).isFile() || statSync(file).size > mostBytes) continue;
    const config = parsed(file);
    const type = field(config, 'model_type') ?? field(field(config, 'model'), 'type');
    if (typeof type === 'string') return type;
  }
  return undefined;
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
