/** Data files as pandas, polars and numpy write them: the loss is that of the plain rows, or the file is refused. */

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile, Trainer } from '../../src/index.ts';
import { caseFolder, cases } from '../support/caseFolder.ts';
import { coded } from '../support/coded.ts';
import { loraify } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const data = (name: string): string => join(cases, 'data-files', name);
const models = {
  tab: join(cases, 'delimiters-and-json-arrays/tab.onnx'),
  tok: join(cases, 'index-column-as-token/tok.onnx'),
};
const named = { labels: ['cat', 'dog', 'bird'] };

const trainers = new Map<string, Trainer>();
beforeAll(async () => {
  for (const [name, model, options] of [
    ['tab', models.tab, {}],
    ['tok', models.tok, {}],
    ['named', models.tab, named],
  ] as const) {
    const out = join(folder, `${name}.lora`);
    await compile(model, { rank: 2, out, ...options });
    trainers.set(name, await Trainer.open(out, { threads: 1 }));
  }
});
afterAll(async () => {
  for (const trainer of trainers.values()) await trainer.close();
});

const notices: string[] = [];
async function lossOf(kind: string, file: string, options: object = {}): Promise<number> {
  const trainer = trainers.get(kind);
  if (trainer === undefined) throw new Error(kind);
  notices.length = 0;
  return (await trainer.evaluate(data(file), { ...options, onNotice: (text) => notices.push(text) })).loss;
}
const refused = async (kind: string, file: string, fragments: readonly string[], options: object = {}) =>
  expect(lossOf(kind, file, options)).rejects.toThrow(expect.toSatisfy(coded('BAD_DATA', ...fragments)));

describe('columns that are not inputs', () => {
  it.each([
    ['tab', 'tab-index.csv', {}, 'column 1 is left out: an index'],
    ['tab', 'tab-index-twice.csv', {}, 'column "Unnamed: 0" is left out: an index'],
    ['tab', 'tab-numbered.csv', {}, 'an index'],
    ['tok', 'tok-two-levels.csv', {}, 'column 2 is left out: an index'],
    ['tok', 'tok-index.parquet', {}, '"__index_level_0__" is left out'],
    ['tok', 'tok-named-index.parquet', {}, '"sample" is left out'],
    ['tok', 'tok-two-levels.parquet', {}, '"again" is left out'],
    ['tok', 'tok-range-index.parquet', {}, undefined],
    ['tok', 'tok-y.csv', { labelColumn: 'y' }, '"label" is left out: labels'],
    ['tok', 'tok-two-labels.csv', { labelColumn: 'label' }, '"labels" is left out: labels'],
  ])('%s: %s %j', async (kind, file, options, notice) => {
    expect(await lossOf(kind, file, options)).toBe(await lossOf(kind, `${kind}-plain.csv`));
    await lossOf(kind, file, options);
    expect(notices.join('\n')).toContain(notice ?? '');
    if (notice === undefined) expect(notices).toEqual([]);
  });

  it.each([
    ['tok', 'tok-id.csv', 'column "id" is not an input'],
    ['tok', 'tok-split.csv', 'column "split" is not an input'],
    ['tok', 'tok-text.parquet', 'column "text" is not an input'],
    ['tok', 'tok-two-labels.csv', '2 columns of labels, "labels", "label"'],
    ['tab', 'tab-weight.csv', '"weight" is not an input', '"x" needs 4 columns, but the file has 5'],
    ['tab', 'tab-index-for-feature.csv', '"x" needs 4 columns, but the file has 3: "f0", "f1", "f2"'],
    ['tab', 'tab-without-names.npz', 'lacks the input "x"', '"arr_0"'],
    ['tab', 'tab-columns.json', 'lacks the input "x"'],
  ])('%s: %s is refused', async (kind, file, ...fragments) => {
    await refused(kind, file, fragments);
  });

  it('a prediction leaves out the label column, under any name', async () => {
    const trainer = trainers.get('tok');
    const rows = async (file: string, options: object = {}) => {
      const prediction = await trainer?.predict(data(file), options);
      return [0, 7].map((i) => prediction?.row(i).logits);
    };
    expect(await rows('tok-y.csv', { labelColumn: 'y' })).toEqual(await rows('tok-plain.csv'));
  });
});

describe('NaN', () => {
  const files = ['.csv', '-na.csv', '.parquet', '-polars.parquet', '.jsonl', '.npz'].map((end) => `tab-gaps${end}`);
  it.each(files)('%s: refused with its place, read with --allow-nan', async (file) => {
    await refused('tab', file, [
      /csv/.test(file) ? 'column "f' : /parquet/.test(file) ? 'column "f' : '"x"[',
      '--allow-nan',
    ]);
    expect(await lossOf('tab', file, { allowNan: true })).toBeNaN();
    const prediction = await trainers.get('tab')?.predict(data(file), { allowNan: true });
    const [first, expected] = [prediction?.row(0), await trainers.get('tab')?.predict(data('tab-plain.csv'))];
    expect(first).toEqual(expected?.row(0));
    expect([...(prediction?.row(7).logits?.data ?? [])].some(Number.isNaN)).toBe(
      [
        ...((await trainers.get('tab')?.predict(data('tab-gaps.npz'), { allowNan: true }))?.row(7).logits?.data ?? []),
      ].some(Number.isNaN),
    );
  });

  it.each([
    ['tab', 'tab-no-label.csv', 'line 2, column "label": "" is a missing value'],
    ['tab', 'tab-no-label.parquet', 'row 0: column "label"'],
    ['tok', 'tok-gap.parquet', 'row 0: column "t1"'],
  ])('%s: %s is refused in integers, always', async (kind, file, fragment) => {
    await refused(kind, file, [fragment]);
    await refused(kind, file, [fragment], { allowNan: true });
  });
});

