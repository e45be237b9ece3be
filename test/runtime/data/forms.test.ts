import { describe, expect, it } from 'vitest';
import {
  type DataOptions,
  type DataSpec,
  type FieldSpec,
  openData,
  rowsDataset,
} from '../../../src/runtime/data/index.ts';
import { bad, dataFiles, field } from '../../support/dataFiles.ts';

const { file } = dataFiles();
const points: DataSpec = { inputs: [field('x', 'float32', 'N', 2)], labels: field('labels', 'int64', 'N') };
const classes = (names?: readonly string[], ...shape: FieldSpec['shape']): DataSpec => ({
  inputs: points.inputs,
  labels: { ...field('labels', 'int64', 'N', ...shape), rule: { kind: 'class', classes: 3, ignoreIndex: -100, names } },
});

async function read(path: string, spec: DataSpec = points, options: DataOptions = {}) {
  const dataset = await openData(path, spec, options);
  const rows = Array.from({ length: dataset.rows }, (_, i) =>
    [...dataset.row(i).values()].flatMap(({ data }) => [...data].map(Number)),
  );
  dataset.close();
  return rows;
}

describe('csv', () => {
  it.each([
    [
      'a;b;labels\n1,5;2;0\n-,5;2e1;1',
      [
        [1.5, 2, 0],
        [-0.5, 20, 1],
      ],
    ],
    ['a\tb\tlabels\n1.5\t2\t0', [[1.5, 2, 0]]],
    ['a|b|labels\n1.5|2|0', [[1.5, 2, 0]]],
    ['sep=;\r\na;b;labels\r\n1,5;2;0', [[1.5, 2, 0]]],
    ['"a, in m";"b, in m";labels\n1;2;0', [[1, 2, 0]]],
    ['"a\nb","c;d",labels\r\n"1.5",2,0\r\n', [[1.5, 2, 0]]],
    [
      '\ufeffa,b,labels\r1,2,0\r3,4,1',
      [
        [1, 2, 0],
        [3, 4, 1],
      ],
    ],
    ['a;b;labels\n1,125;0,5;0', [[1.125, 0.5, 0]]],
    ['a,b,labels\ninf,-Infinity,0', [[Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0]]],
  ])('%j', async (content, rows) => {
    expect(await read(file('.csv', content))).toEqual(rows);
  });

  it.each([
    ['a;b;labels\n1,234;2;0', 'line 2, column "a": "1,234" may be a decimal comma'],
    ['a;b;labels\n1,5;2.5;0', '"2.5" and "1,5" (line 2, column "a")'],
    ['a;b;labels\n1.5;2;0\n1;2,5;0', 'line 3, column "b": "2,5" and "1.5"'],
    ['a,b,labels\n"1,5",2,0', '"1,5" is not a number'],
    ['a;b;labels\n1.234,5;2;0', '"1.234,5" is not a number'],
    ['a,b,labels\n1e999,2,0', '"1e999" is not a number'],
    ['a,b,labels\n"[1]",2,0', 'lists need .jsonl'],
  ])('%j is refused', async (content, reason) => {
    await expect(read(file('.csv', content))).rejects.toThrow(bad(reason));
  });

  it('names the line of bytes that are not UTF-8, also in a later part of the file', async () => {
    const line = Buffer.from('1,2,0\n');
    const content = Buffer.concat([
      Buffer.from('a,b,labels\n'),
      ...Array.from({ length: 20_000 }, () => line),
      Buffer.from([0xe9, 0x0a]),
    ]);
    await expect(read(file('.csv', content))).rejects.toThrow(bad('line 20002', 'UTF-8'));
    // A character that two reads of the file divide is one.
    const long = `a,b,labels\n1,2,0\n${' '.repeat(65_518)}`;
    expect(Buffer.byteLength(long)).toBe(65_535);
    await expect(read(file('.csv', `${long}é,2,0`))).rejects.toThrow(bad('line 3', 'é" is not a number'));
  });
});

