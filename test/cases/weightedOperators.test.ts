/** Weights in operators of quantizers and optimizers: adapted, with gradients that are the slope of the loss. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { stream } from '../../src/graph/random.ts';
import { type CompileOptions, compile, type Manifest, merge } from '../../src/index.ts';
import { caseFolder } from '../support/caseFolder.ts';
import { floats } from '../support/executeGraphs.ts';
import { loraify } from '../support/runCli.ts';

const cwd = caseFolder('weighted-ops-not-listed');
const options = { rank: 2, seed: 1 } satisfies CompileOptions;
const file = (name: string): string => join(cwd, `${name}.onnx`);
const random = stream(7, 'weighted operators');
const normal = (dims: readonly number[]): Tensor =>
  new Tensor('float32', Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, random.normal), dims);
const labels = new Tensor('int64', BigInt64Array.from([0n, 1n, 2n, 1n]), [4]);

/** The slope of the loss along the gradient and the gradient's norm, of all layers or the last one. */
async function slopes(dir: string, manifest: Manifest, x: Tensor, last = false): Promise<[number, number]> {
  const { size } = manifest.state;
  const params = Float32Array.from({ length: size }, () => 0.1 * random.normal());
  const vector = (data: Float32Array): Tensor => new Tensor('float32', data, [size]);
  const grad = await InferenceSession.create(join(dir, 'grad.onnx'), { logSeverityLevel: 4 });
  const { lora_grad } = await grad.run({ x, labels, lora_params: vector(params) });
  const direction = new Float32Array(size);
  for (const { A, B } of manifest.layers.slice(last ? -1 : 0))
    for (const { offset, shape } of [A, B])
      for (let i = offset; i < offset + shape.reduce((a, b) => a * b, 1); i++) direction[i] = floats(lora_grad)[i] ?? 0;
  const norm = Math.hypot(...direction);
  const session = await InferenceSession.create(join(dir, 'eval.onnx'), { logSeverityLevel: 4 });
  const loss = async (step: number): Promise<number> => {
    const moved = params.map((p, i) => p + (step * (direction[i] ?? 0)) / norm);
    return floats((await session.run({ x, labels, lora_params: vector(moved) })).loss)[0] ?? Number.NaN;
  };
  const h = 1e-3;
  return [((await loss(h)) - (await loss(-h))) / (2 * h), norm];
}

describe('weighted-ops-not-listed', () => {
  it('adapts MatMulInteger behind DynamicQuantizeLinear', async () => {
    const dir = join(cwd, 'dynamic.lora');
    const { manifest } = await compile(file('quantize_dynamic'), { ...options, out: dir });
    expect(manifest.layers.map((l) => [l.path, l.op, l.in, l.out])).toEqual([
      ['fc1', 'MatMulInteger', 16, 32],
      ['fc2', 'MatMulInteger', 32, 3],
    ]);
    // Behind a rounded activation only the last layer has a slope.
    const [slope, norm] = await slopes(dir, manifest, normal([4, 16]), true);
    expect(Math.abs(slope / norm - 1)).toBeLessThan(5e-3);
  });

  it('adapts MatMulBnb4', async () => {
    const dir = join(cwd, 'bnb.lora');
    const { manifest } = await compile(file('bnb_nf4'), { ...options, out: dir });
    expect(manifest.layers.map((l) => [l.path, l.op])).toEqual([
      ['fc1', 'MatMulBnb4'],
      ['fc2', 'MatMulBnb4'],
    ]);
    const [slope, norm] = await slopes(dir, manifest, normal([4, 16]));
    expect(Math.abs(slope / norm - 1)).toBeLessThan(5e-3);
    await expect(merge(dir, { adapter: 'start', out: join(cwd, 'm.onnx') })).rejects.toMatchObject({
      code: 'NOT_MERGEABLE',
    });
  });

  it('adapts what ONNX Runtime fused, and merges into it', async () => {
    const dir = join(cwd, 'fused.lora');
    const target = ['conv', 'proj', 'hidden', 'head'];
    const { manifest } = await compile(file('fused'), { ...options, out: dir, target });
    expect(manifest.layers.map((l) => [l.path, l.op, l.layout])).toEqual([
      ['conv', 'Conv', 'out_in'],
      ['proj', 'MatMul', 'out_in'],
      ['hidden', 'Gemm', 'out_in'],
      ['head', 'MatMul', 'in_out'],
    ]);
    const [slope, norm] = await slopes(dir, manifest, normal([4, 2, 4, 4]));
    expect(Math.abs(slope / norm - 1)).toBeLessThan(5e-3);
  });

  it('trains what ONNX Runtime fused, and merges it as the same function', async () => {
    const image = (): number[][][] =>
      Array.from({ length: 2 }, () => Array.from({ length: 4 }, () => Array.from({ length: 4 }, random.normal)));
    const rows = Array.from({ length: 6 }, (_, i) => JSON.stringify({ x: image(), labels: i % 3 }));
    writeFileSync(join(cwd, 'rows.jsonl'), rows.join('\n'));
    const steps = ['--steps', '4', '--lr', '0.05', '-o', 'fused.run'];
    expect(await loraify(['train', 'fused.lora', '--data', 'rows.jsonl', ...steps], { cwd })).toMatchObject({
      status: 0,
    });
    const merged = await merge(join(cwd, 'fused.lora'), {
      adapter: join(cwd, 'fused.run/adapter'),
      out: file('merged'),
    });
    expect(merged.error).toBeLessThan(1e-5);
  });

  it.each(['quantize_dynamic', 'bnb_nf4'])('%s: inspect lists the layers', async (name) => {
    const { status, stdout } = await loraify(['inspect', `${name}.onnx`], { cwd });
    expect(status).toBe(0);
    expect(stdout).toContain('fc1');
    expect(stdout).toContain('2 of 2 layers adapted');
  });
});
