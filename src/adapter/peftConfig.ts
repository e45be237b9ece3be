/**
 * adapter_config.json of PEFT's LoRA (peft/tuners/lora/config.py, LoraConfig): what is read from it, what is refused, and how
 * PEFT prints it.
 */

import { z } from 'zod';
import { adapterUnsupported, badAdapter } from '../errors.ts';
import { patternTable } from '../formats/peftPattern.ts';

export interface PeftConfig {
  readonly rank: number;
  readonly alpha: number;
  /** scale = alpha / sqrt(rank) in place of alpha / rank. */
  readonly useRslora: boolean;
  readonly dropout: number;
  /** Keys are Python expressions; the first one that matches a path wins. */
  readonly rankPattern: ReadonlyMap<string, number>;
  readonly alphaPattern: ReadonlyMap<string, number>;
  /** A list of exact names and suffixes, or one Python expression; undefined: PEFT's default for the architecture. */
  readonly targetModules: readonly string[] | string | undefined;
  readonly excludeModules: readonly string[] | string | undefined;
  /** Empty: no limit. */
  readonly layersToTransform: readonly number[];
  readonly layersPattern: readonly string[];
}

export interface Scaled {
  readonly rank: number;
  readonly alpha: number;
  /** The factor on (x·A)·B. */
  readonly scale: number;
}

const rank = z.int().positive();
const names = z.union([z.string(), z.array(z.string())]).nullish();
const patterns = <T extends z.ZodType>(value: T) => z.record(z.string(), value).nullish();

const schema = z.looseObject({
  peft_type: z.string(),
  r: rank.default(8),
  lora_alpha: z.number().default(8),
  use_rslora: z.boolean().nullish(),
  lora_dropout: z.number().min(0).max(1).nullish(),
  rank_pattern: patterns(rank),
  alpha_pattern: patterns(z.number()),
  target_modules: names,
  exclude_modules: names,
  layers_to_transform: z.union([z.int(), z.array(z.int())]).nullish(),
  layers_pattern: names,
  bias: z.string().nullish(),
  init_lora_weights: z.union([z.boolean(), z.string()]).nullish(),
});

/** Fields that change what an adapter computes, or what it stores, when they are neither null, false nor empty. */
const unsupported: Readonly<Record<string, string>> = {
  use_dora: 'weight-decomposed adapters (DoRA) have a magnitude vector that plain LoRA layers lack',
  lora_bias: 'it adds a trained bias to lora_B, and a low-rank branch has no place for it',
  modules_to_save: 'it stores full copies of modules, which replace weights of the base model',
  target_parameters: 'it adapts bare parameters, not modules',
  trainable_token_indices: 'it trains rows of an embedding',
  layer_replication: 'it builds a model with other layers than the base has',
  alora_invocation_tokens: 'activated LoRA switches the branch on in the middle of a text',
  use_qalora: 'QALoRA pools the input of a branch',
  use_bdlora: 'block-diagonal LoRA shapes its matrices differently',
  arrow_config: 'Arrow routes between several adapters',
  kasa_config: 'KaSA adds singular values to the branch',
  velora_config: 'VeLoRA changes the branch',
  monteclora_config: 'MonteCLoRA samples its weights',
  megatron_config: 'it is for Megatron layers that are split over devices',
};

/** Initialisations that change the base weights: such an adapter is right only on top of the changed ones. */
const changesBase = /^(pissa|olora|corda|loftq|lora_ga)/;

/**
 * Reads the text of an adapter_config.json.
 * Errors: BAD_ADAPTER (no JSON, a field of a wrong type), ADAPTER_UNSUPPORTED (another PEFT method, or an unsupported field).
 */
