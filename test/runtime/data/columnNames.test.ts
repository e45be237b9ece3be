/** Columns of a file that are not inputs: dropped where the file shows it, refused by name, or left out with a notice. */

import { describe, expect, it } from 'vitest';
import { writeNpz } from '../../../src/formats/npz.ts';
import { bytesOf, type RawTensor } from '../../../src/formats/rawTensor.ts';
import { writeSafetensors } from '../../../src/formats/safetensors.ts';
import { type DataOptions, type DataSpec, openData, rowsDataset } from '../../../src/runtime/data/index.ts';
import { bad, dataFiles, field } from '../../support/dataFiles.ts';

const { place, file } = dataFiles();
const labels = field('labels', 'int64', 'N');
const fixed: DataSpec = { inputs: [field('x', 'float32', 'N', 2)], labels };
const open: DataSpec = { inputs: [field('ids', 'int64', 'N', 'S')], labels };
const masked: DataSpec = {
  inputs: [
    field('input_ids', 'int64', 'N', 'S'),
    { ...field('attention_mask', 'int64', 'N', 'S'), missing: { value: 'ones', like: 'input_ids' } },
  ],
  labels: { ...field('labels', 'int64', 'N', 'S'), missing: { value: 'copy', like: 'input_ids' } },
};

async function read(path: string, spec: DataSpec, options: DataOptions = {}) {
  const notices: string[] = [];
  const dataset = await openData(path, spec, { ...options, onNotice: (text) => notices.push(text) });
  const values = Object.fromEntries([...dataset.row(0)].map(([name, { data }]) => [name, [...data].map(Number)]));
  dataset.close();
  return { values, notices };
}

interface Refusal {
  readonly content: string;
  readonly spec: DataSpec;
  readonly fragments: readonly string[];
}

describe('a table whose columns fill the only input', () => {
  it.each([
    [',a,b,label\n7,1,2,0', fixed, 'column 1 is left out: an index'],
    ['Unnamed: 0.1,Unnamed: 0,a,b,label\n7,8,1,2,0', fixed, '"Unnamed: 0"'],
    ['a,b,label,__index_level_0__\n1,2,0,9', fixed, '"__index_level_0__"'],
    ['a,Unnamed: 0,b,label\n1,9,2,0', fixed, '"Unnamed: 0"'],
    ['t0,t1,label\n1,2,0', open, undefined],
    ['x,x.1,label\n1,2,0', open, undefined],
    ['first,second,label\n1,2,0', open, '"ids" is filled from 2 columns: "first", "second"'],
    ['t2,t1,label\n1,2,0', open, 'in the order of the file, not of their numbers'],
  ])('%j', async (content, spec, notice) => {
    const { values, notices } = await read(file('.csv', content), spec);
    expect(values).toMatchObject({ labels: [0], [spec === fixed ? 'x' : 'ids']: [1, 2] });
    if (notice === undefined) expect(notices).toEqual([]);
    else expect(notices.join('\n')).toContain(notice);
  });

  it.each<Refusal>([
    { content: 't0,t1,id,label\n1,2,9,0', spec: open, fragments: ['column "id" is not an input', '"t0", "t1"'] },
    { content: 'row,t0,t1,split,label\n9,1,2,3,0', spec: open, fragments: ['columns "row", "split" are not inputs'] },
    { content: 'id,first,second,label\n9,1,2,0', spec: open, fragments: ['column "id" is not an input'] },
    { content: 't0,t1,extra,label\n1,2,9,0', spec: open, fragments: ['column "extra" is not an input'] },
    {
      content: 'a,b,c,label\n1,2,3,0',
      spec: fixed,
      fragments: ['"x" needs 2 columns, but the file has 3: "a", "b", "c"'],
    },
    {
      content: 'f0,f1,price,label\n1,2,3,0',
      spec: fixed,
      fragments: ['column "price" is not an input', 'needs 2 columns, but the file has 3'],
    },
    { content: ',a,label\n1,2,0', spec: fixed, fragments: ['needs 2 columns, but the file has 1: "a"'] },
    { content: 'a,,b,label\n1,9,2,0', spec: fixed, fragments: ['column 2 has no name'] },
    { content: 'a,Unnamed: 1,b,label\n1,9,2,0', spec: fixed, fragments: ['column 2 has no name'] },
    { content: 'a,b,label,labels\n1,2,0,1', spec: fixed, fragments: ['2 columns of labels, "labels", "label"'] },
    { content: '0.5,1.5,1\n2,3,0', spec: fixed, fragments: ['the first line has numbers'] },
    { content: 'a b label\n1 2 0', spec: fixed, fragments: ['the header has one column'] },
  ])('$content is refused', async ({ content, spec, fragments }) => {
    await expect(read(file('.csv', content), spec)).rejects.toThrow(bad(...fragments));
  });

  it('as many columns as a fixed width has are taken', async () => {
    expect((await read(file('.csv', 'id,f0,label\n1,2,0'), fixed)).values.x).toEqual([1, 2]);
  });

  it('a column of row numbers does not stand for the last column of a series', async () => {
    const three = { inputs: [field('x', 'float32', 'N', 3)], labels };
    await expect(read(file('.csv', 'id,f0,f1,label\n9,1,2,0'), three)).rejects.toThrow(bad('column "id"'));
  });

  it('a prediction leaves out the labels, the option names them', async () => {
    const content = 'a,b,y\n1,2,0';
    const spec = { inputs: fixed.inputs };
    expect((await read(file('.csv', content), spec, { labelColumn: 'y' })).values).toEqual({ x: [1, 2] });
    await expect(read(file('.csv', content), spec)).rejects.toThrow(bad('needs 2 columns, but the file has 3'));
    const both = await read(file('.csv', 'a,b,y,label\n1,2,0,1'), fixed, { labelColumn: 'y' });
    expect(both).toMatchObject({ values: { x: [1, 2], labels: [0] }, notices: [expect.stringContaining('"label"')] });
  });

  it('an input that is not read is not a part of another', async () => {
    const content = 't0,t1,token_type,label\n1,2,9,0';
    expect((await read(file('.csv', content), open, { unread: ['token_type'] })).values.ids).toEqual([1, 2]);
  });
});

