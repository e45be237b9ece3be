import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeNpz } from '../../../src/formats/npz.ts';
import { bytesOf, type NumericArray, type RawDtype, type RawTensor } from '../../../src/formats/rawTensor.ts';
import { writeSafetensors } from '../../../src/formats/safetensors.ts';
import {
  batch,
  type DataSpec,
  type Dataset,
  openData,
  rowLengths,
  rowsDataset,
} from '../../../src/runtime/data/index.ts';
import { coded } from '../../support/coded.ts';
import { bad, dataFiles, field } from '../../support/dataFiles.ts';
import { describeShared, sharedPath } from '../../support/sharedMaterial.ts';

const { folder, place, file } = dataFiles();
const jsonl = (...rows: unknown[]): string =>
  file('.jsonl', rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));

const text: DataSpec = {
  inputs: [field('input_ids', 'int64', 'N', 'S'), field('attention_mask', 'int64', 'N', 'S')],
  labels: field('labels', 'int64', 'N'),
};
const points: DataSpec = { inputs: [field('x', 'float32', 'N', 2)], labels: field('labels', 'int64', 'N') };

const plain = (dataset: Dataset, index: number) =>
  Object.fromEntries([...dataset.row(index)].map(([name, { shape, data }]) => [name, [shape, [...data]]]));
const tensor = (dtype: RawDtype, shape: number[], values: NumericArray): RawTensor => ({
  dtype,
  shape,
  data: bytesOf(values),
});

