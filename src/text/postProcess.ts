/** The post-processors of tokenizer.json, which put special tokens around one or two sequences. */

import type { PostProcessorConfig, TemplatePiece } from './schema.ts';

/** A sequence with its special tokens; `types` are the token type ids. */
export interface Processed<T> {
  readonly tokens: readonly T[];
  readonly types: readonly number[];
}

/** Special tokens, and the places of the two sequences. */
export type Part =
  | { readonly ids: readonly number[]; readonly type: number }
  | { readonly sequence: 'A' | 'B'; readonly type: number };

/** The tokens around one sequence, and around two. */
export interface Template {
  readonly single: readonly Part[];
  readonly pair: readonly Part[];
}

const sequence = (name: 'A' | 'B', type: number): Part => ({ sequence: name, type });
const special = (id: number, type: number): Part => ({ ids: [id], type });

/** No special tokens. */
export const plain: Template = { single: [sequence('A', 0)], pair: [sequence('A', 0), sequence('B', 1)] };

/** The template of a configuration; of several the last that adds tokens. */
export function templateOf(config: PostProcessorConfig): Template {
  switch (config.type) {
    case 'ByteLevel':
      return plain;
    case 'Sequence':
      return config.processors.map(templateOf).findLast((template) => template !== plain) ?? plain;
    case 'TemplateProcessing': {
      const part = (piece: TemplatePiece): Part =>
        'Sequence' in piece
          ? sequence(piece.Sequence.id, piece.Sequence.type_id)
          : { ids: config.special_tokens[piece.SpecialToken.id]?.ids ?? [], type: piece.SpecialToken.type_id };
      return { single: config.single.map(part), pair: config.pair.map(part) };
    }
    case 'BertProcessing': {
      const [cls, sep] = [config.cls[1], config.sep[1]];
      const single = [special(cls, 0), sequence('A', 0), special(sep, 0)];
      return { single, pair: [...single, sequence('B', 1), special(sep, 1)] };
    }
    case 'RobertaProcessing': {
      const [cls, sep] = [config.cls[1], config.sep[1]];
      const single = [special(cls, 0), sequence('A', 0), special(sep, 0)];
      return { single, pair: [...single, special(sep, 0), sequence('B', 0), special(sep, 0)] };
    }
  }
}

/** The number of special tokens. */
export const addedTo = (parts: readonly Part[]): number =>
  parts.reduce((sum, part) => sum + ('ids' in part ? part.ids.length : 0), 0);

/** The sequences at their places. @param make a token of a special id. */
export function assembled<T>(
  parts: readonly Part[],
  first: readonly T[],
  second: readonly T[],
  make: (id: number) => T,
): Processed<T> {
  const filled = parts.map((part) => {
    const tokens = 'ids' in part ? part.ids.map(make) : part.sequence === 'A' ? first : second;
    return { tokens, types: tokens.map(() => part.type) };
  });
  return { tokens: filled.flatMap(({ tokens }) => tokens), types: filled.flatMap(({ types }) => types) };
}