describe('labels', () => {
  it.each(['tab-column.npz', 'tab-column.parquet', 'tab-float-labels.npz'])('%s: one label a row', async (file) => {
    expect(await lossOf('tab', file)).toBe(await lossOf('tab', 'tab-plain.csv'));
  });

  it.each(['tab-one-hot.npz', 'tab-one-hot.parquet'])('%s: refused with a hint', async (file) => {
    await refused('tab', file, ['argmax']);
  });

  it.each(['tab-named.csv', 'tab-named.parquet', 'tab-named.npz', 'tab-named-bytes.npz'])('%s: names', async (file) => {
    const plain = await lossOf('tab', 'tab-plain.csv');
    expect(await lossOf('named', file)).toBe(plain);
    expect(await lossOf('named', 'tab-plain.csv')).toBe(plain);
    const error = lossOf('tab', file);
    await expect(error).rejects.toThrow(expect.toSatisfy(coded('BAD_DATA', '"bird", "cat", "dog" (3)')));
    await expect(error).rejects.toMatchObject({ hint: expect.stringContaining('--labels bird,cat,dog') });
  });
});

describe('forms of files', () => {
  it.each([
    ['tab-german.csv', ['separated by semicolons', 'decimals follow a comma']],
    ['tab.tsv', []],
    ['tab-bars.csv', ['separated by vertical bars']],
    ['tab-excel.csv', []],
    ['tab-array.json', []],
    ['tab-array.jsonl', []],
    ['tab-pretty.jsonl', []],
    ['tab-big-endian.npz', []],
    ['tab-fortran.npz', []],
  ])('%s is read', async (file, said) => {
    const loss = await lossOf('tab', file);
    const found = [...notices];
    expect(found).toHaveLength(said.length);
    for (const [i, text] of said.entries()) expect(found[i]).toContain(text);
    expect(loss).toBe(await lossOf('tab', 'tab-plain.csv'));
  });

  it.each([
    ['tab-objects.npz', 'Python objects'],
    ['tab-fields.npz', 'several fields'],
    ['tab-utf16.csv', 'UTF-16'],
    ['tab-windows.csv', 'line 4', 'UTF-8'],
    ['tab.xlsx', '".xlsx" is not a data format'],
    ['tab.feather', '".feather" is not a data format'],
    ['tab.npy', '".npy" is not a data format'],
    ['../data-files', 'a folder'],
  ])('%s is refused', async (file, ...fragments) => {
    await refused('tab', file, fragments);
  });

  it('reads half precision', async () => {
    expect(await lossOf('tab', 'tab-half.npz')).toBeGreaterThan(0);
  });
});

describe('the cases, from the command line', () => {
  const outputs = async (name: string, model: string, ...commands: readonly (readonly string[])[]) => {
    const cwd = caseFolder(name);
    expect(await loraify([model, '-r', '2', '--quiet', '-o', 'p'], { cwd })).toMatchObject({ status: 0, stderr: '' });
    const all = [];
    for (const command of commands) all.push(await loraify(['eval', 'p', '--data', ...command], { cwd }));
    return all.map(({ status, stdout, stderr }) => (status === 0 ? /loss ([\w.]+)/.exec(stdout)?.[1] : stderr));
  };

  it('index-column-as-token: 1.0005 in each file', async () => {
    const files = [['plain.csv'], ['with_index.csv'], ['plain.parquet']];
    expect(await outputs('index-column-as-token', 'tok.onnx', ...files)).toEqual(['1.0005', '1.0005', '1.0005']);
  });

  it('allow-nan-formats', async () => {
    const files = [
      ['nan.csv', '--allow-nan'],
      ['nan.jsonl', '--allow-nan'],
    ];
    expect(await outputs('allow-nan-formats', 'tab.onnx', ...files)).toEqual(['NaN', 'NaN']);
    const [csv, jsonl] = await outputs('allow-nan-formats', 'tab.onnx', ['nan.csv'], ['nan.jsonl']);
    expect(csv).toMatch(/error\[BAD_DATA\]: line 3, column "f0".*--allow-nan/);
    expect(jsonl).toMatch(/error\[BAD_DATA\]: line 1: "x"\[0\]: NaN.*--allow-nan/);
  });

  it('label-shape-n-or-n1: 7.0791 in each file', async () => {
    const files = [['rows.csv'], ['rows.jsonl'], ['rows.npz']];
    expect(await outputs('label-shape-n-or-n1', 'reg.onnx', ...files)).toEqual(['7.0791', '7.0791', '7.0791']);
    expect(await outputs('label-shape-n-or-n1', 'tab.onnx', ['class_n1.npz'])).toEqual(['5.5251']);
  });

  it('delimiters-and-json-arrays: 3.9688 in each file', async () => {
    const files = [['semi.csv'], ['semidec.csv'], ['array.json'], ['strlabel.csv']];
    const found = await outputs('delimiters-and-json-arrays', 'tab.onnx', ...files);
    expect(found.slice(0, 3)).toEqual(['3.9688', '3.9688', '3.9688']);
    expect(found[3]).toContain('hint: compile again with --labels bird,cat,dog');
  });
});
