/** Rows of text against TRL's SFTTrainer and transformers (fixtures/text/make_rows.py). */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Manifest } from '../../../src/formats/manifest.ts';
import { openText, type TextOptions } from '../../../src/runtime/text/openText.ts';
import { taskOf, textInputs } from '../../../src/runtime/text/task.ts';
import { loadChatTemplates, loadTokenizer } from '../../../src/text/load.ts';
import { coded } from '../../support/coded.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';
import { writeTokenizer } from '../../support/textTokenizers.ts';
import { tinyManifest } from '../../support/tinyManifest.ts';

const row = z.record(z.string(), z.unknown());
const made = z.array(z.object({ ids: z.array(z.number()), labels: z.array(z.number()) }));
const { language, words, tags } = z
  .object({
    language: z.array(
      z.object({
        tokenizer: z.string(),
        template: z.string(),
        most: z.number(),
        rows: z.array(row),
        options: z.object({
          completion_only_loss: z.boolean().optional(),
          assistant_only_loss: z.boolean().optional(),
        }),
        made,
      }),
    ),
    words: z.array(row),
    tags: z.array(z.object({ tokenizer: z.string(), most: z.number(), made })),
  })
  .parse(JSON.parse(readFileSync('fixtures/text/rows.json', 'utf8')));

const scratch = temporaryFolder();
const tokens = { name: 'input_ids', type: 'int64', shape: ['N', 'S'] };

/** A package of a loss whose model reads tokens only. */
const packageOf = (loss: Partial<NonNullable<Manifest['loss']>>, labels: Partial<Manifest['labels']>): Manifest => {
  const base = tinyManifest();
  const given = { name: 'labels', type: 'int64', shape: ['N', 'S'], ...labels };
  return { ...base, inputs: [tokens], labels: given, loss: base.loss && { ...base.loss, ...loss } };
};
const languageModel = packageOf({ kind: 'causal-lm' }, {});
const classifier = packageOf({ kind: 'cross-entropy', classes: 3 }, { shape: ['N'], names: ['no', 'yes', 'it'] });
const tagger = packageOf({ kind: 'cross-entropy', classes: 3 }, { names: ['O', 'B', 'I'] });
const multiLabel = packageOf({ kind: 'bce' }, { type: 'float32', shape: ['N', 3] });
const regression = packageOf({ kind: 'mse' }, { type: 'float32', shape: ['N', 1] });

let count = 0;
async function open(
  manifest: Manifest,
  kind: string,
  rows: readonly object[],
  options: TextOptions = {},
  template?: string,
) {
  const folder = writeTokenizer(join(scratch, `${count++}`), kind, template);
  const tokenizer = await loadTokenizer(folder);
  const templates = await loadChatTemplates(folder, tokenizer);
  const inputs = textInputs(manifest.inputs);
  const task = inputs && taskOf(manifest, inputs.ids, true);
  if (inputs === undefined || task === undefined || manifest.labels === undefined)
    throw new Error('not a task of text');
  const numbered = rows.map((given, i) => ({
    where: `row ${i}`,
    columns: new Map<string, unknown>(Object.entries(given)),
  }));
  const isClass = manifest.labels.type === 'int64';
  const rule = {
    kind: 'class',
    classes: manifest.loss?.classes,
    ignoreIndex: -100,
    names: manifest.labels.names,
  } as const;
  const spec = { inputs: manifest.inputs, labels: { ...manifest.labels, ...(isClass ? { rule } : {}) } };
  return openText({ file: 'rows', rows: numbered, task, inputs, tokenizer, templates }, spec, manifest, options);
}

async function read(...how: Parameters<typeof open>) {
  const dataset = await open(...how);
  const numbers = (index: number, name: string): number[] =>
    Array.from(dataset.row(index).get(name)?.data ?? [], Number);
  const all = Array.from({ length: dataset.rows }, (_, i) => ({
    ids: numbers(i, 'input_ids'),
    labels: numbers(i, 'labels'),
  }));
  dataset.close();
  return all;
}

const bad = (...fragments: string[]) => expect.toSatisfy(coded('BAD_DATA', ...fragments));

