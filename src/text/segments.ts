/** Splits a text at added tokens, and tokenizes the parts: normalizer, pre-tokenizer, model. */

import { type AddedToken, splitter } from './addedTokens.ts';
import type { TokenizersLibrary } from './library.ts';
import { modelOf } from './models.ts';
import { normalizerOf } from './normalizers.ts';
import { preTokenizerOf } from './preTokenizers.ts';
import type { Pattern, TokenizerFile } from './schema.ts';

/** A part of a text that was tokenized alone. */
export interface Segment {
  /** The section of the text between added tokens, and where it begins. */
  readonly source: string;
  readonly at: number;
  /** The part of the normalized section, and where it begins there; absent for a token that was found in the text. */
  readonly text?: string;
  readonly start: number;
  /** The part is an added token. */
  readonly isAdded?: boolean;
  readonly ids: readonly number[];
}

export interface Segmenter {
  segments(text: string): readonly Segment[];
  /** The text as the model gets it. */
  normalized(text: string): string;
  /** Ids by token, and tokens by id; added tokens included. */
  readonly ids: ReadonlyMap<string, number>;
  readonly texts: ReadonlyMap<number, string>;
}

/** Errors: RangeError, or an error of the library, for parts that are not supported. */
export function segmenter(file: TokenizerFile, library: TokenizersLibrary): Segmenter {
  const compile = patternCompiler(library);
  const normalize = file.normalizer ? normalizerOf(file.normalizer, compile) : undefined;
  const normalized = (text: string): string => (normalize === undefined ? text : normalize(text));
  const split = file.pre_tokenizer ? preTokenizerOf(file.pre_tokenizer, compile) : (text: string) => [text];
  const model = modelOf(file.model, library);
  // Some tokens are found in the text itself, others in the normalized text.
  const [inText, inNormalized] = [new Map<string, AddedToken>(), new Map<string, AddedToken>()];
  for (const token of file.added_tokens) {
    if (token.normalized && normalize !== undefined) inNormalized.set(normalize(token.content), token);
    else inText.set(token.content, token);
  }
  const [sections, normalizedSections] = [splitter(inText), splitter(inNormalized)];
  const ids = new Map([...model.ids, ...file.added_tokens.map(({ content, id }): [string, number] => [content, id])]);
  return {
    normalized,
    ids,
    texts: new Map(Array.from(ids, ([text, id]) => [id, text])),
    segments: (text) =>
      sections(text).flatMap(({ text: source, start: at, token: found }): Segment[] => {
        if (found !== undefined) return [{ source, at, start: 0, ids: [found.id] }];
        return normalizedSections(normalized(source)).flatMap(({ text: part, start, token }): Segment[] => {
          if (token !== undefined) return [{ source, at, start, text: part, isAdded: true, ids: [token.id] }];
          if (part === '') return [];
          return [{ source, at, start, text: part, ids: model.encode(split(part, at + start === 0)) }];
        });
      }),
  };
}

/** Patterns as regular expressions of JavaScript; the library translates those of Oniguruma. */
function patternCompiler(library: TokenizersLibrary): (pattern: Pattern) => RegExp {
  return (pattern) => {
    if ('String' in pattern) return new RegExp(pattern.String.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'gu');
    const { pattern: compiled } = new library.SplitPreTokenizer({ type: 'Split', pattern, behavior: 'Isolated' });
    if (compiled === null) throw new RangeError(`the regular expression ${pattern.Regex} is not supported`);
    return compiled;
  };
}
