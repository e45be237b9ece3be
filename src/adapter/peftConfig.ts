/**
 * adapter_config.json of PEFT's LoRA (peft/tuners/lora/config.py, LoraConfig): the supported fields, the refused ones,
 * and PEFT's output format. Reading runs in browsers too, hence no schema library.
 */

import { adapterUnsupported, badAdapter } from '../errors.ts';
import { patternTable } from '../formats/peftPattern.ts';

export interface PeftConfig {
  readonly rank: number;
  readonly alpha: number;
  /** scale = alpha / sqrt(rank) instead of alpha / rank. */
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
  /** init_lora_weights if it changed the base weights: the adapter is correct only on the changed ones. */
  readonly changedBase: string | undefined;
  /** Fields without influence on the computation, kept to be written back if they are not null. */
  readonly otherFields: Readonly<Record<string, unknown>>;
  /** Every layer has a magnitude. */
  readonly useDora: boolean;
  /** Module names, matched as suffixes, whose full weights the adapter stores. */
  readonly modulesToSave: readonly string[];
}

/** Fields with which PEFT finds the base model, and fields that only its own loader reads. */
const kept = [
  ...['auto_mapping', 'base_model_name_or_path', 'fan_in_fan_out', 'init_lora_weights', 'revision', 'task_type'],
];

export interface Scaled {
  readonly rank: number;
  readonly alpha: number;
  /** The factor on (x·A)·B. */
  readonly scale: number;
}

const isText = (v: unknown): v is string => typeof v === 'string';
const isNumber = (v: unknown): v is number => typeof v === 'number';
const isInteger = (v: unknown): v is number => Number.isSafeInteger(v);
const isRank = (v: unknown): v is number => isInteger(v) && isNumber(v) && v > 0;
const isShare = (v: unknown): v is number => isNumber(v) && v >= 0 && v <= 1;
const isFlag = (v: unknown): v is boolean => typeof v === 'boolean';
const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);
const isNames = (v: unknown): v is string | string[] => isText(v) || (Array.isArray(v) && v.every(isText));
const isIndices = (v: unknown): v is number | number[] => isInteger(v) || (Array.isArray(v) && v.every(isInteger));

/** Fields that change what an adapter computes, or what it stores, when they are neither null, false nor empty. */
const unsupported: Readonly<Record<string, string>> = {
  use_dora: 'weight-decomposed adapters (DoRA) scale the outputs of the base, which a branch cannot do',
  lora_bias: 'it adds a trained bias to lora_B, which a low-rank branch does not have',
  modules_to_save: 'it stores full copies of modules, which replace weights of the base model',
  target_parameters: 'it adapts bare parameters, not modules',
  trainable_token_indices: 'it trains rows of an embedding',
  layer_replication: 'it builds a model whose layers differ from those of the base',
  alora_invocation_tokens: 'activated LoRA switches the branch on in the middle of a text',
  use_qalora: 'QALoRA pools the input of a branch',
  use_bdlora: 'block-diagonal LoRA shapes its matrices differently',
  arrow_config: 'Arrow routes between several adapters',
  kasa_config: 'KaSA adds singular values to the branch',
  velora_config: 'VeLoRA changes the branch',
  monteclora_config: 'MonteCLoRA samples its weights',
  megatron_config: 'it is for Megatron layers that are split over devices',
};

/** Initializations that change the base weights. */
const changesBase = /^(pissa|olora|corda|loftq|lora_ga)/;

/**
 * Reads the text of an adapter_config.json. An adapter whose initialization changed the base weights is accepted if the
 * package has the same one, `own`. `known` are fields, otherwise refused, that the caller supports. Errors: BAD_ADAPTER
 * (not JSON, a field of a wrong type), ADAPTER_UNSUPPORTED (another PEFT method, or an unsupported field).
 */