describe('rows of a language model', () => {
  it.each(
    language.map((one) => [
      `${one.tokenizer} ${one.most} ${Object.keys(one.rows[0] ?? {})} ${JSON.stringify(one.options)}`,
      one,
    ]),
  )('%s', async (_, { tokenizer, template, most, rows, options, made: wanted }) => {
    const how = {
      maxLength: most,
      completionOnly: options.completion_only_loss,
      assistantOnly: options.assistant_only_loss,
    };
    expect(await read(languageModel, tokenizer, rows, how, template)).toEqual(wanted);
  });
});

describe('rows of tags', () => {
  it.each(tags.map((one) => [one.tokenizer, one.most, one]))(
    '%s %i',
    async (_, __, { tokenizer, most, made: wanted }) => {
      expect(await read(tagger, tokenizer, words, { maxLength: most })).toEqual(wanted);
      const named = words.map((one) => ({
        tokens: one.tokens,
        ner_tags: z
          .array(z.number())
          .parse(one.tags)
          .map((n) => 'OBI'[n]),
      }));
      expect(await read(tagger, tokenizer, named, { maxLength: most })).toEqual(wanted);
    },
  );
});

describe('labels of rows', () => {
  const labels = async (...how: Parameters<typeof open>) => (await read(...how)).map((one) => one.labels);

  it('are names or numbers of classes', async () => {
    const rows = [
      { text: 'a', label: 'yes' },
      { sentence: 'b', labels: 0 },
      { text: 'c', label: 'it' },
      { text: 'd', label: '1' },
    ];
    expect(await labels(classifier, 'gpt2', rows)).toEqual([[1], [0], [2], [1]]);
  });

  it('are names that look like numbers', async () => {
    const years = {
      ...classifier,
      labels: classifier.labels && { ...classifier.labels, names: ['2024', '2025', '2026'] },
    };
    const rows = [
      { text: 'a', label: 2026 },
      { text: 'b', label: '2024' },
    ];
    expect(await labels(years, 'gpt2', rows)).toEqual([[2], [0]]);
    await expect(labels(years, 'gpt2', [{ text: 'a', label: 1 }])).rejects.toEqual(bad('1 is not the name of a class'));
  });

  it('are lists of names, or one number for each', async () => {
    const manifest = { ...multiLabel, labels: multiLabel.labels && { ...multiLabel.labels, names: ['a', 'b', 'c'] } };
    const rows = [
      { text: 'x', labels: ['c', 'a'] },
      { text: 'x', labels: [] },
      { text: 'x', labels: [0, 1, 0.5] },
      { text: 'x', labels: '["b"]' },
    ];
    expect(await labels(manifest, 'gpt2', rows)).toEqual([
      [1, 0, 1],
      [0, 0, 0],
      [0, 1, 0.5],
      [0, 1, 0],
    ]);
    await expect(labels(manifest, 'gpt2', [{ text: 'x', labels: ['d'] }])).rejects.toEqual(
      bad('row 0', '"d"', '"a", "b", "c"'),
    );
  });

  it('are numbers', async () => {
    expect(
      await labels(regression, 'gpt2', [
        { text: 'x', label: '-1.5' },
        { text: 'x', label: 2 },
      ]),
    ).toEqual([[-1.5], [2]]);
  });
});

describe('rows without labels, for predictions', () => {
  it.each([
    ['words of a tagger', tagger, { tokens: ['All', 'human', 'beings'] }],
    ['a text of a tagger', tagger, { text: 'All human beings' }],
    ['a text of a classifier', classifier, { text: 'All human beings' }],
  ])('%s', async (_, manifest, given) => {
    const inputs = textInputs(manifest.inputs);
    const task = inputs && taskOf(manifest, inputs.ids, false);
    if (inputs === undefined || task === undefined) throw new Error('not a task of text');
    const tokenizer = await loadTokenizer(writeTokenizer(join(scratch, `${count++}`), 'bert_cased'));
    const rows = [{ where: 'row 0', columns: new Map<string, unknown>(Object.entries(given)) }];
    const source = { file: 'rows', rows, task, inputs, tokenizer, templates: undefined };
    const dataset = await openText(source, { inputs: manifest.inputs }, manifest, {});
    expect(Array.from(dataset.row(0).get('input_ids')?.data ?? [], Number)).toEqual(
      tokenizer.encode('All human beings').ids,
    );
    dataset.close();
  });
});

describe('pairs', () => {
  it('are tokenized together, also with other names of columns', async () => {
    const [named, usual] = await Promise.all([
      read(classifier, 'bert_cased', [{ q: 'one', a: 'two', y: 'no' }], {
        textColumn: 'q',
        textPairColumn: 'a',
        labelColumn: 'y',
      }),
      read(classifier, 'bert_cased', [{ text: 'one', text_pair: 'two', label: 'no' }]),
    ]);
    expect(named).toEqual(usual);
  });
});

