/** Quantized bases: weights stay packed and are stored once, one batch is learnt, a merge says what to do instead. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../src/emit/index.ts';
import { createBuilder } from '../../src/graph/builder.ts';
import { sizeOf } from '../../src/graph/layers.ts';
import { Graph, type Model, tensorType, Value } from '../../src/graph/model.ts';
import { stream } from '../../src/graph/random.ts';
import { inlineTensor, tensorOf } from '../../src/graph/tensor.ts';
import { compile, merge } from '../../src/index.ts';
import { parseFile } from '../../src/parser/index.ts';
import { coded } from '../support/coded.ts';
import { floats } from '../support/executeGraphs.ts';
import { modelOf } from '../support/gradients/harness.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const vector = (data: Float32Array): Tensor => new Tensor('float32', data, [data.length]);
const scalar = (x: number): Tensor => new Tensor('float32', Float32Array.of(x), []);

/** Losses of steps on one batch. */
async function losses(dir: string, feeds: Record<string, Tensor>, steps: number, lr: number): Promise<number[]> {
  const size: number = JSON.parse(readFileSync(join(dir, 'loraify.json'), 'utf8')).state.size;
  const session = await InferenceSession.create(join(dir, 'train.onnx'), { intraOpNumThreads: 1, logSeverityLevel: 4 });
  const random = stream(5, 'params');
  let state: Record<string, Tensor> = {
    lora_params: vector(Float32Array.from({ length: size }, () => 0.02 * random.normal())),
    lora_m: vector(new Float32Array(size)),
    lora_v: vector(new Float32Array(size)),
    lora_step: scalar(0),
  };
  const list: number[] = [];
  for (let i = 0; i < steps; i++) {
    const out = await session.run({ ...feeds, ...state, lora_lr: scalar(lr) });
    list.push(floats(out.loss)[0] ?? Number.NaN);
    state = Object.fromEntries(Object.keys(state).map((k) => [k, out[`${k}_next`] ?? scalar(0)]));
  }
  await session.release();
  return list;
}

/** Three packed products, wide enough that their weights lie outside the graphs. */
function packedModel(): Model {
  const [K, block, bits] = [96, 32, 4];
  const random = stream(3, 'packed');
  const graph = new Graph('packed');
  const g = createBuilder();
  let x = new Value('x', tensorType('float32', ['N', K]));
  graph.inputs.push(x);
  for (let i = 0; i < 3; i++) {
    const N = i === 2 ? 4 : K;
    const bytes = Uint8Array.from({ length: (N * K * bits) / 8 }, () => random.integer(256));
    const scales = Array.from({ length: (N * K) / block }, () => 0.02 + 0.02 * random.uniform());
    const [y] = g.node({
      op: 'MatMulNBits',
      domain: 'com.microsoft',
      inputs: [
        x,
        g.tensor(`layers.${i}.fc.weight_Q4`, inlineTensor('uint8', [N, K / block, (block * bits) / 8], bytes)),
        g.tensor(`layers.${i}.fc.weight_scales`, tensorOf('float32', [scales.length], scales)),
      ],
      attrs: { K, N, bits, block_size: block },
      outputs: 1,
    });
    if (y === undefined) throw new Error('no output');
    x = i === 2 ? y : g.Tanh(y);
  }
  x.name = 'logits';
  x.type = tensorType('float32', ['N', 4]);
  graph.outputs.push(x);
  graph.adopt();
  return modelOf(graph, 17);
}

