/** The parts of @huggingface/tokenizers that are used; its own declarations do not resolve under NodeNext. */

import type { Pattern } from './schema.ts';

interface LibraryModel {
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  /** The tokens of words; with `fuse_unk`, adjacent unknown ones are one. */
  _call(words: string[]): string[];
}

export interface TokenizersLibrary {
  readonly BPE: new (config: object) => LibraryModel;
  readonly WordPiece: new (config: object) => LibraryModel;
  readonly SplitPreTokenizer: new (config: {
    readonly type: 'Split';
    readonly pattern: Pattern;
    readonly behavior: 'Isolated';
  }) => { readonly pattern: RegExp | null };
  readonly Tokenizer: new (
    file: object,
    config: object,
  ) => {
    decode(ids: readonly number[], options: { readonly clean_up_tokenization_spaces: boolean }): string;
  };
}

const used: readonly (keyof TokenizersLibrary)[] = ['BPE', 'WordPiece', 'SplitPreTokenizer', 'Tokenizer'];

/** Loads the library on first use. */
export async function tokenizersLibrary(): Promise<TokenizersLibrary> {
  const loaded: object = await import('@huggingface/tokenizers');
  if (!isLibrary(loaded)) throw new Error('@huggingface/tokenizers lacks a class that is used');
  return loaded;
}

function isLibrary(loaded: object): loaded is TokenizersLibrary {
  const entries: ReadonlyMap<string, unknown> = new Map(Object.entries(loaded));
  return used.every((name) => typeof entries.get(name) === 'function');
}