export function parsePeftConfig(text: string, file?: string): PeftConfig {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw badAdapter(`it is not JSON: ${error instanceof Error ? error.message : error}`, file);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const field = issue?.path.join('.');
    throw badAdapter(`${field ? `the field "${field}": ` : ''}${issue?.message ?? 'it is malformed'}`, file);
  }
  const config = parsed.data;
  if (config.peft_type.toUpperCase() !== 'LORA') {
    throw adapterUnsupported(`peft_type ${config.peft_type}`, 'only LORA adapters can be represented', file);
  }
  for (const [field, reason] of Object.entries(unsupported)) {
    if (isUsed(config[field])) throw adapterUnsupported(field, reason, file);
  }
  if (config.bias && config.bias !== 'none') {
    throw adapterUnsupported(`bias "${config.bias}"`, 'it trains the biases of the base model', file);
  }
  const init = config.init_lora_weights;
  if (typeof init === 'string' && changesBase.test(init)) {
    const reason = 'this start changes the base weights; save with path_initial_model_for_weight_conversion in PEFT';
    throw adapterUnsupported(`init_lora_weights "${init}"`, reason, file);
  }
  const layers = config.layers_to_transform ?? [];
  return {
    rank: config.r,
    alpha: config.lora_alpha,
    useRslora: config.use_rslora ?? false,
    dropout: config.lora_dropout ?? 0,
    rankPattern: inTextOrder(config.rank_pattern ?? {}, 'rank_pattern', text),
    alphaPattern: inTextOrder(config.alpha_pattern ?? {}, 'alpha_pattern', text),
    targetModules: config.target_modules ?? undefined,
    excludeModules: config.exclude_modules ?? undefined,
    layersToTransform: typeof layers === 'number' ? [layers] : layers,
    layersPattern: [config.layers_pattern ?? []].flat().filter((pattern) => pattern !== ''),
  };
}

/** Rank, alpha and scale of a module path under the patterns of a config. Errors: BAD_PATTERN. */
export function effectiveScale(
  config: Pick<PeftConfig, 'rank' | 'alpha' | 'useRslora' | 'rankPattern' | 'alphaPattern'>,
): (path: string) => Scaled {
  const rankOf = patternTable(config.rankPattern, 'rank_pattern');
  const alphaOf = patternTable(config.alphaPattern, 'alpha_pattern');
  return (path) => {
    const r = rankOf(path) ?? config.rank;
    const alpha = alphaOf(path) ?? config.alpha;
    return { rank: r, alpha, scale: alpha / (config.useRslora ? Math.sqrt(r) : r) };
  };
}

/** What json.dumps(value, indent=2, sort_keys=True) of Python prints, ASCII only; `floats` are fields that print as 0.0. */
export function pythonJson(value: unknown, floats: ReadonlySet<string>): string {
  const scalar = (v: unknown): string =>
    (JSON.stringify(v) ?? 'null').replace(
      /[\u007f-\uffff]/g,
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  const print = (v: unknown, indent: string, key: string): string => {
    const inner = `${indent}  `;
    const wrap = (open: string, items: readonly string[], close: string): string =>
      items.length === 0 ? open + close : `${open}\n${inner}${items.join(`,\n${inner}`)}\n${indent}${close}`;
    if (Array.isArray(v)) {
      return wrap(
        '[',
        v.map((item) => print(item, inner, key)),
        ']',
      );
    }
    if (typeof v === 'object' && v !== null) {
      const entries = Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1));
      return wrap(
        '{',
        entries.map(([name, item]) => `${scalar(name)}: ${print(item, inner, name)}`),
        '}',
      );
    }
    return typeof v === 'number' && Number.isInteger(v) && floats.has(key) ? `${v}.0` : scalar(v);
  };
  return print(value, '', '');
}

function isUsed(value: unknown): boolean {
  if (value === null || value === undefined || value === false) return false;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}

/** The entries as the file has them: JavaScript objects move keys that look like integers to the front. */
function inTextOrder(table: Readonly<Record<string, number>>, field: string, text: string): Map<string, number> {
  const start = text.indexOf(`"${field}"`);
  const place = (key: string): number => text.indexOf(JSON.stringify(key), start);
  return new Map(Object.entries(table).sort(([a], [b]) => place(a) - place(b)));
}