describe('NaN', () => {
  const cells = ['', 'NaN', 'nan', 'NA', 'N/A', 'null', 'None', '<NA>', '#N/A', ' '];
  it.each(cells)('%j', async (cell) => {
    const path = file('.csv', `a,b,labels\n1,2,0\n1,${cell},0`);
    await expect(read(path)).rejects.toThrow(bad('line 3, column "b"', '--allow-nan'));
    expect(await read(path, points, { allowNan: true })).toEqual([
      [1, 2, 0],
      [1, Number.NaN, 0],
    ]);
    const integers = { inputs: [field('x', 'int64', 'N', 2)], labels: points.labels };
    await expect(read(path, integers, { allowNan: true })).rejects.toThrow(bad('line 3, column "b"', 'int64'));
    const label = file('.csv', `a,b,labels\n1,2,${cell}`);
    for (const spec of [points, classes(), { ...points, labels: field('labels', 'float32', 'N') }])
      await expect(read(label, spec, { allowNan: true })).rejects.toThrow(bad('line 2, column "labels"'));
  });

  it.each(['NaN', 'null'])('%s in JSON', async (value) => {
    const path = file('.jsonl', `{"x":[1,${value}],"labels":0,"note":"NaN, null"}`);
    await expect(read(path)).rejects.toThrow(bad('line 1: "x"[1]', '--allow-nan'));
    expect(await read(path, points, { allowNan: true })).toEqual([[1, Number.NaN, 0]]);
    const label = file('.jsonl', `{"x":[1,2],"labels":${value}}`);
    for (const spec of [points, classes(), { ...points, labels: field('labels', 'float32', 'N') }])
      await expect(read(label, spec, { allowNan: true })).rejects.toThrow(bad('line 1: "labels"'));
  });

  it('infinity is a number, but not a label', async () => {
    expect(await read(file('.jsonl', '{"x":[Infinity,-Infinity],"labels":0}'))).toEqual([
      [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0],
    ]);
    const floats = { ...points, labels: field('labels', 'float32', 'N') };
    await expect(read(file('.jsonl', '{"x":[1,2],"labels":Infinity}'), floats)).rejects.toThrow(bad('infinite label'));
  });
});

describe('json', () => {
  const rows = [
    { x: [1, 2], labels: 0, t: 'a "}" \\' },
    { x: [3, 4], labels: 1, t: '[' },
  ];
  const [a, b] = rows.map((row) => JSON.stringify(row));
  it.each([
    ['.json', JSON.stringify(rows)],
    ['.jsonl', JSON.stringify(rows, undefined, 2)],
    ['.json', `\ufeff\n[\r\n${a},\r\n${b}\r\n]\r\n`],
    ['.json', `${a}\n${b}\n`],
    ['.jsonl', `${a}${b}`],
    ['.jsonl', rows.map((row) => JSON.stringify(row, undefined, 1)).join('\n\n')],
    ['.jsonl', `\ufeff${a}\r\n\r\n${b}`],
  ])('%s %j', async (extension, content) => {
    expect(await read(file(extension, content))).toEqual([
      [1, 2, 0],
      [3, 4, 1],
    ]);
    expect(await read(file(extension, content), points, { cacheBytes: 1 })).toEqual([
      [1, 2, 0],
      [3, 4, 1],
    ]);
  });

  it.each([
    ['[{"x":[1,2],"labels":0}', 'does not end'],
    [`${a},\n${b}`, 'a comma after an object'],
    [`[${a}] 1`, 'after the end of the array'],
    ['[1, 2]', 'not a JSON object'],
    ['["a"]', 'not a JSON object'],
    [`[${a},\n{"x":[1,2,3],"labels":0}]`, 'line 2: "x" has the shape [3], not [2]'],
    ['[{"x": [1,\n2,\n"3"], "labels": 0}]', 'line 1: '],
    ['x,labels\n1,2', 'it begins with "x,labels"'],
    ['{"x":[[1,2],[3,4]],"labels":[0,1]}', 'nested deeper'],
  ])('%j is refused', async (content, reason) => {
    await expect(read(file('.json', content))).rejects.toThrow(bad(reason));
  });
});

