/** The models of tokenizer.json, which turn words into token ids. */

import type { TokenizersLibrary } from './library.ts';
import type { ModelConfig } from './schema.ts';
import { unigram } from './unigram.ts';

/** The ids of words, one after another. */
export type Model = (words: readonly string[]) => readonly number[];

export interface ModelParts {
  readonly encode: Model;
  /** Ids by token. */
  readonly ids: ReadonlyMap<string, number>;
}

/** @param library @huggingface/tokenizers, whose WordPiece and BPE are used. Errors: RangeError, with the reason. */
export function modelOf(config: ModelConfig, library: TokenizersLibrary): ModelParts {
  switch (config.type) {
    case 'WordLevel': {
      const ids = new Map(Object.entries(config.vocab));
      const unknown = ids.get(config.unk_token);
      return { ids, encode: (words) => words.flatMap((word) => ids.get(word) ?? unknown ?? []) };
    }
    case 'WordPiece': {
      const model = new library.WordPiece({ ...config, fuse_unk: false });
      return ofTokens((words) => model._call(words), model.tokens_to_ids, config.unk_token);
    }
    case 'BPE': {
      if (config.continuing_subword_prefix)
        throw new RangeError('BPE with a continuing_subword_prefix is not supported');
      if (config.dropout) throw new RangeError('BPE with dropout gives other tokens every time');
      const model = new library.BPE({
        ...config,
        merges: config.merges.map((merge) => (typeof merge === 'string' ? pairOf(merge) : merge)),
        unk_token: config.unk_token ?? undefined,
        end_of_word_suffix: config.end_of_word_suffix ?? undefined,
        fuse_unk: config.fuse_unk ?? false,
        byte_fallback: config.byte_fallback ?? false,
        ignore_merges: config.ignore_merges ?? false,
      });
      return ofTokens((words) => model._call(words), model.tokens_to_ids, config.unk_token);
    }
    case 'Unigram': {
      const { encode } = unigram(config.vocab, config.unk_id ?? null);
      const ids = new Map(config.vocab.map(([token], id) => [token, id]));
      const bytes = config.byte_fallback === true ? byteIds(ids) : undefined;
      const known = new Map<string, readonly number[]>();
      const idsOf = (word: string): readonly number[] => {
        const found = known.get(word);
        if (found !== undefined) return found;
        const made = encode(word).flatMap(({ text, id }) => {
          const own = ids.get(text);
          if (own !== undefined) return [own];
          return (bytes && bytesOf(text, bytes)) ?? (id === undefined ? [] : [id]);
        });
        if (known.size < mostKnown && word.length < longestKnown) known.set(word, made);
        return made;
      };
      return { ids, encode: (words) => words.flatMap(idsOf) };
    }
  }
}

/** The limits of the cache of words. */
const mostKnown = 2 ** 16;
const longestKnown = 64;

function ofTokens(
  encode: (words: string[]) => string[],
  ids: ReadonlyMap<string, number>,
  unknown: string | null | undefined,
): ModelParts {
  const unknownId = typeof unknown === 'string' ? ids.get(unknown) : undefined;
  return { ids, encode: (words) => encode([...words]).flatMap((token) => ids.get(token) ?? unknownId ?? []) };
}

/** A merge as a line of merges.txt. */
function pairOf(merge: string): [string, string] {
  const at = merge.indexOf(' ');
  return [merge.slice(0, at), merge.slice(at + 1)];
}

function byteIds(ids: ReadonlyMap<string, number>): readonly (number | undefined)[] {
  return Array.from({ length: 256 }, (_, byte) => ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`));
}

const encoder = new TextEncoder();

function bytesOf(text: string, bytes: readonly (number | undefined)[]): number[] | undefined {
  const found = Array.from(encoder.encode(text)).flatMap((byte) => bytes[byte] ?? []);
  return found.length === encoder.encode(text).length ? found : undefined;
}
