/** Files that pyarrow wrote (fixtures/data/make.py). */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DataSpec, type Dataset, type FieldSpec, openData } from '../../../src/runtime/data/index.ts';
import { coded } from '../../support/coded.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const fixture = (name: string): string => join(import.meta.dirname, '../../../fixtures/data', `${name}.parquet`);
const field = (name: string, type: string, ...shape: FieldSpec['shape']): FieldSpec => ({ name, type, shape });
const bad = (...fragments: string[]) => expect.toSatisfy(coded('BAD_DATA', ...fragments));
const plain = (dataset: Dataset, index: number) =>
  Object.fromEntries([...dataset.row(index)].map(([name, { shape, data }]) => [name, [shape, [...data]]]));

const text: DataSpec = { inputs: [field('input_ids', 'int64', 'N', 'S')], labels: field('labels', 'int64', 'N') };
const points: DataSpec = { inputs: [field('x', 'float32', 'N', 2)], labels: field('labels', 'int64', 'N') };

describe('parquet', () => {
  it.each(['none', 'snappy', 'zstd', 'gzip', 'brotli', 'lz4'])('reads lists and dictionaries, %s', async (codec) => {
    const dataset = await openData(fixture(`tokens-${codec}`), text);
    expect(dataset.rows).toBe(5);
    expect(plain(dataset, 0)).toEqual({ input_ids: [[3], [1n, 2n, 3n]], labels: [[], [0n]] });
    expect(plain(dataset, 1)).toEqual({ input_ids: [[0], []], labels: [[], [1n]] });
    // The second row group, and an integer that no double holds.
    expect(plain(dataset, 3)).toEqual({ input_ids: [[2], [5n, 6n]], labels: [[], [1n]] });
    expect(plain(dataset, 4)).toEqual({ input_ids: [[1], [2n ** 53n + 1n]], labels: [[], [1n]] });
    expect(() => dataset.row(5)).toThrow(bad('no row 5'));
  });

  it('reads a column per element, in the order of their numbers', async () => {
    const labels = {
      ...field('labels', 'int64', 'N'),
      rule: { kind: 'class', classes: 3, ignoreIndex: -100 },
    } as const;
    const dataset = await openData(fixture('points'), { inputs: points.inputs, labels });
    expect(plain(dataset, 0)).toEqual({ x: [[2], [1, 1.5]], labels: [[], [2n]] });
    expect(plain(dataset, 1)).toEqual({ x: [[2], [0, -2]], labels: [[], [-100n]] });
  });

  it('reads lists of lists, and fills in what follows from the tokens', async () => {
    const images = await openData(fixture('images'), { inputs: [field('x', 'float32', 'N', null, 2)] });
    expect(plain(images, 1)).toEqual({
      x: [
        [2, 2],
        [5, 6, 7, 8],
      ],
    });
    const mask = { ...field('mask', 'int64', 'N', 'S'), missing: { value: 'ones', like: 'input_ids' } } as const;
    const masked = await openData(fixture('tokens-snappy'), { inputs: [...text.inputs, mask] });
    expect(plain(masked, 0)).toMatchObject({ mask: [[3], [1n, 1n, 1n]] });
  });

  it('says in which row and column something is wrong', async () => {
    const open = (spec: DataSpec, labelColumn?: string) => openData(fixture('faulty'), spec, { labelColumn });
    await expect(open(points)).rejects.toThrow(bad('row 1: "x"[1]: NaN', '--allow-nan'));
    await expect(open(points, 'nullable')).rejects.toThrow(bad('row 1'));
    const integers = { inputs: [], labels: field('labels', 'int64', 'N') };
    await expect(open(integers, 'nullable')).rejects.toThrow(bad('row 1: column "nullable": null is not a number'));
    const rule = { kind: 'class', classes: 7, ignoreIndex: -100 } as const;
    const ranged = { inputs: [], labels: { ...integers.labels, rule } };
    await expect(open(ranged)).rejects.toThrow(bad('row 2: column "labels": 7 is out of range', '0 to 6'));
    await expect(openData(fixture('tokens-none'), points)).rejects.toThrow(bad('row 0: column "text"'));
  });

  it('refuses a file that is cut or no Parquet at all', async () => {
    const path = join(temporaryFolder(), 'no.parquet');
    for (const [content, reason] of [
      ['', 'empty'],
      ['PAR1', 'not a Parquet file'],
      [`PAR1${'x'.repeat(500)}`, 'not a Parquet file'],
      ['x'.repeat(500), 'not .parquet: it is text'],
    ] as const) {
      writeFileSync(path, content);
      await expect(openData(path, points)).rejects.toThrow(bad(reason));
    }
  });
});
