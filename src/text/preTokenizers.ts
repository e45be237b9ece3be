/** The pre-tokenizers of tokenizer.json, which split a text into words for the model. */

import type { Behavior, Pattern, PreTokenizerConfig } from './schema.ts';
import { punctuation } from './unicode.ts';

/** The words of a text. `isFirst`: the text begins where the whole one does. */
export type PreTokenizer = (text: string, isFirst: boolean) => readonly string[];

/** @param compile makes a global regular expression of a pattern. */
export function preTokenizerOf(config: PreTokenizerConfig, compile: (pattern: Pattern) => RegExp): PreTokenizer {
  switch (config.type) {
    case 'Sequence': {
      const steps = config.pretokenizers.map((inner) => preTokenizerOf(inner, compile));
      return (text, isFirst) =>
        steps.reduce<readonly string[]>(
          (words, step) => words.flatMap((word, i) => step(word, isFirst && i === 0)),
          [text],
        );
    }
    case 'BertPreTokenizer':
      return (text) => text.match(bertWords) ?? [];
    case 'Whitespace':
      return (text) => text.match(wordsOrSigns) ?? [];
    case 'WhitespaceSplit':
      return (text) => text.match(/\P{White_Space}+/gu) ?? [];
    case 'ByteLevel':
      return (text) => {
        const padded = config.add_prefix_space && !text.startsWith(' ') ? ` ${text}` : text;
        return (config.use_regex ? split(padded, gpt2Words, 'Isolated', false) : [padded]).map(byteLetters);
      };
    case 'Metaspace': {
      const { replacement, split: splits = true } = config;
      const scheme = config.add_prefix_space === false ? 'never' : (config.prepend_scheme ?? 'always');
      const found = compile({ String: replacement });
      return (text, isFirst) => {
        const marked = text.replaceAll(' ', () => replacement);
        const prepends = !marked.startsWith(replacement) && (scheme === 'always' || (scheme === 'first' && isFirst));
        const whole = prepends ? replacement + marked : marked;
        return splits === false ? [whole] : split(whole, found, 'MergedWithNext', false);
      };
    }
    case 'Split': {
      const found = compile(config.pattern);
      return (text) => split(text, found, config.behavior, config.invert);
    }
    case 'Punctuation':
      return (text) => split(text, anyPunctuation, config.behavior, false);
    case 'Digits':
      return (text) => split(text, /\p{N}/gu, config.individual_digits ? 'Isolated' : 'Contiguous', false);
    case 'CharDelimiterSplit':
      return (text) => text.split(config.delimiter).filter((word) => word !== '');
    case 'FixedLength':
      return (text) => {
        const chars = Array.from(text);
        const starts = Array.from({ length: Math.ceil(chars.length / config.length) }, (_, i) => i * config.length);
        return starts.map((start) => chars.slice(start, start + config.length).join(''));
      };
  }
}

const bertWords = new RegExp(`[^\\p{White_Space}${punctuation}]+|[${punctuation}]`, 'gu');
const anyPunctuation = new RegExp(`[${punctuation}]`, 'gu');
const wordCharacters = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}';
const wordsOrSigns = new RegExp(`[${wordCharacters}]+|[^${wordCharacters}\\p{White_Space}]+`, 'gu');
/** The words of GPT-2 (openai/gpt-2, encoder.py). */
const gpt2Words =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

interface Piece {
  readonly start: number;
  readonly end: number;
  readonly isMatch: boolean;
}

/** The pieces of a text between matches and of matches, joined by the behaviour; none is empty. */
function split(text: string, pattern: RegExp, behavior: Behavior, invert: boolean): string[] {
  const pieces: Piece[] = [];
  let done = 0;
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (match === '') continue;
    if (done < index) pieces.push({ start: done, end: index, isMatch: invert });
    done = index + match.length;
    pieces.push({ start: index, end: done, isMatch: !invert });
  }
  if (done < text.length) pieces.push({ start: done, end: text.length, isMatch: invert });
  return joined(pieces, behavior).map(({ start, end }) => text.slice(start, end));
}

function joined(pieces: readonly Piece[], behavior: Behavior): readonly Piece[] {
  switch (behavior) {
    case 'Isolated':
      return pieces;
    case 'Removed':
      return pieces.filter(({ isMatch }) => !isMatch);
    case 'Contiguous':
      return folded(pieces, (piece, before) => piece.isMatch === before);
    case 'MergedWithPrevious':
      return folded(pieces, (piece, before) => piece.isMatch && before === false);
    case 'MergedWithNext':
      return folded(pieces.toReversed(), (piece, before) => piece.isMatch && before === false).reverse();
  }
}

/** @param isJoined whether a piece joins the one before it, by whether that was a match. */
function folded(pieces: readonly Piece[], isJoined: (piece: Piece, before: boolean | undefined) => boolean): Piece[] {
  const all: Piece[] = [];
  let before: boolean | undefined;
  for (const piece of pieces) {
    const last = all.at(-1);
    if (last !== undefined && isJoined(piece, before))
      all[all.length - 1] = {
        ...last,
        start: Math.min(last.start, piece.start),
        end: Math.max(last.end, piece.end),
      };
    else all.push(piece);
    before = piece.isMatch;
  }
  return all;
}

/** GPT-2's letters for the 256 bytes: printable ones are themselves, the others U+0100 and up. */
const letters = (() => {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
})();

const encoder = new TextEncoder();

/** The UTF-8 bytes of a word as letters. */
export function byteLetters(word: string): string {
  let all = '';
  for (const byte of encoder.encode(word)) all += letters[byte] ?? '';
  return all;
}