/** The same rows, with another name, in each format with names. */
const tensor = (values: readonly number[], shape: readonly number[]): RawTensor => ({
  dtype: 'I64',
  shape,
  data: bytesOf(BigInt64Array.from(values, BigInt)),
});
const formats: Readonly<Record<string, (rows: Readonly<Record<string, readonly number[]>>) => string>> = {
  jsonl: (row) => file('.jsonl', JSON.stringify(row)),
  json: (row) => file('.json', JSON.stringify([row])),
  npz: (row) => {
    const path = place(`.npz`);
    writeNpz(
      path,
      Object.entries(row).map(([name, values]) => [name, tensor(values, [1, values.length])]),
    );
    return path;
  },
  safetensors: (row) => {
    const path = place(`.safetensors`);
    writeSafetensors(
      path,
      Object.entries(row).map(([name, values]) => [name, tensor(values, [1, values.length])]),
    );
    return path;
  },
  csv: (row) =>
    file(
      '.csv',
      [
        Object.entries(row).flatMap(([name, values]) => values.map((_, i) => `${name}[${i}]`)),
        Object.values(row).flat(),
      ].join('\n'),
    ),
};

describe.each(Object.keys(formats))('names in .%s', (format) => {
  const write = formats[format] ?? (() => '');
  const ids = [3, 4];

  it('left out with a notice', async () => {
    const { values, notices } = await read(write({ input_ids: ids, attention_mask: [1, 0], offsets: [5, 6] }), masked);
    expect(values).toEqual({ input_ids: ids, attention_mask: [1, 0], labels: [3, -100] });
    expect(notices.join('\n')).toContain('offsets');
    expect(
      (await read(write({ input_ids: ids, attention_mask: [1, 0], other: ids }), masked, { unread: ['other'] }))
        .notices,
    ).toEqual(format === 'csv' ? [expect.stringContaining('other[0]')] : []);
  });

  const misspelt = ['attention_maks', 'Attention-Mask', 'attentionmask', 'Labels', 'lables'];
  it.each(format === 'csv' ? [] : misspelt)('%s is refused, not lost', async (name) => {
    await expect(read(write({ input_ids: ids, [name]: ids }), masked)).rejects.toThrow(
      bad(`"${name}"`, 'did you mean'),
    );
  });
});

describe('rows that differ', () => {
  it('an input that only later rows have', async () => {
    const lines = [{ input_ids: [1, 2] }, { input_ids: [1, 2], attention_mask: [1, 0] }].map((row) =>
      JSON.stringify(row),
    );
    await expect(read(file('.jsonl', lines.join('\n')), masked)).rejects.toThrow(
      bad('line 2 has "attention_mask"', 'earlier rows lack it'),
    );
    expect(() =>
      rowsDataset(
        lines.map((line) => Object(JSON.parse(line))),
        masked,
      ),
    ).toThrow(bad('row 1 has "attention_mask"'));
  });

  it('a name that occurs twice in an object', async () => {
    await expect(read(file('.jsonl', '{"x":[1,2],"labels":0,"labels":1}'), fixed)).rejects.toThrow(
      bad('line 1: "labels" occurs twice'),
    );
    // Inside a value it is data that is not read.
    await read(file('.jsonl', '{"x":[1,2],"labels":0,"meta":{"x":1,"x":2}}'), fixed);
  });
});
