/**
 * Parses names of inputs and outputs, as exporters write them, into words: `past_key_values.0.key`, `past_0`,
 * `past_key_self_3`, `in_n_layer_self_k_cache`. Sources: Optimum (exporters/onnx/base.py), onnxruntime-genai
 * (src/config.h and its model builder), ONNX Runtime's transformers tools, transformers.js (which fills the same inputs
 * when it generates).
 */

/** Lower-case words and numbers: `past_key_values.0.key` is past, key, values, 0, key. */
export function wordsOf(name: string): string[] {
  return name
    .replace(/([a-z])(?=[A-Z])/g, '$1 ')
    .replace(/([A-Za-z])(?=\d)|(\d)(?=[A-Za-z])/g, '$& ')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((w) => w !== '');
}

/** One name for `attention_mask`, `attentionMask` and `attention.mask`. */
export const plainName = (name: string): string => wordsOf(name).join('_');

const set = (words: string): ReadonlySet<string> => new Set(words.split(' '));

/** Words for a store that is kept from one step to the next. */
const stores = set('past pasts cache caches cached kvcache');
/** Words for its content: keys and values. */
const contents = set('key keys value values k v kv kvs');
/** Words that a bare `past_0` may have in addition to its number. */
const bare = set('past pasts layer layers in input inputs');
/** Words for a recurrent state: it has its own size, and starts at zero. */
const states = set('conv ssm recurrent state states mamba');
/** Words for keys and values of the encoder: computed from the source text, not from earlier tokens. */
const crossed = set('cross encoder enc');
/** Words for numbers about a cache. */
const numbers = set(
  'len lens length lengths seqlen seqlens position positions pos index indices indirection mask branch size sizes offset offsets use scale scales zero block table slot slots',
);

const some = (words: readonly string[], of: ReadonlySet<string>): boolean => words.some((w) => of.has(w));
const isNumber = (word: string): boolean => /^\d+$/.test(word);

export type CacheKind = 'keys and values' | 'state';

/** The kind of cache of an input with this name, undefined if it is not a cache. */
export function cacheKind(name: string): CacheKind | undefined {
  const words = wordsOf(name);
  if (some(words, numbers) || some(words, crossed)) return undefined;
  if (some(words, stores) && some(words, contents)) return 'keys and values';
  const past = words.includes('past') || words.includes('pasts');
  if (past && some(words, states)) return 'state';
  return past && words.every((w) => bare.has(w) || isNumber(w)) ? 'keys and values' : undefined;
}

/**
 * Words that data does not have in its name: keys belong to attention, a cache and the states of these operators to a
 * model.
 */
const certain = set('key keys k kv kvs cache caches cached kvcache conv ssm recurrent mamba');

/**
 * Whether only a cache has such a name: `past_key_values.0.key`, but not `past_values`, which is the series of a
 * forecasting model. @param names those of all inputs: `past_value` is a cache beside `past_key`.
 */
export function isCertain(name: string, names: ReadonlySet<string>): boolean {
  const words = wordsOf(name);
  const key = words.map((w) => (w === 'value' ? 'key' : w === 'values' ? 'keys' : w)).join('_');
  return words.some(isNumber) || some(words, certain) || (key !== words.join('_') && names.has(key));
}

const presents = set('present presents');
const updates = set('updated new next out output current');

/** An output that returns a cache for the next step. */
export function isPresent(name: string): boolean {
  const words = wordsOf(name);
  if (some(words, numbers)) return false;
  if (some(words, presents))
    return some(words, contents) || some(words, states) || words.every((w) => presents.has(w) || isNumber(w));
  return some(words, updates) && cacheKind(words.filter((w) => !updates.has(w)).join('_')) !== undefined;
}

/** Integer inputs [batch, sequence] that hold tokens, in the order of preference. */
export const tokenNames: readonly string[] = [
  'decoder_input_ids',
  'input_ids',
  'token_ids',
  'tokens',
  'input_tokens',
  'ids',
  'input',
];
/** Embeddings of the same tokens, [batch, sequence, width]. */
export const embeddingNames: readonly string[] = ['decoder_inputs_embeds', 'inputs_embeds', 'input_embeds'];

/** The mask [batch, sequence]: 1 for a token, 0 for padding. */
export const isMaskName = (name: string): boolean => /^([a-z_]+_)?(attention|attn|input)_mask$/.test(plainName(name));

const parts = set('encoder cross image images vision pixel audio speech');

/** Whether the input belongs to an encoder, an image … and not to the tokens. */
export const ofAnotherPart = (name: string): boolean => some(wordsOf(name), parts);

/** The input that assigns each token to one of two sentences. */
export const isTypeName = (name: string): boolean => /^(token_type|segment)_ids$/.test(plainName(name));

export const positionNames = /^(decoder_)?position(_id)?s$/;
export const isPositionName = (name: string): boolean => positionNames.test(plainName(name));