describe('jsonl', () => {
  it('reads rows of unequal length, past blank lines, CRLF and a byte order mark', async () => {
    const path = file(
      '.jsonl',
      '\ufeff{"input_ids":[1,2,3],"attention_mask":[1,1,true],"labels":0,"text":"extra"}\r\n\r\n{"labels":1,"input_ids":[],"attention_mask":[]}',
    );
    const dataset = await openData(path, text);
    expect(dataset.rows).toBe(2);
    expect(plain(dataset, 0)).toEqual({
      input_ids: [[3], [1n, 2n, 3n]],
      attention_mask: [[3], [1n, 1n, 1n]],
      labels: [[], [0n]],
    });
    expect(plain(dataset, 1)).toMatchObject({ input_ids: [[0], []] });
    expect(() => dataset.row(2)).toThrow(bad('no row 2'));
    dataset.close();
  });

  it('reads rows again that did not fit into the cache, across chunks of the file', async () => {
    const rows = Array.from({ length: 3000 }, (_, i) => ({ x: Array.from({ length: 200 }, () => i), labels: i }));
    const path = file('.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const spec = { inputs: [field('x', 'float32', 'N', 200)], labels: field('labels', 'int32', 'N') };
    const [cached, lean] = [await openData(path, spec), await openData(path, spec, { cacheBytes: 10_000 })];
    for (const i of [0, 7, 8, 9, 10, 1499, 2999]) {
      expect(lean.row(i).get('x')?.data[199]).toBe(i);
      expect(lean.row(i)).toEqual(cached.row(i));
    }
    cached.close();
    lean.close();
  });

  it('takes the labels from `label` or the column named', async () => {
    expect(plain(await openData(jsonl({ x: [1, 2], label: 3 }), points), 0)).toMatchObject({ labels: [[], [3n]] });
    const named = await openData(jsonl({ x: [1, 2], y: 4, labels: 9 }), points, { labelColumn: 'y' });
    expect(plain(named, 0)).toMatchObject({ labels: [[], [4n]] });
    expect([...(await openData(jsonl({ x: [1, 2] }), { inputs: points.inputs })).row(0).keys()]).toEqual(['x']);
  });

  it.each([
    ['text that is not JSON', ['{"x":[1,2],"labels":0}', '{"x":[1,'], ['line 2', 'not JSON']],
    ['NaN', ['{"x":[1,NaN],"labels":0}'], ['line 1', '"x"[1]', 'NaN', '--allow-nan']],
    ['an array of numbers', ['[1]'], ['line 1', 'not a JSON object']],
    ['an array without rows', ['[]'], ['no rows']],
    [
      'a missing input',
      [
        { x: [1, 2], labels: 0 },
        { X: [1, 2], labels: 0 },
      ],
      ['line 2', 'lacks the input "x"', 'did you mean "X"'],
    ],
    ['missing labels', [{ x: [1, 2] }], ['line 1', 'lacks the labels "labels"', '"x"']],
    ['another width', [{ x: [1, 2, 3], labels: 0 }], ['line 1', '"x" has the shape [3], not [2]']],
    ['a scalar', [{ x: 1, labels: 0 }], ['line 1', '"x"', 'nested 0 deep, not 1']],
    ['too much nesting', [{ x: [[1, 2], [3]], labels: 0 }], ['line 1', 'nested deeper than 1']],
    ['null', [{ x: [1, null], labels: 0 }], ['line 1', '"x"[1]', 'null', '--allow-nan']],
    ['text for a number', [{ x: [1, '2'], labels: 0 }], ['line 1', '"2" is not a number']],
    ['a fractional label', [{ x: [1, 2], labels: 0.5 }], ['line 1', '"labels"', '0.5 is not an integer']],
    ['an integer beyond 2^53', ['{"x":[1,2],"labels":9007199254740993}'], ['line 1', 'beyond 2^53']],
    ['a number beyond float32', [{ x: [1, 1e39], labels: 0 }], ['line 1', '1e+39', 'float32']],
    ['invalid UTF-8', [], ['line 1', 'UTF-8']],
  ] as const)('refuses %s', async (name, rows, fragments) => {
    const path = name === 'invalid UTF-8' ? file('.jsonl', Uint8Array.of(0x7b, 0xff, 0x7d)) : jsonl(...rows);
    await expect(openData(path, points)).rejects.toThrow(bad(...fragments));
  });

  it('refuses ragged arrays within a row, and lengths that disagree on one symbol', async () => {
    const images = { inputs: [field('x', 'float32', 'N', null, null)] };
    await expect(openData(jsonl({ x: [[1, 2], [3]] }), images)).rejects.toThrow(bad('2 and of 1 elements'));
    const row = { input_ids: [1, 2], attention_mask: [1], labels: 0 };
    await expect(openData(jsonl(row), text)).rejects.toThrow(
      bad('line 1', '"input_ids" and "attention_mask"', 'S is 2 and 1'),
    );
  });

  it('refuses a line without end', async () => {
    // A sparse file: 300 MB of zeros without a newline.
    const path = file('.jsonl', '{');
    const { truncateSync } = await import('node:fs');
    truncateSync(path, 300 * 2 ** 20);
    await expect(openData(path, points)).rejects.toThrow(bad('line 1', 'longer than'));
  });
});

describe('conversion', () => {
  const value = async (type: string, json: string) => {
    const dataset = await openData(file('.jsonl', `{"x":${json}}`), { inputs: [field('x', type, 'N')] });
    return [...(dataset.row(0).get('x')?.data ?? [])][0];
  };
  it.each([
    ['float32', '0.1', Math.fround(0.1)],
    ['float64', '0.1', 0.1],
    ['float16', '1.5', 0x3e00],
    ['int8', '-128', -128],
    ['uint8', '255', 255],
    ['int16', '-32768', -32768],
    ['uint16', '65535', 65535],
    ['int32', '2147483647', 2147483647],
    ['uint32', '4294967295', 4294967295],
    ['int64', '-9007199254740991', -9007199254740991n],
    ['uint64', '3.0', 3n],
    ['int64', '-0', 0n],
    ['bool', 'true', 1],
    ['bool', '0', 0],
  ])('%s of %s', async (type, json, expected) => {
    expect(await value(type, json)).toBe(expected);
  });

  it.each([
    ['int8', '128'],
    ['int8', '-129'],
    ['uint8', '-1'],
    ['uint8', '256'],
    ['int16', '40000'],
    ['uint16', '65536'],
    ['int32', '2147483648'],
    ['uint32', '-1'],
    ['uint64', '-1'],
    ['float16', '65520'],
    ['float32', '-3.5e38'],
    ['bool', '2'],
    ['int32', '0.1'],
    ['float32', '{}'],
  ])('%s refuses %s', async (type, json) => {
    await expect(value(type, json)).rejects.toThrow(bad('line 1'));
  });

  it('refuses types without an array in JavaScript, and inputs without rows', async () => {
    await expect(value('bfloat16', '1')).rejects.toThrow(bad('"x"', 'bfloat16'));
    await expect(value('string', '1')).rejects.toThrow(bad('"x"', 'string'));
    const scalar = openData(jsonl({ x: 1 }), { inputs: [field('x', 'float32')] });
    await expect(scalar).rejects.toThrow(bad('"x" is a scalar'));
  });
});

describe.each(['npz', 'safetensors'] as const)('%s', (format) => {
  const write = (arrays: Record<string, RawTensor>): string => {
    const path = place(`.${format}`);
    if (format === 'npz') writeNpz(path, Object.entries(arrays));
    else writeSafetensors(path, Object.entries(arrays));
    return path;
  };
  const x = tensor('F32', [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6));
  const labels = tensor('I64', [3], BigInt64Array.of(0n, 1n, -100n));

  it('reads rows', async () => {
    const dataset = await openData(write({ x, labels, other: tensor('U8', [1], Uint8Array.of(1)) }), points);
    expect(dataset.rows).toBe(3);
    expect(plain(dataset, 2)).toEqual({ x: [[2], [5, 6]], labels: [[], [-100n]] });
    expect(() => dataset.row(3)).toThrow(bad('no row 3'));
    dataset.close();
  });

  it('converts types that fit', async () => {
    const spec = { inputs: [field('x', 'float16', 'N', 2)], labels: field('labels', 'int32', 'N') };
    const dataset = await openData(write({ x: tensor('F64', [1, 2], Float64Array.of(1, 2)), label: labels }), {
      ...spec,
      inputs: [],
    });
    expect(plain(dataset, 2)).toEqual({ labels: [[], [-100]] });
    const halves = await openData(write({ x: tensor('F64', [1, 2], Float64Array.of(1, 2)) }), { inputs: spec.inputs });
    expect(plain(halves, 0)).toEqual({ x: [[2], [0x3c00, 0x4000]] });
    dataset.close();
    halves.close();
  });

  it('names what does not fit', async () => {
    const reject = async (arrays: Record<string, RawTensor>, ...fragments: string[]) =>
      expect(openData(write(arrays), points)).rejects.toThrow(bad(...fragments));
    await reject({ X: x, labels }, 'the file lacks the input "x"', 'did you mean "X"');
    await reject({ x: { ...x, shape: [2, 3] }, labels }, '"x" has the shape [3], not [2]');
    await reject({ x, labels: tensor('I64', [2], BigInt64Array.of(0n, 1n)) }, '"x" has 3 rows, but "labels" has 2');
    await reject({ x, labels: tensor('F32', [3], Float32Array.of(0, 1, 1.5)) }, 'row 2 of "labels"', '1.5');
    await reject({ x: tensor('F64', [3, 2], Float64Array.of(0, 0, 0, 1e300, 0, 0)), labels }, 'row 1 of "x"', '1e+300');
    await reject({ x: tensor('F32', [], Float32Array.of(0)), labels }, '"x" is a scalar');
    await reject(
      { x: { ...x, shape: [0, 2], data: new Uint8Array() }, labels: { ...labels, shape: [0], data: new Uint8Array() } },
      'no rows',
    );
  });
});

describe('csv', () => {
  const csv = (content: string, spec = points, options = {}) => openData(file('.csv', content), spec, options);

  it('spreads the only input over the other columns, in their order', async () => {
    const dataset = await csv('\ufeffa, label ,"b c"\n1,0,2.5\n\n -3 , 1,"4e1"\n');
    expect(dataset.rows).toBe(2);
    expect(plain(dataset, 0)).toEqual({ x: [[2], [1, 2.5]], labels: [[], [0n]] });
    expect(plain(dataset, 1)).toEqual({ x: [[2], [-3, 40]], labels: [[], [1n]] });
    // A column that happens to have the input's name is one of them.
    expect(plain(await csv('x,y,labels\n1,2,0'), 0)).toMatchObject({ x: [[2], [1, 2]] });
  });

  it('fills several axes, one of them open', async () => {
    const spec = { inputs: [field('x', 'int32', 'N', 2, 'T')], labels: points.labels };
    expect(plain(await csv('a,b,c,d,labels\n1,2,3,4,0', spec), 0)).toMatchObject({
      x: [
        [2, 2],
        [1, 2, 3, 4],
      ],
    });
    await expect(csv('a,b,c,labels\n1,2,3,0', spec)).rejects.toThrow(bad('multiple of 2'));
    const open = { inputs: [field('x', 'int32', 'N', null, 'T')] };
    await expect(csv('a\n1', open)).rejects.toThrow(bad('several open axes'));
  });

  it('finds columns by name and number', async () => {
    const spec = {
      inputs: [field('a', 'float32', 'N'), field('b', 'bool', 'N', 2)],
      labels: field('labels', 'float32', 'N', 2),
    };
    const dataset = await csv('labels[1],b[1],id,a,b[0],labels[0]\n4,TRUE,77,1,0,3', spec);
    expect(plain(dataset, 0)).toEqual({ a: [[], [1]], b: [[2], [0, 1]], labels: [[2], [3, 4]] });
    await expect(csv('a,b[0],b[2],labels[0],labels[1]\n1,1,1,1,1', spec)).rejects.toThrow(bad('"b[1]" is missing'));
    await expect(csv('a,c,labels\n1,1,1', spec)).rejects.toThrow(bad('the header lacks the input "b"'));
  });

  it('knows the label column by option, and leaves labels out of a prediction', async () => {
    const dataset = await csv('y,a,b\n1,2,3', points, { labelColumn: 'y' });
    expect(plain(dataset, 0)).toEqual({ x: [[2], [2, 3]], labels: [[], [1n]] });
    expect(plain(await csv('a,b,labels\n1,2,3', { inputs: points.inputs }), 0)).toEqual({ x: [[2], [1, 2]] });
    await expect(csv('a,b,z\n1,2,3', points, { labelColumn: 'y' })).rejects.toThrow(bad('lacks the labels "y"'));
  });

  it('keeps integers beyond 2^53', async () => {
    const spec = { inputs: [field('x', 'int64', 'N', 1)] };
    expect(plain(await csv('x\n9223372036854775807', spec), 0)).toEqual({ x: [[1], [9223372036854775807n]] });
    await expect(csv('x\n9223372036854775808', spec)).rejects.toThrow(bad('line 2', 'int64'));
  });

  it.each([
    ['', 'empty'],
    ['a,b,labels\n', 'no rows'],
    ['a,a,labels\n1,2,0', 'two columns are named "a"'],
    ['a,b,labels\n1,2', 'line 2'],
    ['a,b,labels\n1,2,0\n1,,0', 'line 3, column "b": ""'],
    ['a,b,labels\n1,nan,0', 'column "b": "nan"'],
    ['a,b,labels\n1,0x10,0', '0x10'],
    ['a,b,labels\n1,1_000,0', '1_000'],
    ['a,b,labels\n1,"2,0', 'Quote'],
    ['a,b,c,labels\n1,2,3,0', '"x" needs 2 columns, but the file has 3'],
    ['a,b\n1,2', 'lacks the labels'],
  ])('refuses %j', async (content, reason) => {
    await expect(csv(content)).rejects.toThrow(bad(reason));
  });
});

describe('openData', () => {
  it('says what it can read', async () => {
    await expect(openData('x.txt', points)).rejects.toThrow(bad('".txt"', '.jsonl', '.parquet'));
    for (const extension of ['jsonl', 'npz', 'safetensors', 'csv', 'parquet']) {
      const path = join(folder, `absent.${extension}`);
      await expect(openData(path, points)).rejects.toThrow(expect.toSatisfy(coded('FILE_NOT_FOUND', 'absent')));
    }
  });
});

describe('rowLengths', () => {
  it('is the longest open axis of each row, as far as it is not cut', () => {
    const spec = { inputs: [field('x', 'float32', 'N', 3, 'S'), field('y', 'float32', 'N', null, 1)] };
    const rows = [
      { x: [[1], [2], [3]], y: [[1], [2]] },
      { x: [[], [], []], y: [] },
      { x: [1, 2, 3].map(() => [1, 2, 3, 4, 5]), y: [[1]] },
    ];
    expect([...rowLengths(rowsDataset(rows, spec))]).toEqual([2, 0, 5]);
    expect([...rowLengths(rowsDataset(rows, spec), { maxLength: 4 })]).toEqual([2, 0, 4]);
    expect([...rowLengths(rowsDataset([{ x: [1, 2], labels: 0 }], points))]).toEqual([0]);
  });
});

describe('batch', () => {
  const rows = [
    { input_ids: [1, 2, 3], attention_mask: [1, 1, 1], labels: [4, 5, 6] },
    { input_ids: [7], attention_mask: [1], labels: [8] },
    { input_ids: [], attention_mask: [], labels: [] },
  ];
  const lm: DataSpec = { inputs: text.inputs, labels: field('labels', 'int64', 'N', 'S') };

  it('pads to the longest row: zeros, and the ignore index for labels', async () => {
    const dataset = await openData(jsonl(...rows), lm);
    expect(batch(dataset, [1, 0])).toEqual({
      input_ids: { type: 'int64', dims: [2, 3], data: BigInt64Array.of(7n, 0n, 0n, 1n, 2n, 3n) },
      attention_mask: { type: 'int64', dims: [2, 3], data: BigInt64Array.of(1n, 0n, 0n, 1n, 1n, 1n) },
      labels: { type: 'int64', dims: [2, 3], data: BigInt64Array.of(8n, -100n, -100n, 4n, 5n, 6n) },
    });
    expect(batch(dataset, [1]).input_ids?.dims).toEqual([1, 1]);
    expect(batch(dataset, [2]).input_ids?.dims).toEqual([1, 1]);
    dataset.close();
  });

  it('follows pad, ignoreIndex and maxLength', async () => {
    const dataset = await openData(jsonl(...rows), lm);
    const tensors = batch(dataset, Uint32Array.of(0, 1), { pad: { input_ids: 9 }, ignoreIndex: -1, maxLength: 2 });
    expect(tensors.input_ids).toEqual({ type: 'int64', dims: [2, 2], data: BigInt64Array.of(1n, 2n, 7n, 9n) });
    expect(tensors.labels?.data).toEqual(BigInt64Array.of(4n, 5n, 8n, -1n));
    const option = (...fragments: string[]) => expect.toSatisfy(coded('BAD_OPTION', ...fragments));
    expect(() => batch(dataset, [0], { pad: { input_id: 1 } })).toThrow(option('input_id', '"input_ids"'));
    expect(() => batch(dataset, [0, 1], { pad: { input_ids: 0.5 } })).toThrow(option('"input_ids"', '0.5'));
    expect(() => batch(dataset, [0], { maxLength: 0 })).toThrow(option('0'));
    dataset.close();
  });

  it('gives rows that are all empty one entry of padding, which does not count', () => {
    const spec: DataSpec = {
      inputs: [{ name: 'input_ids', type: 'int64', shape: ['N', 'S'] }],
      labels: { name: 'labels', type: 'int64', shape: ['N', 'S'] },
    };
    const empty = { input_ids: [], labels: [] };
    const read = rowsDataset([empty, empty, { input_ids: [5], labels: [6] }], spec);
    const alone = batch(read, [0, 1], { pad: { input_ids: 3 } });
    expect(alone.input_ids).toEqual({ type: 'int64', dims: [2, 1], data: BigInt64Array.of(3n, 3n) });
    expect(alone.labels?.data).toEqual(BigInt64Array.of(-100n, -100n));
    expect(batch(read, [0, 2], { pad: { input_ids: 3 } }).input_ids?.data).toEqual(BigInt64Array.of(3n, 5n));
  });

  it('keeps an input without entries beside one that has some', () => {
    const boxes = { name: 'boxes', type: 'float32', shape: ['N', 'K', 4] };
    const read = rowsDataset([{ x: [1], boxes: [] }], {
      inputs: [{ name: 'x', type: 'float32', shape: ['N', 'S'] }, boxes],
    });
    expect(batch(read, [0]).boxes?.dims).toEqual([1, 0, 4]);
  });

  it('stacks several ragged axes', async () => {
    const dataset = await openData(jsonl({ x: [[[1], [2]]] }, { x: [[[3]], [[4]], [[5]]] }), {
      inputs: [field('x', 'float32', 'N', 'H', 'W', 1)],
    });
    expect(batch(dataset, [0, 1]).x).toEqual({
      type: 'float32',
      dims: [2, 3, 2, 1],
      data: Float32Array.of(1, 2, 0, 0, 0, 0, 3, 0, 4, 0, 5, 0),
    });
    dataset.close();
  });
});

describeShared('a parity pack', 'parity/bert_cls/batches.npz', () => {
  it('is read under the names of its first batch', async () => {
    const spec: DataSpec = {
      inputs: ['input_ids', 'attention_mask', 'token_type_ids'].map((name) => field(`b0/${name}`, 'int64', 'N', 'S')),
      labels: field('b0/labels', 'int64', 'N'),
    };
    const dataset = await openData(sharedPath('parity/bert_cls/batches.npz'), spec);
    const tensors = batch(dataset, [0, 1]);
    expect(tensors['b0/labels']?.dims).toEqual([2]);
    expect(tensors['b0/input_ids']?.dims[0]).toBe(2);
    dataset.close();
  });
});
