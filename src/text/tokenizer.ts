/** A tokenizer of Hugging Face's files, with the ids of the Rust library. */

import { isByteLevel, type MarkedEncoding, marked, surfaceOf, trimsOffsets } from './align.ts';
import type { Span } from './chatTemplate.ts';
import type { TokenizersLibrary } from './library.ts';
import { addedTo, assembled, plain, type Template, templateOf } from './postProcess.ts';
import type { TokenizerConfig, TokenizerFile } from './schema.ts';
import { type Segmenter, segmenter } from './segments.ts';
import { cut, pairLengths, type Side } from './truncate.ts';

export interface EncodeOptions {
  /** The most tokens of a row, special ones included; none by default. */
  readonly maxLength?: number | undefined;
  /** Adds the special tokens of the post-processor. Default true. */
  readonly addsSpecial?: boolean | undefined;
}

export interface Encoding {
  readonly ids: readonly number[];
  /** The token type ids. */
  readonly types: readonly number[];
}

/** An encoding of words, with the word of each token. */
export interface WordEncoding extends Encoding {
  /** The index of the word; undefined for special tokens. */
  readonly words: readonly (number | undefined)[];
}

/** A token of the configuration by its text and id. */
export interface NamedToken {
  readonly text: string;
  readonly id: number;
}

export interface TextTokenizer {
  encode(text: string, options?: EncodeOptions & { readonly pair?: string | undefined }): Encoding;
  /** Words that are split already, as `is_split_into_words` of transformers. */
  encodeWords(words: readonly string[], options?: EncodeOptions): WordEncoding;
  /**
   * The ids of a text without special tokens, and whether each overlaps one of the spans, which are in UTF-16 units and
   * in their order. Undefined if a span begins or ends within a text whose tokens cannot be aligned with it.
   */
  encodeSpans(text: string, spans: readonly Span[]): MarkedEncoding | undefined;
  /** The text of tokens. Default: with special tokens. */
  decode(ids: readonly number[], skipsSpecial?: boolean): string;
  /** The text of one token as the vocabulary has it. */
  tokenText(id: number): string | undefined;
  /** Special tokens by their names in the configuration, such as `bos_token`, for templates. */
  readonly specials: Readonly<Record<string, string>>;
  readonly pad: NamedToken | undefined;
  readonly eos: NamedToken | undefined;
  readonly bos: NamedToken | undefined;
  /** `model_max_length`, if it is a limit. */
  readonly maxLength: number | undefined;
  readonly paddingSide: Side;
  /** The highest id plus 1. */
  readonly size: number;
}

/** Greater values of model_max_length mean that there is no limit. */
const mostLength = 1e9;

/**
 * @param library @huggingface/tokenizers: its BPE, WordPiece, decoders and translation of regular expressions are used.
 * Errors: RangeError, or an error of the library, for parts that are not supported.
 */
export function tokenizerOf(file: TokenizerFile, config: TokenizerConfig, library: TokenizersLibrary): TextTokenizer {
  const pieces = segmenter(file, library);
  const encoder = encoderOf(pieces, file.post_processor ? templateOf(file.post_processor) : plain, config);
  const { ids, texts, normalized } = pieces;
  const byteLevel = file.pre_tokenizer ? isByteLevel(file.pre_tokenizer) : false;
  const alignment = { normalized, surface: surfaceOf(texts, byteLevel), trims: trimsOffsets(file.post_processor) };
  const special = new Set(file.added_tokens.filter((token) => token.special).map(({ id }) => id));
  const named = (text: string | null | undefined): NamedToken | undefined => {
    const id = typeof text === 'string' ? ids.get(text) : undefined;
    return typeof text === 'string' && id !== undefined ? { text, id } : undefined;
  };
  const most = config.model_max_length ?? undefined;
  let decoder: InstanceType<TokenizersLibrary['Tokenizer']> | undefined;
  return {
    ...encoder,
    encodeSpans: (text, spans) => marked(pieces.segments(text), spans, alignment),
    decode(given, skipsSpecial = false) {
      const kept = given.filter((id) => texts.has(id) && !(skipsSpecial && special.has(id)));
      decoder ??= new library.Tokenizer(file, config);
      return kept.length === 0 ? '' : decoder.decode(kept, { clean_up_tokenization_spaces: false });
    },
    tokenText: (id) => texts.get(id),
    specials: specialTexts(config),
    pad: named(config.pad_token),
    eos: named(config.eos_token),
    bos: named(config.bos_token),
    maxLength: most !== undefined && most < mostLength ? most : undefined,
    paddingSide: config.padding_side ?? 'right',
    size: [...texts.keys()].reduce((highest, id) => Math.max(highest, id), -1) + 1,
  };
}

function encoderOf(
  { segments }: Segmenter,
  template: Template,
  { truncation_side: given }: TokenizerConfig,
): Pick<TextTokenizer, 'encode' | 'encodeWords'> {
  const side = given ?? 'right';
  const bare = (text: string): readonly number[] => segments(text).flatMap(({ ids }) => ids);
  return {
    encode(text, { pair, maxLength, addsSpecial = true } = {}) {
      const parts = addsSpecial ? template : plain;
      const used = pair === undefined ? parts.single : parts.pair;
      const [first, second] = [bare(text), pair === undefined ? [] : bare(pair)];
      const free = maxLength === undefined ? Number.POSITIVE_INFINITY : Math.max(0, maxLength - addedTo(used));
      const [one, two] =
        pair === undefined ? [Math.min(first.length, free), 0] : pairLengths(first.length, second.length, free);
      const { tokens, types } = assembled(used, cut(first, one, side), cut(second, two, side), (id) => id);
      return { ids: tokens, types };
    },
    encodeWords(words, { maxLength, addsSpecial = true } = {}) {
      const { single } = addsSpecial ? template : plain;
      const pieces = words.flatMap((word, i) => bare(word).map((id) => ({ id, word: i })));
      const free = maxLength === undefined ? pieces.length : Math.max(0, maxLength - addedTo(single));
      const make = (id: number): { id: number; word: number | undefined } => ({ id, word: undefined });
      const { tokens, types } = assembled<ReturnType<typeof make>>(single, cut(pieces, free, side), [], make);
      return { ids: tokens.map(({ id }) => id), words: tokens.map(({ word }) => word), types };
    },
  };
}

function specialTexts(config: TokenizerConfig): Record<string, string> {
  const entries = Object.entries(config).filter(
    (entry): entry is [string, string] => entry[0].endsWith('_token') && typeof entry[1] === 'string',
  );
  return Object.fromEntries(entries);
}
