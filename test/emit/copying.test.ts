/** The thread of dist/ that copies weights while the graphs are still being compiled. */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { planWeights, startWeights, writeWeights } from '../../src/emit/index.ts';
import { memorySource, type Tensor } from '../../src/graph/tensor.ts';
import { chain, matrix, values } from '../support/matMulChain.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

it('weights are the same where a thread of their own copies them, and where that thread fails', async () => {
  const folder = temporaryFolder();
  const bytes = new Uint8Array(Float32Array.from(values(90_000, 7)).buffer);
  const data = join(folder, 'data');
  writeFileSync(data, bytes);
  const fd = openSync(data, 'r');
  const range = (offset: number, read: number): Tensor => ({
    dtype: 'float32',
    dims: [200, 200],
    byteLength: 160_000,
    payload: { kind: 'range', source: { ...memorySource('data', bytes), fd: read }, offset },
  });
  const graphs = (read: number) => [
    chain([{ name: 'a', tensor: range(4, read) }]),
    chain([
      { name: 'b', tensor: range(160_004, read) },
      { name: 'c', tensor: matrix(200, 200, 8) },
    ]),
  ];
  const written = async (read: number, early: boolean): Promise<Buffer> => {
    const models = graphs(read);
    const out = temporaryFolder();
    const started = early ? startWeights(planWeights(models.slice(0, 1)), out) : undefined;
    await writeWeights(planWeights(models), out, started);
    await started?.end();
    return readFileSync(join(out, 'weights.bin'));
  };
  const plain = await written(fd, false);
  const same = (a: Buffer, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
  expect(same(plain.subarray(0, 160_000), bytes.subarray(4, 160_004))).toBe(true);
  expect(same(await written(fd, true), plain)).toBe(true);
  // No file has this descriptor.
  expect(same(await written(1 << 20, true), plain)).toBe(true);
  closeSync(fd);
});
