/** `--head`: what is refused, what a package says of its head, and the other options beside one. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { adapterFeeds, readAdapter } from '../../src/adapter/web.ts';
import { type CompileOptions, compile, exportAdapter, inspect, LoraifyError, merge, Trainer } from '../../src/index.ts';
import { coded } from '../support/coded.ts';
import { distance, floats } from '../support/executeGraphs.ts';
import { npzFeeds } from '../support/packageGradient.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const model = (name: string): string => join(import.meta.dirname, `../../fixtures/heads/${name}.onnx`);
const tried = (name: string, options: CompileOptions) =>
  compile(model(name), { dryRun: true, emit: ['eval'], ...options });

describe('an option that does not work with the head', () => {
  const classification = { head: 'classification', labels: 3 } as const;
  const cases: readonly [string, string, CompileOptions, readonly string[]][] = [
    ['--pooling without --head', 'bert', { pooling: 'mean' }, ['--pooling', 'without --head']],
    ['--head-input without --head', 'bert', { headInput: 'x' }, ['--head-input', 'without --head']],
    ['--pooling for tokens', 'bert', { head: 'token-classification', labels: 3, pooling: 'cls' }, ['--pooling']],
    ['--labels for a number', 'bert', { head: 'regression', labels: 3 }, ['--labels', 'regression']],
    ['--head-size for classes', 'bert', { ...classification, headSize: 4 }, ['--head-size', 'embedding']],
    ['--no-normalize for classes', 'bert', { ...classification, normalize: false }, ['--normalize', 'embedding']],
    ['a loss of numbers for classes', 'bert', { ...classification, loss: 'mse' }, ['--loss mse', 'regression']],
    ['a loss over tokens', 'bert', { ...classification, loss: 'causal-lm' }, ['--loss causal-lm', 'cross-entropy']],
    ['--loss-output', 'bert', { ...classification, lossOutput: 'logits' }, ['--loss-output', "head's output"]],
    ['no number of classes', 'bert', { head: 'classification' }, ['number of classes', '--labels']],
    ['one class', 'bert', { head: 'classification', labels: 1 }, ['one class', 'regression']],
    ['a value that is not there', 'bert', { ...classification, headInput: 'last_hidden_stat' }, ['last_hidden_state']],
    ['a pooling of vectors', 'own', { ...classification, pooling: 'mean' }, ['nothing to pool', '--head-input']],
    ['tokens of vectors', 'own', { head: 'token-classification', labels: 3 }, ['positions']],
    ['the first cell of a map', 'conv', { ...classification, pooling: 'cls', target: ['layers.2'] }, ['mean or max']],
  ];

  it.each(cases)('%s', async (_, name, options, parts) => {
    const error: unknown = await tried(name, options).catch((e: unknown) => e);
    if (!(error instanceof LoraifyError)) throw new Error('it was not refused');
    expect(error.code).toBe('BAD_OPTION');
    for (const part of parts) expect(`${error.message}; ${error.hint}`).toContain(part);
  });
});

describe('the manifest', () => {
  it('says what the head is and why', async () => {
    const { manifest } = await tried('bert', { head: 'classification', labels: ['no', 'yes'] });
    expect(manifest.head).toMatchObject({
      kind: 'classification',
      input: 'last_hidden_state',
      output: 'logits',
      replaced: 'last_hidden_state',
      pooling: 'cls',
      linear: { path: 'classifier', size: 2, bias: true },
    });
    expect(manifest.head?.why).toMatch(/encoder of tokens/);
    expect(manifest.labels).toMatchObject({ type: 'int64', shape: ['batch'], names: ['no', 'yes'] });
    expect(manifest.loss).toMatchObject({
      kind: 'cross-entropy',
      output: 'logits',
      chosen: 'for --head classification',
    });
    expect(manifest.saved?.map((s) => s.parameter)).toEqual(['classifier.weight', 'classifier.bias']);
    expect(manifest.lora.modulesToSave).toEqual(['classifier']);
  });

  it('has a decoder end in score, without a bias for rows and with one for tokens', async () => {
    const rows = await tried('llama', { head: 'classification', labels: 2 });
    expect(rows.manifest.head).toMatchObject({
      pooling: 'last',
      mask: 'attention_mask',
      linear: { path: 'score', bias: false },
    });
    const tokens = await tried('llama', { head: 'token-classification', labels: 2 });
    expect(tokens.manifest.head).toMatchObject({ linear: { path: 'score', bias: true } });
    expect(tokens.manifest.labels?.shape).toEqual(['batch', 'seq']);
    expect(tokens.manifest.loss?.tokens).toBeUndefined();
  });

  it('keeps the classes of a classifier that is replaced, unless --labels says others', async () => {
    const { manifest } = await tried('own', { head: 'classification' });
    expect(manifest.loss?.classes).toBe(3);
    expect(manifest.layers.map((l) => l.path)).not.toContain('classifier.1');
  });

  it('has no Linear for an embedding, whose labels are vectors', async () => {
    const { manifest } = await tried('bert', { head: 'embedding' });
    expect(manifest.head).toMatchObject({ pooling: 'mean', normalize: true, output: 'sentence_embedding' });
    expect(manifest.saved).toBeUndefined();
    expect(manifest.loss).toMatchObject({ kind: 'mse', output: 'sentence_embedding' });
    expect(manifest.labels).toMatchObject({ type: 'float32', shape: ['batch', 8] });
  });

  it('is what inspect says, of the model and of a package', async () => {
    const options = { head: 'regression', pooling: 'max' } as const;
    const { head } = await inspect(model('bert'), options);
    const out = join(temporaryFolder(), 'x.lora');
    const { manifest } = await compile(model('bert'), { ...options, emit: ['eval'], out });
    expect(head).toEqual(manifest.head);
    expect((await inspect(out)).head).toEqual(head);
    await expect(inspect(out, options)).rejects.toThrow(expect.toSatisfy(coded('BAD_OPTION', 'has its head already')));
  });
});

describe('an export whose adapter is an input', () => {
  it('has the trained head inside, and computes what the merge does', async () => {
    const folder = temporaryFolder();
    const out = join(folder, 'x.lora');
    const adapter = join(model('bert'), '../bert-mean/init');
    await compile(model('bert'), { head: 'classification', labels: 3, pooling: 'mean', adapter, emit: ['model'], out });
    const files = { merged: 'merged.onnx', served: 'served.onnx', tensors: 'x.onnx_adapter' };
    await merge(out, { adapter: 'start', out: join(folder, files.merged), verify: false });
    const { warnings } = await exportAdapter(out, {
      format: 'onnx',
      inputs: 'required',
      out: join(folder, files.served),
    });
    expect(warnings).toEqual([]);
    const exported = await exportAdapter(out, { format: 'onnx_adapter', out: join(folder, files.tensors) });
    expect(exported.warnings.join()).toMatch(/head is in the model/);
    const batch = npzFeeds(join(model('bert'), '../bert-mean/batch.npz'));
    const logits = async (file: string, more: Readonly<Record<string, Tensor>> = {}): Promise<Float32Array> => {
      const session = await InferenceSession.create(join(folder, file));
      const feeds = Object.entries({ ...batch, ...more }).filter(([name]) => session.inputNames.includes(name));
      return floats((await session.run(Object.fromEntries(feeds))).logits);
    };
    const { inputMetadata } = await InferenceSession.create(join(folder, files.served));
    const tensors = adapterFeeds(readAdapter(readFileSync(join(folder, files.tensors))), inputMetadata, { Tensor });
    expect(distance(await logits(files.served, tensors), await logits(files.merged))).toBeLessThan(1e-6);
  });
});

describe("sentence-transformers' pooling beside the model", () => {
  it.each([{ pooling_mode_cls_token: true, pooling_mode_mean_tokens: false }, { pooling_mode: 'cls' }])(
    'is that of an embedding, and of no other head: %o',
    async (config) => {
      const folder = temporaryFolder();
      mkdirSync(join(folder, '1_Pooling'));
      mkdirSync(join(folder, 'onnx'));
      writeFileSync(join(folder, '1_Pooling/config.json'), JSON.stringify(config));
      copyFileSync(model('bert'), join(folder, 'onnx/model.onnx'));
      const headOf = async (head: 'embedding' | 'regression', pooling?: 'max') =>
        (await inspect(join(folder, 'onnx/model.onnx'), { head, pooling })).head;
      expect(await headOf('embedding')).toMatchObject({ pooling: 'cls', why: expect.stringContaining('1_Pooling') });
      expect(await headOf('embedding', 'max')).toMatchObject({ pooling: 'max' });
      expect(await headOf('regression')).toMatchObject({ why: expect.not.stringContaining('1_Pooling') });
    },
  );
});

describe('the same seed and another one', () => {
  it('give the same and another head', async () => {
    const weightOf = async (seed: number): Promise<Buffer> => {
      const out = join(temporaryFolder(), 'x.lora');
      await compile(model('bert'), { head: 'classification', labels: 3, seed, emit: ['eval'], out });
      return readFileSync(join(out, 'source.skeleton'));
    };
    const first = await weightOf(0);
    expect((await weightOf(0)).equals(first)).toBe(true);
    expect((await weightOf(1)).equals(first)).toBe(false);
  });
});

describe('a head beside other options', () => {
  const cases: readonly [string, CompileOptions][] = [
    ['DoRA', { dora: true }],
    ['dropout', { dropout: 0.2 }],
    ['half precision', { precision: 'fp16' }],
    ['the CPU provider', { for: 'cpu' }],
    ['fixed lengths', { batch: 3, seq: 5 }],
    ['modules_to_save', { modulesToSave: ['LayerNorm'] }],
  ];

  it.each(cases)('trains and merges with %s', async (_, options) => {
    const out = join(temporaryFolder(), 'x.lora');
    await compile(model('bert'), {
      head: 'classification',
      labels: 3,
      pooling: 'mean',
      ...options,
      emit: ['model', 'train', 'eval'],
      out,
    });
    const rows = [0, 1, 2].map((label) => ({
      input_ids: [label + 1, 4, 5 + label, 7, 8],
      attention_mask: [1, 1, 1, 1, label > 0 ? 1 : 0],
      labels: label,
    }));
    const trainer = await Trainer.open(out);
    const before = await trainer.evaluate(rows);
    for await (const _ of trainer.fit(rows, { steps: 30, learningRate: 0.03, batchSize: 3 }));
    expect((await trainer.evaluate(rows)).loss).toBeLessThan(before.loss * 0.7);
    const adapter = join(temporaryFolder(), 'adapter');
    await trainer.save(adapter);
    await trainer.close();
    const { error = 1 } = await merge(out, { adapter, out: join(temporaryFolder(), 'merged.onnx') });
    expect(error).toBeLessThan(options.precision === undefined ? 1e-5 : 1e-2);
  });
});

describe('a configuration beside the model', () => {
  const folder = temporaryFolder();
  const file = join(folder, 'model.onnx');
  copyFileSync(model('vit'), file);
  const config = { model_type: 'vit', architectures: ['ViTModel'], hidden_size: 8, layer_norm_eps: 1e-12 };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  const out = join(folder, 'x.lora');

  it('gives merged models the classes, and stays as it is where it is', async () => {
    await compile(file, { head: 'classification', labels: ['cat', 'dog'], emit: ['model'], out });
    mkdirSync(join(folder, 'merged'));
    const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
    const { warnings: told } = await merge(out, { adapter: 'start', out: join(folder, 'merged/model.onnx') });
    expect(told).toEqual([expect.stringContaining('the start of the package')]);
    expect(read(join(folder, 'merged/config.json'))).toEqual({
      ...config,
      architectures: ['ViTForImageClassification'],
      id2label: { 0: 'cat', 1: 'dog' },
      label2id: { cat: 0, dog: 1 },
      problem_type: 'single_label_classification',
    });
    const { warnings } = await merge(out, { adapter: 'start', out: join(folder, 'merged.onnx'), verify: false });
    expect(warnings.join()).toMatch(/another config\.json and stays/);
    expect(read(join(folder, 'config.json'))).toEqual(config);
    await exportAdapter(out, { format: 'onnx', out: join(folder, 'merged/baked.onnx') });
    expect(existsSync(join(folder, 'merged/baked.onnx'))).toBe(true);
  });

  it("gives PEFT exports the names of transformers' class, or others that are asked for", async () => {
    const keys = async (prefix?: string): Promise<string[]> => {
      const to = join(temporaryFolder(), 'peft');
      await exportAdapter(out, { format: 'peft', out: to, prefix });
      const text = readFileSync(join(to, 'adapter_model.safetensors'), 'latin1');
      return [...text.matchAll(/base_model\.model\.([\w.]+?)\.(?:lora_[AB]\.)?weight/g)].map((m) => m[1] ?? '');
    };
    expect(await keys()).toEqual(expect.arrayContaining(['classifier', expect.stringMatching(/^vit\.layers/)]));
    expect(await keys('none')).toEqual(expect.arrayContaining([expect.stringMatching(/^layers/)]));
    expect(await keys('body')).toEqual(expect.arrayContaining(['classifier', expect.stringMatching(/^body\.layers/)]));
    const refused = exportAdapter(out, { format: 'safetensors', out: join(folder, 'x.safetensors'), prefix: 'vit' });
    await expect(refused).rejects.toThrow(expect.toSatisfy(coded('BAD_OPTION', '--prefix')));
  });
});