describe('packed weights', () => {
  const file = join(folder, 'packed.onnx');
  writeFileSync(file, encodeModel(packedModel()));
  const dir = join(folder, 'packed.lora');

  it('are stored once, for the product and for the gradient that reads them as another type', async () => {
    const { manifest } = await compile(file, { out: dir });
    expect(manifest.layers.map((l) => [l.path, l.op, l.in, l.out])).toEqual([
      ['layers.0.fc', 'MatMulNBits', 96, 96],
      ['layers.1.fc', 'MatMulNBits', 96, 96],
      ['layers.2.fc', 'MatMulNBits', 96, 4],
    ]);
    expect(manifest.counts.total).toBe(manifest.counts.trainable + 2 * (96 * 96 + 96 * 3) + 4 * 96 + 4 * 3);
    const { model, source } = parseFile(join(dir, 'train.onnx'));
    const places = model.graph.initializers.flatMap(({ tensor }) => {
      const place = tensor?.origin?.external;
      return place === undefined ? [] : [{ ...place, dtype: tensor?.dtype, name: '' }];
    });
    source.close();
    const at = (dtype: string): number[] => places.filter((p) => p.dtype === dtype).map((p) => p.offset);
    expect(at('uint8').length).toBeGreaterThan(0);
    // The first layer passes no gradient on; the zero points that no tensor of the source has lie beside.
    expect(at('uint8').filter((offset) => at('uint4').includes(offset)).length).toBe(1);
    expect(statSync(join(dir, 'weights.bin')).size).toBeLessThan(5 * 8192);
  });

  it('learn one batch', async () => {
    const random = stream(4, 'batch');
    const feeds = {
      x: new Tensor('float32', Float32Array.from({ length: 8 * 96 }, random.normal), [8, 96]),
      labels: new Tensor(
        'int64',
        BigInt64Array.from({ length: 8 }, () => BigInt(random.integer(4))),
        [8],
      ),
    };
    const list = await losses(dir, feeds, 30, 0.01);
    expect((list.at(-1) ?? Number.NaN) / (list[0] ?? 0), list.join(' ')).toBeLessThan(0.5);
  });

  it('are not merged', async () => {
    await expect(merge(dir, { adapter: 'start', out: join(folder, 'packed.merged.onnx') })).rejects.toSatisfy(
      coded('NOT_MERGEABLE', '"layers.0.fc"', 'quantized (uint8)'),
    );
  });
});

describeShared('quantized models', 'models', () => {
  it('mobilenet with quantized activations learns one batch', async () => {
    const dir = join(folder, 'mobilenet.lora');
    await compile(sharedPath('models/cnn_mobilenet_v2_qdq_int8.onnx'), { out: dir, loss: 'mse' });
    const random = stream(6, 'image');
    const feeds = {
      image: new Tensor('float32', Float32Array.from({ length: 3 * 244 * 244 }, random.normal), [1, 3, 244, 244]),
      labels: new Tensor('float32', new Float32Array(1000).fill(0.5), [1, 1000]),
    };
    const list = await losses(dir, feeds, 10, 0.01);
    expect((list.at(-1) ?? Number.NaN) / (list[0] ?? 0), list.join(' ')).toBeLessThan(0.5);
  });

  it('conv_int4_weights_qdq has a branch where it is named, and a batch is learnt', async () => {
    const dir = join(folder, 'conv.lora');
    const file = sharedPath('models/micro/conv_int4_weights_qdq.onnx');
    const { manifest } = await compile(file, { out: dir, rank: 2, target: ['Conv0'] });
    const shapes = manifest.layers.map((l) => [l.op, l.A.shape, l.B.shape]);
    expect(shapes).toEqual([['Conv', [2, 3, 3, 3], [5, 2, 1, 1]]]);
    for (const graph of Object.values(manifest.graphs)) await InferenceSession.create(join(dir, graph ?? ''));
    const random = stream(8, 'image');
    const numbers = (shape: readonly (number | string | null)[]): Tensor => {
      const dims = shape.map((d) => (typeof d === 'number' ? d : 1));
      return new Tensor('float32', Float32Array.from({ length: sizeOf(dims) }, random.uniform), dims);
    };
    const feeds = Object.fromEntries(
      [...manifest.inputs, ...(manifest.labels === undefined ? [] : [manifest.labels])].map((i) => [
        i.name,
        numbers(i.shape),
      ]),
    );
    const list = await losses(dir, feeds, 50, 0.02);
    expect((list.at(-1) ?? Number.NaN) / (list[0] ?? 0), list.join(' ')).toBeLessThan(0.5);
    const merged = merge(dir, { adapter: 'start', out: join(folder, 'conv.onnx') });
    await expect(merged).rejects.toSatisfy(coded('NOT_MERGEABLE', '"Conv0"'));
  });

  it('matmulnbits_add compiles, and its graphs load', async () => {
    const dir = join(folder, 'nbits.lora');
    const { manifest } = await compile(sharedPath('models/micro/matmulnbits_add.onnx'), { out: dir, rank: 2 });
    expect(manifest.layers.map((l) => l.op)).toEqual(['MatMulNBits']);
    for (const graph of Object.values(manifest.graphs)) await InferenceSession.create(join(dir, graph ?? ''));
  });
});
