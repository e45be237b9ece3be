import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { loadTokenizer } from '../../src/text/load.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';
import { recordedTokenizer, writeTokenizer } from '../support/textTokenizers.ts';

const folder = 'fixtures/text';
const texts = z.array(z.string()).parse(JSON.parse(readFileSync(join(folder, 'texts.json'), 'utf8')));
const ids = z.array(z.number());
const recorded = z.object({
  /** The ids of every text. */
  texts: z.array(ids),
  /** Those of every fourth text in ten tokens. */
  cut: z.array(ids),
  /** Two texts by their indices, the maximum length, ids, token types. */
  pairs: z.array(z.tuple([z.number(), z.number(), z.number(), ids, ids.nullable()])),
  /** Those of every tenth text without special tokens. */
  bare: z.array(ids),
  /** The words of the first texts, split at blanks: ids, and the word of each or -1. */
  words: z.array(z.tuple([ids, ids])),
});

const scratch = temporaryFolder();

const kinds = readdirSync(folder).flatMap((name) => /^(.*)\.json\.gz$/.exec(name)?.[1] ?? []);

describe.each(kinds)('%s', (kind) => {
  const expected = recorded.parse(recordedTokenizer(kind));
  const open = () => loadTokenizer(writeTokenizer(scratch, kind));

  test('the ids of 1,000 texts', async () => {
    const { encode } = await open();
    expect(texts.map((text) => encode(text).ids)).toEqual(expected.texts);
  });

  test('without special tokens, and truncated', async () => {
    const { encode } = await open();
    expect(texts.filter((_, i) => i % 10 === 0).map((t) => encode(t, { addsSpecial: false }).ids)).toEqual(
      expected.bare,
    );
    expect(texts.filter((_, i) => i % 4 === 0).map((t) => encode(t, { maxLength: 10 }).ids)).toEqual(expected.cut);
  });

  test('pairs, truncated, with token types', async () => {
    const { encode } = await open();
    for (const [a, b, maxLength, wanted, types] of expected.pairs) {
      const made = encode(texts[a] ?? '', { pair: texts[b] ?? '', maxLength });
      expect(made.ids).toEqual(wanted);
      if (types !== null) expect(made.types).toEqual(types);
    }
  });

  test('words that are split already', async () => {
    const { encodeWords } = await open();
    for (const [i, [wanted, places]] of expected.words.entries()) {
      const made = encodeWords((texts[i] ?? '').split(/\s+/).filter(Boolean));
      expect(made.ids).toEqual(wanted);
      expect(made.words.map((word) => word ?? -1)).toEqual(places);
    }
  });
});