describe('labels of one row', () => {
  it.each([
    [[], 2, [2]],
    [[], [2], [2]],
    [[], [[2]], [2]],
    [[1], 2, [2]],
    [['S'], [1, 2], [1, 2]],
    [['S'], [[1], [2]], [1, 2]],
    [
      ['S', 1],
      [1, 2],
      [1, 2],
    ],
    [
      [1, 'S'],
      [1, 2],
      [1, 2],
    ],
    [['S'], [], []],
  ])('%j: %j', (shape, labels, expected) => {
    const row = rowsDataset([{ x: [0, 0], labels }], classes(undefined, ...shape))
      .row(0)
      .get('labels');
    expect([...(row?.data ?? [])].map(Number)).toEqual(expected);
    expect(row?.shape).toHaveLength(shape.length);
  });

  it.each([
    [[], [0, 0, 1], 'argmax'],
    [[], [1, 2], 'has the shape [2], not []'],
    [['S'], 1, 'has the shape [], not [S]'],
    [
      ['S'],
      [
        [0, 1, 0],
        [1, 0, 0],
      ],
      'argmax',
    ],
    [[2], [1], 'has the shape [1], not [2]'],
  ])('%j refuses %j', (shape, labels, reason) => {
    expect(() => rowsDataset([{ x: [0, 0], labels }], classes(undefined, ...shape))).toThrow(bad(reason));
  });
});

describe('names of classes', () => {
  const spec = classes(['cat', 'dog', 'a bird']);
  const csv = (...labels: string[]): string => file('.csv', ['a,b,label', ...labels.map((l) => `1,2,${l}`)].join('\n'));
  const label = async (path: string, how = spec) => (await read(path, how)).map((row) => row[2]);

  it('are read beside numbers and the ignored label', async () => {
    expect(await label(csv('dog', ' cat', '2', '"a bird"', '-100', '1.0'))).toEqual([1, 0, 2, 2, -100, 1]);
    const json = ['dog', 'a bird', 0, -100].map((l) => JSON.stringify({ x: [1, 2], labels: l })).join('\n');
    expect(await label(file('.jsonl', json))).toEqual([1, 2, 0, -100]);
  });

  it('unknown ones are refused with their row and the names', async () => {
    await expect(label(csv('dog', 'dgo'))).rejects.toThrow(bad('line 3', '"dgo"', 'did you mean "dog"', '"a bird"'));
    await expect(label(csv('Dog'))).rejects.toThrow(bad('"Dog"'));
    await expect(label(csv('3'))).rejects.toThrow(bad('3 is out of range'));
    await expect(label(csv('true'))).rejects.toThrow(bad('true is not the name of a class'));
  });

  it('that are numbers are names, not indices', async () => {
    const digits = classes(['1', '2', '3']);
    expect(await label(csv('1', '3', '2'), digits)).toEqual([0, 2, 1]);
    const json = [3, 1].map((l) => JSON.stringify({ x: [1, 2], labels: l })).join('\n');
    expect(await label(file('.jsonl', json), digits)).toEqual([2, 0]);
    await expect(label(csv('0'), digits)).rejects.toThrow(bad('0 is not the name'));
  });

  it('may be true and false', async () => {
    const truth = classes(['True', 'False', 'NA']);
    expect(await label(csv('True', 'False', 'NA'), truth)).toEqual([0, 1, 2]);
    expect(await label(file('.jsonl', '{"x":[1,2],"labels":false}'), truth)).toEqual([1]);
    expect(await label(csv('true', 'False'), classes())).toEqual([1, 0]);
  });

  it('are listed where the package has none', async () => {
    const opened = label(csv('yes', 'no', 'yes'), classes());
    await expect(opened).rejects.toThrow(bad('line 2', '"yes"', '"no", "yes" (2)'));
    await expect(opened).rejects.toMatchObject({ hint: expect.stringContaining('--labels no,yes') });
    await expect(label(csv('"b c"', 'a'), classes())).rejects.toMatchObject({
      hint: expect.stringContaining('--labels "a,b c"'),
    });
    await expect(label(csv('"b,c"', 'a'), classes())).rejects.toMatchObject({
      hint: expect.stringContaining('--labels NAMES.txt'),
    });
    expect(() => rowsDataset([{ x: [1, 2], labels: 'a' }], classes())).toThrow(bad('row 0', '"a" (1)'));
  });
});
