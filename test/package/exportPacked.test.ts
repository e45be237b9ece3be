/** Exports of a model with packed weights, which cannot be merged. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { encodeOnnxAdapter } from '../../src/adapter/onnxAdapter.ts';
import { writeModelFile } from '../../src/emit/index.ts';
import { bytesOf } from '../../src/formats/rawTensor.ts';
import { compile, exportAdapter, merge } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';
import { coded } from '../support/coded.ts';
import { distance, floats } from '../support/executeGraphs.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);

it('a layer whose weight is packed has its branch beside it', async () => {
  const text = readFileSync(join(import.meta.dirname, '../../fixtures/lora/matmulnbits/input.onnx.txt'), 'utf8');
  await writeModelFile(parseText(text), at('packed.onnx'), { external: false });
  await compile(at('packed.onnx'), { out: at('packed.lora'), emit: ['model'] });
  const [A, B] = [Float32Array.from({ length: 80 }, (_, i) => Math.sin(i)), Float32Array.of(0.5, -1, 2, 0.25)];
  const tensor = (dims: number[], data: Float32Array) => ({ type: 'float32', dims, bytes: bytesOf(data) }) as const;
  const tensors = new Map([
    ['q_proj.lora_A', tensor([40, 2], A)],
    ['q_proj.lora_B', tensor([2, 2], B)],
  ]);
  writeFileSync(at('packed.onnx_adapter'), encodeOnnxAdapter({ adapterVersion: 1, modelVersion: 1, tensors }));
  const adapter = at('packed.onnx_adapter');
  const fed = { 'q_proj.lora_A': new Tensor('float32', A, [40, 2]), 'q_proj.lora_B': new Tensor('float32', B, [2, 2]) };
  await exportAdapter(at('packed.lora'), { format: 'onnx', adapter, out: at('packed-baked.onnx') });
  await exportAdapter(at('packed.lora'), { format: 'onnx', inputs: 'required', out: at('packed-required.onnx') });
  const x = new Tensor(
    'float32',
    Float32Array.from({ length: 80 }, (_, i) => Math.cos(i)),
    [1, 2, 40],
  );
  const y = async (file: string, extra: Record<string, Tensor> = {}) => {
    const session = await InferenceSession.create(at(file));
    return floats((await session.run({ x, ...extra })).y);
  };
  const source = await y('packed.onnx');
  const sum = (n: number, f: (i: number) => number): number =>
    Array.from({ length: n }, (_, i) => f(i)).reduce((p, q) => p + q);
  const expected = source.map((base, i) => {
    const [row, column] = [Math.floor(i / 2), i % 2];
    const xa = (k: number): number => sum(40, (j) => (floats(x)[row * 40 + j] ?? 0) * (A[j * 2 + k] ?? 0));
    return base + sum(2, (k) => xa(k) * (B[k * 2 + column] ?? 0));
  });
  for (const found of [await y('packed-baked.onnx'), await y('packed-required.onnx', fed)])
    expect(distance(found, expected)).toBeLessThan(1e-5);
  await expect(merge(at('packed.lora'), { adapter, out: at('x.onnx') })).rejects.toSatisfy(
    coded('NOT_MERGEABLE', 'quantized'),
  );
});
