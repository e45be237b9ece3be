/** Labels that the loss does not know, and NaN: refused with the place, in every format. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeNpz } from '../../../src/formats/npz.ts';
import { bytesOf } from '../../../src/formats/rawTensor.ts';
import { writeSafetensors } from '../../../src/formats/safetensors.ts';
import { evaluate, Trainer } from '../../../src/index.ts';
import { type DataSpec, type LabelRule, openData, rowsDataset } from '../../../src/runtime/data/index.ts';
import { bad } from '../../support/dataFiles.ts';
import { compileDigits, digits, writeJsonl } from '../../support/digits.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const labelled = (rule: LabelRule, type = 'int64', ...shape: (number | string)[]): DataSpec => ({
  inputs: [{ name: 'x', type: 'float32', shape: ['N', 1] }],
  labels: { name: 'labels', type, shape: ['N', ...shape], rule },
});
const classes: LabelRule = { kind: 'class', classes: 3, ignoreIndex: -100 };

/** The same rows in each format; x is [1] each. */
function files(labels: readonly number[]): string[] {
  const at = (extension: string): string => join(folder, `${labels.join('_')}.${extension}`);
  const columns = {
    x: { dtype: 'F32', shape: [labels.length, 1], data: bytesOf(new Float32Array(labels.length).fill(1)) },
    labels: { dtype: 'I64', shape: [labels.length], data: bytesOf(BigInt64Array.from(labels, BigInt)) },
  } as const;
  writeFileSync(at('jsonl'), labels.map((l) => JSON.stringify({ x: [1], labels: l })).join('\n'));
  writeFileSync(at('csv'), ['x,labels', ...labels.map((l) => `1,${l}`)].join('\n'));
  writeNpz(at('npz'), new Map(Object.entries(columns)));
  writeSafetensors(at('safetensors'), new Map(Object.entries(columns)));
  return ['jsonl', 'csv', 'npz', 'safetensors'].map(at);
}

describe('class labels', () => {
  it('takes all classes and the ignore index', async () => {
    for (const file of files([0, 2, -100])) (await openData(file, labelled(classes))).close();
  });

  it.each([-1, 3, -99])('refuses %d with file and row', async (label) => {
    for (const file of files([0, 1, label])) {
      const row = /jsonl$/.test(file) ? 'line 3' : /csv$/.test(file) ? 'line 4' : 'row 2';
      const opened = openData(file, labelled(classes));
      await expect(opened).rejects.toThrow(bad(row, `${label} is out of range`, '0 to 2', '-100'));
      await expect(opened).rejects.toMatchObject({ file });
    }
  });

  it('refuses negative ones where the number of classes is open, and names the place within a row', () => {
    const open = labelled({ kind: 'class', ignoreIndex: 0 }, 'int64', 'S');
    expect(rowsDataset([{ x: [1], labels: [0, 70000] }], open).rows).toBe(1);
    expect(() => rowsDataset([{ x: [1], labels: [5, 1, -1] }], open)).toThrow(bad('row 0: "labels"[2]: -1'));
  });

  it('takes shares from 0 to 1 for bce', () => {
    const spec = labelled({ kind: 'share' }, 'float32', 2);
    expect(rowsDataset([{ x: [1], labels: [0, 1] }], spec).rows).toBe(1);
    expect(() => rowsDataset([{ x: [1], labels: [0.5, 1.01] }], spec)).toThrow(bad('"labels"[1]', 'from 0 to 1'));
    expect(() => rowsDataset([{ x: [1], labels: [-1, 1] }], spec)).toThrow(bad('"labels"[0]'));
  });

  it('are checked against the model: the graphs take -1 for the last class without a word', async () => {
    const dir = await compileDigits(folder);
    const rows = digits(0, 4);
    const wrong = (labels: number) => [...rows.slice(0, 3), { ...rows[3], labels }];
    const file = writeJsonl(join(folder, 'wrong.jsonl'), wrong(10));
    await expect(evaluate(dir, { data: file })).rejects.toThrow(bad('line 4', '10 is out of range', '0 to 9'));
    const trainer = await Trainer.open(dir, { threads: 1 });
    try {
      await expect(trainer.fit(wrong(-1)).next()).rejects.toThrow(bad('row 3', '-1 is out of range'));
      expect(await trainer.evaluate(wrong(-100))).toMatchObject({ weight: 3 });
    } finally {
      await trainer.close();
    }
  });
});

describe('NaN', () => {
  const spec: DataSpec = { inputs: [{ name: 'x', type: 'float32', shape: ['N', 2] }] };
  it('is refused where the data may hold it, unless it is let in', () => {
    const rows = [{ x: [1, 2] }, { x: [Number.NaN, 2] }];
    expect(() => rowsDataset(rows, spec)).toThrow(bad('row 1: "x"[0]: NaN', '--allow-nan'));
    expect(rowsDataset(rows, spec, { allowNan: true }).row(1).get('x')?.data[0]).toBeNaN();
    const half = { inputs: [{ name: 'x', type: 'float16', shape: ['N', 2] }] };
    expect(() => rowsDataset(rows, half)).toThrow(bad('NaN'));
    // Infinity is no NaN: masks use it.
    expect(rowsDataset([{ x: [Number.NEGATIVE_INFINITY, 1] }], half).rows).toBe(1);
  });

  it.each([
    ['NaN', Number.NaN, 'NaN or null'],
    ['infinity', Number.POSITIVE_INFINITY, 'an infinite label'],
    ['minus infinity', Number.NEGATIVE_INFINITY, 'an infinite label'],
  ])('%s is never a label', (_, label, reason) => {
    const rows = [{ x: [1, 2], labels: label }];
    for (const type of ['float32', 'float16', 'float64']) {
      const labels = { name: 'labels', type, shape: ['N'] };
      expect(() => rowsDataset(rows, { ...spec, labels }, { allowNan: true })).toThrow(bad(`"labels": ${reason}`));
    }
  });

  it('comes into a .csv only as `nan`, and only where it is let in', async () => {
    const file = join(folder, 'nan.csv');
    writeFileSync(file, 'a,b\n1,nan\n');
    await expect(openData(file, spec)).rejects.toThrow(bad('line 2, column "b"'));
    const dataset = await openData(file, spec, { allowNan: true });
    expect([...(dataset.row(0).get('x')?.data ?? [])]).toEqual([1, Number.NaN]);
  });
});
