/** The normalizers of tokenizer.json. */

import { precompiled } from './precompiled.ts';
import type { NormalizerConfig, Pattern } from './schema.ts';
import { aroundChinese, cleaned, lowerCase, trimEnd, trimStart, withoutAccents, withoutMarks } from './unicode.ts';

export type Normalizer = (text: string) => string;

/** @param compile makes a global regular expression of a pattern. */
export function normalizerOf(config: NormalizerConfig, compile: (pattern: Pattern) => RegExp): Normalizer {
  switch (config.type) {
    case 'Sequence':
      return inTurn(config.normalizers.map((inner) => normalizerOf(inner, compile)));
    case 'BertNormalizer':
      return inTurn([
        ...(config.clean_text ? [cleaned] : []),
        ...(config.handle_chinese_chars ? [aroundChinese] : []),
        ...((config.strip_accents ?? config.lowercase) ? [withoutAccents] : []),
        ...(config.lowercase ? [lowerCase] : []),
      ]);
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return (text) => text.normalize(config.type);
    case 'Lowercase':
      return lowerCase;
    case 'StripAccents':
      return withoutMarks;
    case 'Strip':
      return inTurn([...(config.strip_left ? [trimStart] : []), ...(config.strip_right ? [trimEnd] : [])]);
    case 'Prepend':
      return (text) => (text === '' ? '' : config.prepend + text);
    case 'Replace': {
      const found = compile(config.pattern);
      return (text) => text.replace(found, () => config.content);
    }
    case 'Precompiled':
      return config.precompiled_charsmap ? precompiled(config.precompiled_charsmap) : (text) => text;
  }
}

const inTurn =
  (steps: readonly Normalizer[]): Normalizer =>
  (text) =>
    steps.reduce((done, step) => step(done), text);
