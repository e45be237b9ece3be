/** Training a decoder on token ids alone. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { encodeModel } from '../../../src/emit/index.ts';
import { writeNpz } from '../../../src/formats/npz.ts';
import { bytesOf } from '../../../src/formats/rawTensor.ts';
import { compile, inspect, Trainer } from '../../../src/index.ts';
import { parseText } from '../../../src/parser/index.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);
const source = join(import.meta.dirname, '../../../fixtures/train/cache-decoder/input.onnx.txt');

beforeAll(() => writeFileSync(at('decoder.onnx'), encodeModel(parseText(readFileSync(source, 'utf8')))));

const rows = Array.from({ length: 6 }, (_, i) => ({
  input_ids: Array.from({ length: 3 + (i % 3) }, (_, j) => (i + j) % 5),
}));
const full = rows.map(({ input_ids }) => ({
  input_ids,
  attention_mask: input_ids.map(() => 1),
  labels: input_ids,
}));

async function losses(dir: string, data: readonly object[], steps: number): Promise<number[]> {
  const trainer = await Trainer.open(dir);
  const found: number[] = [];
  for await (const { loss } of trainer.fit(data, { steps, batchSize: 6, learningRate: 0.02 })) found.push(loss);
  await trainer.close();
  return found;
}

it('gives what masks and labels written out give, and learns', async () => {
  const { dir, manifest } = await compile(at('decoder.onnx'), { rank: 4, out: at('decoder.lora') });
  expect(manifest.loss?.kind).toBe('causal-lm');
  expect(manifest.inputs).toMatchObject([
    { name: 'input_ids' },
    { name: 'attention_mask', missing: { value: 'ones', like: 'input_ids' } },
  ]);
  expect(manifest.labels).toMatchObject({ missing: { value: 'copy', like: 'input_ids' } });
  expect(manifest.bound?.map((b) => b.name)).toEqual([
    'position_ids',
    'past_key_values.0.key',
    'past_key_values.0.value',
  ]);
  const alone = await losses(dir, rows, 60);
  expect(alone).toEqual(await losses(dir, full, 60));
  // Every token follows from the one before.
  expect(alone.at(-1)).toBeLessThan((alone[0] ?? 0) / 2);
});

it('--bind: a file, a mask of ones; inspect says what would be bound', async () => {
  writeNpz(at('places.npz'), [
    ['position_ids', { dtype: 'I64', shape: [1, 1], data: bytesOf(BigInt64Array.of(2n)) }],
    ['other', { dtype: 'F32', shape: [1], data: bytesOf(Float32Array.of(1)) }],
  ]);
  const bind = { attention_mask: 'ones', position_ids: at('places.npz') };
  const { bound } = await inspect(at('decoder.onnx'), { bind });
  expect(bound.map(({ name, value }) => `${name}: ${value}`)).toEqual([
    'attention_mask: ones',
    'position_ids: places.npz',
    'past_key_values.0.key: length 0',
    'past_key_values.0.value: length 0',
  ]);
  const { dir, manifest } = await compile(at('decoder.onnx'), {
    bind,
    out: at('bound.lora'),
    emit: ['train', 'model'],
  });
  expect(manifest.inputs.map((v) => v.name)).toEqual(['input_ids']);
  expect(await losses(dir, rows, 1)).toHaveLength(1);
  await expect(inspect(at('decoder.onnx'), { bind: { position_ids: 'sevens' } })).rejects.toThrow('neither zeros');
});