export function parsePeftConfig(text: string, file?: string, own?: string, known: readonly string[] = []): PeftConfig {
  const fields = new Fields(text, file);
  checkSupported(fields, known);
  const changedBase = changedBaseOf(fields, own);
  return {
    rank: fields.read('r', isRank, 'a positive integer', 8),
    alpha: fields.read('lora_alpha', isNumber, 'a number', 8),
    useRslora: fields.read('use_rslora', isFlag, 'true or false', false),
    dropout: fields.read('lora_dropout', isShare, 'a number from 0 to 1', 0),
    rankPattern: fields.patterns('rank_pattern', isRank, 'a positive integer'),
    alphaPattern: fields.patterns('alpha_pattern', isNumber, 'a number'),
    targetModules: fields.names('target_modules'),
    excludeModules: fields.names('exclude_modules'),
    layersToTransform: [fields.read('layers_to_transform', isIndices, 'an integer or a list of integers', [])].flat(),
    layersPattern: [fields.names('layers_pattern') ?? []].flat().filter((pattern) => pattern !== ''),
    changedBase,
    otherFields: Object.fromEntries(
      kept.flatMap((name) => (fields.raw(name) == null ? [] : [[name, fields.raw(name)]])),
    ),
    useDora: fields.raw('use_dora') === true,
    modulesToSave: [fields.names('modules_to_save') ?? []].flat(),
  };
}

/**
 * Typed reads of a config's fields. Errors: BAD_ADAPTER if the text is not a JSON object, and for a field of a wrong
 * type, which it names.
 */
class Fields {
  readonly file: string | undefined;
  readonly #text: string;
  readonly #config: Readonly<Record<string, unknown>>;

  constructor(text: string, file: string | undefined) {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (error) {
      throw badAdapter(`it is not JSON: ${error instanceof Error ? error.message : error}`, file);
    }
    if (!isObject(json)) throw badAdapter('it is not a JSON object', file);
    this.#text = text;
    this.#config = json;
    this.file = file;
  }

  raw(name: string): unknown {
    return this.#config[name];
  }

  /** The value of a field; `absent` where it is missing or null. */
  read<T, D>(name: string, is: (v: unknown) => v is T, what: string, absent: D): T | D {
    return this.#checked(this.raw(name), name, is, what, absent);
  }

  names(name: string): string | string[] | undefined {
    return this.read(name, isNames, 'a text or a list of texts', undefined);
  }

  /** Entries in the order of the file: JavaScript objects move keys that look like integers to the front. */
  patterns(name: string, is: (v: unknown) => v is number, what: string): Map<string, number> {
    const start = this.#text.indexOf(`"${name}"`);
    const place = ([key]: readonly [string, unknown]): number => this.#text.indexOf(JSON.stringify(key), start);
    const entries = Object.entries(this.read(name, isObject, 'an object', {})).sort((x, y) => place(x) - place(y));
    return new Map(
      entries.flatMap(([key, value]) => {
        const n = this.#checked(value, `${name}.${key}`, is, what, undefined);
        return n === undefined ? [] : [[key, n]];
      }),
    );
  }

  #checked<T, D>(value: unknown, name: string, is: (v: unknown) => v is T, what: string, absent: D): T | D {
    if (value === undefined || value === null) return absent;
    if (!is(value)) throw badAdapter(`the field "${name}" is ${JSON.stringify(value)}, not ${what}`, this.file);
    return value;
  }
}

/** Refuses another method than LoRA, and fields of LoRA that change what an adapter computes or stores. */
function checkSupported(fields: Fields, known: readonly string[]): void {
  const { file } = fields;
  const method = fields.read('peft_type', isText, 'a text', undefined);
  if (method === undefined) throw badAdapter('it has no field "peft_type"', file);
  if (method.toUpperCase() !== 'LORA') {
    throw adapterUnsupported(`peft_type ${method}`, 'only LORA is supported', file);
  }
  for (const [field, reason] of Object.entries(unsupported)) {
    if (isUsed(fields.raw(field)) && !known.includes(field)) throw adapterUnsupported(field, reason, file);
  }
  const bias = fields.read('bias', isText, 'a text', 'none');
  if (bias !== '' && bias !== 'none') {
    throw adapterUnsupported(`bias "${bias}"`, 'it trains the biases of the base model', file);
  }
}

/**
 * The initialization, if it changed the base weights and is also that of the package (`own`). Errors:
 * ADAPTER_UNSUPPORTED for any other that changed them.
 */
function changedBaseOf(fields: Fields, own: string | undefined): string | undefined {
  const init = fields.raw('init_lora_weights');
  if (!isText(init) || !changesBase.test(init)) return undefined;
  if (init === own) return init;
  const reason =
    'this initialization changed the base weights; convert it: loraify export, in PEFT path_initial_model_for_weight_conversion';
  throw adapterUnsupported(`init_lora_weights "${init}"`, reason, fields.file);
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

/**
 * The output of Python's json.dumps(value, indent=2, sort_keys=True), ASCII only; `floats` are fields that print as
 * 0.0.
 */
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
