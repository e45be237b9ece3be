/** Files of onnxruntime-genai's model builder train, evaluate and predict, with the gradient that torch computes. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { compile, evaluate, exportAdapter, predict, train } from '../../src/index.ts';
import { caseFolder } from '../support/caseFolder.ts';

/** Sessions on the bundled runtime. */
async function loads(...files: readonly string[]): Promise<void> {
  for (const file of files) await (await ort.InferenceSession.create(file, { logSeverityLevel: 3 })).release();
}
const graphsOf = (folder: string): string[] =>
  ['model', 'eval', 'grad', 'train', 'train_k', 'update'].map((graph) => join(folder, `${graph}.onnx`));

describe('a packed query behind int4 weights', () => {
  it.each([
    ['of any length', {}, 40],
    ['of fixed lengths', { batch: 2, seq: 10 }, 80],
    ['for CPU', { for: 'cpu' }, 40],
  ] as const)('trains, evaluates and predicts %s', async (_, options, steps) => {
    const cwd = caseFolder('genai-int4-packed-qkv');
    const at = (name: string): string => join(cwd, name);
    const [data, adapter] = [at('rows.jsonl'), at('run/adapter')];
    await compile(at('model.onnx'), { rank: 4, out: at('p'), ...options });
    await loads(...graphsOf(at('p')));
    expect((await evaluate(at('p'), { data })).loss).toBeCloseTo(4.8718, 3);
    await train(at('p'), { data, steps, learningRate: 0.01, out: at('run') });
    expect((await evaluate(at('p'), { data, adapter })).loss).toBeLessThan(1);
    await predict(at('p'), { data, adapter, out: at('out.jsonl') });
    await exportAdapter(at('p'), { adapter, format: 'onnx', out: at('served.onnx') });
    await loads(at('served.onnx'));
  });
});

it.each(['genai-moe', 'genai-qwen3-cuda-qk-norm', 'genai-sliding-window'])(
  '%s compiles into graphs that load and train',
  async (name) => {
    const cwd = caseFolder(name);
    const [out, data, run] = [join(cwd, 'p'), join(cwd, 'rows.jsonl'), join(cwd, 'run')];
    await compile(join(cwd, 'model.onnx'), { rank: 2, loss: 'causal-lm', out });
    await loads(...graphsOf(out));
    await writeFile(data, '{"input_ids": [1, 2, 3, 4, 5, 6, 7, 8]}\n{"input_ids": [9, 8, 7]}\n');
    const before = (await evaluate(out, { data })).loss;
    await train(out, { data, steps: 30, learningRate: 0.02, out: run });
    const { loss } = await evaluate(out, { data, adapter: join(run, 'adapter') });
    expect(loss).toBeLessThan(Number(before) - 0.5);
  },
);

const reference = z.object({
  layers: z.array(z.object({ path: z.string() })),
  tokens: z.array(z.array(z.number())),
  loss: z.number(),
  gradient: z.array(z.number()),
});
const part = z.object({ offset: z.number(), shape: z.tuple([z.number(), z.number()]) });
const manifest = z.object({
  state: z.object({ size: z.number() }),
  layers: z.array(z.object({ path: z.string(), A: part, B: part })),
});

/** Where the numbers of the reference, A and B layer after layer, stand in the package's vector. */
function placesOf(wanted: z.output<typeof reference>, { layers, state }: z.output<typeof manifest>): number[] {
  expect(layers.map((l) => l.path).sort()).toEqual(wanted.layers.map((l) => l.path).sort());
  const places = wanted.layers
    .flatMap(({ path }) => layers.filter((l) => l.path === path))
    .flatMap(({ A, B }) => [A, B])
    .flatMap(({ offset, shape: [rows, columns] }) => Array.from({ length: rows * columns }, (_, i) => offset + i));
  expect([places.length, wanted.gradient.length]).toEqual([state.size, state.size]);
  return places;
}

describe('the gradient is that of torch', () => {
  // Of fp16 files the graphs compute in half precision, torch in single.
  it.each([
    ['gemma2', 2e-6],
    ['gpt_oss', 2e-6],
    ['qmoe', 2e-6],
    ['lfm2', 4e-6],
    ['qwen3', 5e-3],
  ])('%s', async (name, tolerance) => {
    const cwd = join(caseFolder('genai-reference'), name);
    await compile(join(cwd, 'model.onnx'), { rank: 2, alpha: 4, loss: 'causal-lm', out: join(cwd, 'p') });
    const read = async (file: string): Promise<unknown> => JSON.parse(await readFile(join(cwd, file), 'utf8'));
    const wanted = reference.parse(await read('reference.json'));
    const places = placesOf(wanted, manifest.parse(await read('p/loraify.json')));
    const params = new Float32Array(places.length);
    for (const [i, at] of places.entries()) params[at] = 0.1 * Math.sin(i);
    const shape = [wanted.tokens.length, wanted.tokens[0]?.length ?? 0];
    const ids = new ort.Tensor('int64', BigInt64Array.from(wanted.tokens.flat(), BigInt), shape);
    const session = await ort.InferenceSession.create(join(cwd, 'p/grad.onnx'), { logSeverityLevel: 3 });
    const feeds: Record<string, ort.Tensor> = {
      input_ids: ids,
      attention_mask: new ort.Tensor('int64', new BigInt64Array(ids.size).fill(1n), shape),
      labels: ids,
      lora_params: new ort.Tensor('float32', params, [params.length]),
    };
    for (const n of session.inputNames) feeds[n] ??= new ort.Tensor('float32', [1], []);
    const { loss, lora_grad } = await session.run(feeds);
    await session.release();
    expect(Math.abs(Number(loss?.data[0]) - wanted.loss)).toBeLessThan(10 * tolerance);
    const got = places.map((at) => Number(lora_grad?.data[at]));
    const norm = (xs: readonly number[]): number => Math.sqrt(xs.reduce((sum, x) => sum + x * x, 0));
    const error = norm(got.map((x, i) => x - (wanted.gradient[i] ?? Number.NaN))) / norm(wanted.gradient);
    expect(error).toBeLessThan(tolerance);
  });
});
