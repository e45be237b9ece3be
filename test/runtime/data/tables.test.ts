/** Rows with ids or lengths that tables of the model have no entries for. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { writeNpz } from '../../../src/formats/npz.ts';
import { bytesOf } from '../../../src/formats/rawTensor.ts';
import type { LengthLimit, TableRange } from '../../../src/graph/tables.ts';
import { compile, evaluate, predict, train } from '../../../src/index.ts';
import { type DataSpec, openData, rowsDataset } from '../../../src/runtime/data/index.ts';
import { coded, hinted } from '../../support/coded.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const bad = (hint: string, ...fragments: string[]) => expect.toSatisfy(hinted('BAD_DATA', hint, ...fragments));
const truncate = (most: number): string => `use --max-length ${most}, which truncates longer rows`;

const ids = (...lengths: readonly LengthLimit[]): DataSpec => ({
  inputs: [{ name: 'input_ids', type: 'int64', shape: ['N', 'S'], lengths }],
});
const positions = { table: 'P', axis: 1, most: 3 };
const one = (...row: number[]) => [{ input_ids: row }];

describe('the length of a row', () => {
  it.each(['jsonl', 'csv', 'npz'])('is checked in .%s', async (extension) => {
    const file = join(folder, `long.${extension}`);
    const column = { dtype: 'I64', shape: [1, 4], data: bytesOf(BigInt64Array.of(1n, 2n, 3n, 4n)) } as const;
    if (extension === 'npz') writeNpz(file, new Map([['input_ids', column]]));
    else writeFileSync(file, extension === 'csv' ? 'a,b,c,d\n1,2,3,4\n' : '{"input_ids": [1, 2, 3, 4]}\n');
    const text = 'it has 4 entries, but the model has positions for 3 (table "P")';
    await expect(openData(file, ids(positions))).rejects.toEqual(bad(truncate(3), text, 'input_ids'));
    (await openData(file, ids({ ...positions, most: 4 }))).close();
  });

  it('is that of the entries that count', () => {
    const padded = ids({ ...positions, except: 1 });
    expect(rowsDataset(one(7, 1, 8, 9, 1), padded).rows).toBe(1);
    expect(() => rowsDataset(one(7, 1, 8, 9, 1, 5), padded)).toThrow(
      bad(truncate(3), 'row 0: "input_ids": it has 4 entries other than 1, but the model has positions for 3'),
    );
  });

  it('has a limit only where the runtime counts the positions', () => {
    const { inputs } = ids({ ...positions, unless: 'position_ids' });
    const own = {
      name: 'position_ids',
      type: 'int64',
      shape: ['N', 'S'],
      missing: { value: 'positions', like: 'input_ids' },
    } as const;
    const spec = { inputs: [...inputs, own] };
    expect(() => rowsDataset(one(1, 2, 3, 4), spec)).toThrow(bad(truncate(3), 'positions for 3'));
    expect(rowsDataset([{ input_ids: [1, 2, 3, 4], position_ids: [0, 1, 0, 1] }], spec).rows).toBe(1);
  });

  it('is along the axis of a row, wherever the batch axis is', () => {
    const [input] = ids({ ...positions, axis: 0 }).inputs;
    const spec = input === undefined ? [] : [{ ...input, shape: ['S', 'N'], batchAxis: 1 }];
    expect(() => rowsDataset(one(1, 2, 3, 4), { inputs: spec })).toThrow(bad(truncate(3), 'positions for 3'));
  });
});

it('ids are checked in the part that a table is read with', () => {
  const table = { table: 'E', entries: 5, least: 0 };
  const spec = (...tables: TableRange[]): DataSpec => ({
    inputs: [{ name: 'x', type: 'int64', shape: ['N', 2, 'S'], tables }],
  });
  const rows = [{ x: [[4, 9], [4, 3]] }]; // biome-ignore format: two channels
  const read = (...tables: TableRange[]) => rowsDataset(rows, spec(...tables));
  const wrong = coded('BAD_DATA', '"x"[0][1]: 9 is outside the table "E", which has 5 entries');
  const inFirst = { ...table, part: { axis: 1, from: 0, to: 1 } };
  const inLast = { ...table, part: { axis: 1, from: -1 } };
  expect(read(inLast, { ...table, part: { axis: 2, from: 0, to: -1 } }).rows).toBe(1);
  for (const tables of [[table], [inLast, inFirst], [{ ...table, part: { axis: 2, from: 1 } }]])
    expect(() => read(...tables)).toThrow(expect.toSatisfy(wrong));
});

describe('a decoder with 64 positions', () => {
  let dir = '';
  beforeAll(async () => {
    const model = join(import.meta.dirname, '../../../fixtures/exports/gpt2.ts/model.onnx');
    ({ dir } = await compile(model, { rank: 2, out: join(folder, 'gpt2.lora') }));
  });
  const rows = (length: number): string => {
    const file = join(folder, `${length}.jsonl`);
    const long = new Array<number>(length).fill(1);
    writeFileSync(file, [[5, 6, 7], long].map((row) => JSON.stringify({ input_ids: row })).join('\n'));
    return file;
  };
  const refused = bad(truncate(64), 'line 2: "input_ids": it has 65 entries, but the model has positions for 64');

  it('refuses a row of 65 before the first step', async () => {
    const out = join(folder, 'run');
    await expect(train(dir, { data: rows(65), steps: 1, out })).rejects.toEqual(refused);
    await expect(evaluate(dir, { data: rows(65) })).rejects.toEqual(refused);
    await expect(predict(dir, { data: rows(65), out: join(folder, 'p.npz') })).rejects.toEqual(refused);
  });

  it('takes it with --max-length, which gives what its first 64 give', async () => {
    const { loss } = await evaluate(dir, { data: rows(65), maxLength: 64 });
    expect(loss).toBe((await evaluate(dir, { data: rows(64) })).loss);
  });
});