describe('bad rows are refused with their place', () => {
  it.each([
    [classifier, { text: '', label: 0 }, ['row 0', '"text" is empty']],
    [classifier, { text: ' \n', label: 0 }, ['"text" is empty']],
    [classifier, { text: 5, label: 0 }, ['"text" is a number']],
    [classifier, { text: 'a\ud800', label: 0 }, ['surrogate']],
    [classifier, { text: 'a' }, ['no column of labels', '"text"']],
    [classifier, { label: 1, body: 'a' }, ['no column of text', '"body"']],
    [classifier, { text: 'a', label: 'maybe' }, ['"maybe"', '"no", "yes", "it"']],
    [classifier, { text: 'a', label: '' }, ['each row needs a label']],
    [classifier, { text: 'a', label: 3 }, ['3 is out of range']],
    [classifier, { text: 'a', text_pair: '', label: 0 }, ['"text_pair" is empty']],
    [tagger, { tokens: ['a', 'b'], tags: ['O'] }, ['2 words', '1 entries']],
    [tagger, { tokens: ['a'], tags: ['X'] }, ['"tags"[0]', '"X"']],
    [tagger, { tokens: [], tags: [] }, ['"tokens" is empty']],
    [tagger, { tokens: ['a', 3], tags: ['O', 'O'] }, ['"tokens"[1]']],
    [languageModel, { prompt: 'a' }, ['"completion"']],
    [languageModel, { prompt: 'a', completion: '' }, ['"completion" is empty']],
    [languageModel, { messages: [] }, ['"messages" is empty']],
    [languageModel, { messages: [{ content: 'x' }] }, ['"messages"[0] has no "role"']],
    [languageModel, { messages: [{ role: 'user' }] }, ['"messages"[0] has no "content"']],
    [languageModel, { messages: ['x'] }, ['"messages"[0] is a string']],
    [languageModel, { other: 'x' }, ['no column of text', '"other"']],
  ])('%#', async (manifest, given, fragments) => {
    await expect(open(manifest, 'llama3', [given])).rejects.toEqual(bad(...fragments));
  });

  it('without a chat template, or with one that refuses a row', async () => {
    const rows = [{ messages: [{ role: 'user', content: 'x' }] }];
    const refusing = '{{ raise_exception("not like this") }}';
    const refused = (...fragments: string[]) => expect.toSatisfy(coded('CHAT_TEMPLATE', ...fragments));
    await expect(open(languageModel, 'llama3', rows)).rejects.toEqual(refused('no chat template'));
    await expect(open(languageModel, 'llama3', rows, {}, refusing)).rejects.toEqual(refused('row 0', 'not like this'));
    await expect(open(languageModel, 'llama3', rows, {}, '{% for m in messages %}')).rejects.toEqual(
      refused('cannot be read'),
    );
  });

  it('beyond the table of the model, with the token', async () => {
    const range = { table: 'wte', entries: 300, least: 0 };
    const manifest = { ...languageModel, inputs: [{ ...tokens, tables: [range] }] };
    await expect(open(manifest, 'gpt2', [{ text: 'All human beings' }])).rejects.toEqual(
      bad('"wte"', "another model's"),
    );
  });

  it('by truncation where the table of positions ends', async () => {
    const lengths = [{ table: 'wpe', axis: 1, most: 6 }];
    const manifest = { ...languageModel, inputs: [{ ...tokens, lengths }] };
    const [row] = await read(manifest, 'gpt2', [{ text: 'All human beings are born free and equal' }]);
    expect(row?.ids).toHaveLength(6);
  });

  it('where nothing is left to learn from', async () => {
    const rows = [{ prompt: 'a long prompt '.repeat(20), completion: 'x' }];
    const notices: string[] = [];
    const options = { maxLength: 8, onNotice: (text: string) => notices.push(text) };
    await expect(open(languageModel, 'gpt2', rows, options)).rejects.toEqual(bad('none of the 1 rows', '8 tokens'));
    await open(languageModel, 'gpt2', [...rows, { prompt: 'a', completion: 'b' }], options);
    expect(notices).toEqual(['rows: 1 rows have no token that counts within 8 tokens: they are left out']);
  });
});
