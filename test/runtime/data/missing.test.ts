import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeNpz } from '../../../src/formats/npz.ts';
import { bytesOf } from '../../../src/formats/rawTensor.ts';
import { batch, type DataSpec, type Dataset, openData, rowsDataset } from '../../../src/runtime/data/index.ts';
import { coded, hinted } from '../../support/coded.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const bad = (...fragments: string[]) => expect.toSatisfy(coded('BAD_DATA', ...fragments));

/** A language model that takes a mask and positions, whose caches hold four tokens. */
const spec: DataSpec = {
  inputs: [
    { name: 'position_ids', type: 'int64', shape: ['N', 'S'], missing: { value: 'positions', like: 'input_ids' } },
    { name: 'input_ids', type: 'int32', shape: ['N', 'S'], longest: 4 },
    { name: 'attention_mask', type: 'float32', shape: ['N', 'S'], missing: { value: 'ones', like: 'input_ids' } },
    { name: 'token_type_ids', type: 'int64', shape: ['N', 'S'], missing: { value: 'zeros', like: 'input_ids' } },
  ],
  labels: { name: 'labels', type: 'int64', shape: ['N', 'S'], missing: { value: 'copy', like: 'input_ids' } },
};

const batched = (dataset: Dataset): Record<string, number[][]> =>
  Object.fromEntries(
    Object.entries(
      batch(
        dataset,
        Array.from({ length: dataset.rows }, (_, i) => i),
      ),
    ).map(([name, { dims, data }]) => {
      const numbers = Array.from(data, Number);
      const width = dims[1] ?? 1;
      return [name, Array.from({ length: dims[0] ?? 0 }, (_, i) => numbers.slice(i * width, (i + 1) * width))];
    }),
  );

const idsAlone = {
  input_ids: [
    [5, 6, 7],
    [8, 9, 0],
  ],
  attention_mask: [
    [1, 1, 1],
    [1, 1, 0],
  ],
  position_ids: [
    [0, 1, 2],
    [0, 1, 0],
  ],
  token_type_ids: [
    [0, 0, 0],
    [0, 0, 0],
  ],
  labels: [
    [5, 6, 7],
    [8, 9, -100],
  ],
};

describe('token ids alone', () => {
  it('are enough: rows of unequal length get a mask, positions, and labels that ignore the padding', async () => {
    const rows = [{ input_ids: [5, 6, 7] }, { input_ids: [8, 9] }];
    expect(batched(rowsDataset(rows, spec))).toEqual(idsAlone);
    const file = join(folder, 'ids.jsonl');
    writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'));
    expect(batched(await openData(file, spec))).toEqual(idsAlone);
    // Rows that are read from the file again.
    expect(batched(await openData(file, spec, { cacheBytes: 0 }))).toEqual(idsAlone);
  });

  it('in columns', async () => {
    const npz = join(folder, 'ids.npz');
    writeNpz(npz, [['input_ids', { dtype: 'I32', shape: [1, 2], data: bytesOf(Int32Array.of(5, 6)) }]]);
    const csv = join(folder, 'ids.csv');
    writeFileSync(csv, 'a,b\n5,6\n');
    for (const file of [npz, csv])
      expect(batched(await openData(file, spec)), file).toMatchObject({
        attention_mask: [[1, 1]],
        position_ids: [[0, 1]],
        labels: [[5, 6]],
      });
  });
});

it('what is there counts: a mask hides tokens from positions and labels', () => {
  const rows = [{ input_ids: [0, 6, 7], attention_mask: [0, 1, 1] }];
  expect(batched(rowsDataset(rows, spec, { ignoreIndex: -1 }))).toMatchObject({
    position_ids: [[1, 0, 1]],
    labels: [[-1, 6, 7]],
  });
  const given = [{ input_ids: [5, 6], attention_mask: [1, 0], position_ids: [3, 4], labels: [-100, 6] }];
  expect(batched(rowsDataset(given, spec))).toMatchObject({ position_ids: [[3, 4]], labels: [[-100, 6]] });
});

describe('is refused', () => {
  it('rows of which only some have an input', () => {
    const rows = [{ input_ids: [5], labels: [5] }, { input_ids: [6] }];
    expect(() => rowsDataset(rows, spec)).toThrow(bad('row 1', 'labels'));
  });

  it('a label column that was named and is not there', () => {
    expect(() => rowsDataset([{ input_ids: [5] }], spec, { labelColumn: 'next' })).toThrow(bad('"next"'));
  });

  it('no tokens', () => {
    expect(() => rowsDataset([{ labels: [5] }], spec)).toThrow(bad('"input_ids"'));
  });

  it('more tokens than the caches hold', () => {
    expect(() => rowsDataset([{ input_ids: [1, 2, 3, 4, 5] }], spec)).toThrow(
      expect.toSatisfy(hinted('BAD_DATA', 'use --max-length 4, which truncates longer rows', '5 entries', 'hold 4')),
    );
  });
});
