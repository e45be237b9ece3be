/** DoRA layers and whole weights (modules_to_save) from the command's side: packages, runs, and what leaves them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { readPeft } from '../../src/adapter/index.ts';
import { readNpz } from '../../src/formats/npz.ts';
import { elements, type RawTensor, toFloat32 } from '../../src/formats/rawTensor.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import { compile, evaluate, exportAdapter, inspect, merge, train } from '../../src/index.ts';
import { coded } from '../support/coded.ts';
import { digits, digitsModel, writeJsonl } from '../support/digits.ts';
import { distance } from '../support/executeGraphs.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const fixtures = join(import.meta.dirname, '../../fixtures');

const tensorsOf = (directory: string): Map<string, { shape: readonly number[]; values: Float32Array }> => {
  const source = openSafetensors(join(directory, 'adapter_model.safetensors'));
  try {
    return new Map(
      [...source.tensors].flatMap(([key, { shape }]) => {
        const tensor = source.read(key);
        return tensor === undefined ? [] : [[key, { shape, values: toFloat32(tensor).slice() }] as const];
      }),
    );
  } finally {
    source.close();
  }
};

async function logits(file: string, inputs: Record<string, RawTensor>): Promise<Float32Array> {
  const session = await InferenceSession.create(file, { logSeverityLevel: 4 });
  const feeds = Object.entries(inputs).map(([name, t]) => {
    const data = elements(t);
    if (data instanceof BigInt64Array) return [name, new Tensor('int64', data, [...t.shape])];
    return [name, new Tensor('float32', toFloat32(t), [...t.shape])];
  });
  const out = (await session.run(Object.fromEntries(feeds))).logits;
  await session.release();
  if (!(out?.data instanceof Float32Array)) throw new Error('no logits');
  return out.data;
}

describe.each([
  ['mixed', 'mixed'],
  ['saved', 'mixed'],
  ['conv', 'conv'],
  ['embedding', 'embedding'],
])('the pack %s', (name, data) => {
  const pack = join(fixtures, 'peft-dora', name);
  const adapter = join(pack, 'final');
  const dir = join(folder, `${name}.lora`);

  it('goes through a package equal tensor by tensor, and setting by setting', async () => {
    await compile(join(fixtures, 'peft-dora', data, 'base.onnx'), { out: dir, adapter: join(pack, 'init') });
    for (const [from, options] of [
      [join(pack, 'init'), {}],
      [adapter, { adapter }],
    ] as const) {
      const out = join(folder, `${name}.peft`);
      await exportAdapter(dir, { format: 'peft', out, force: true, ...options });
      expect(tensorsOf(out)).toEqual(tensorsOf(from));
      const [ours, theirs] = [readPeft(out), readPeft(from)];
      expect(ours).toEqual({ ...theirs, targetModules: ours.targetModules });
    }
  });

  it('gives the logits of PEFT merged, baked, and through the names of the manifest', async () => {
    const batches = readNpz(join(fixtures, 'peft-dora', data, 'batches.npz'));
    const inputs = Object.fromEntries(
      [...batches].flatMap(([k, t]) => (k.startsWith('b0/') && k !== 'b0/labels' ? [[k.slice(3), t]] : [])),
    );
    const expected = readNpz(join(pack, 'merged_logits.npz')).get('adapter_logits');
    if (expected === undefined) throw new Error('no logits');
    const file = (end: string): string => join(folder, `${name}.${end}`);
    const [merged, baked, named] = [file('merged.onnx'), file('baked.onnx'), file('named.safetensors')];
    await merge(dir, { adapter, out: merged });
    await exportAdapter(dir, { adapter, format: 'onnx', out: baked });
    await exportAdapter(dir, { adapter, format: 'safetensors', out: named });
    const again = file('again.onnx');
    await merge(dir, { adapter: named, out: again });
    // Two orders of summation in float32 through three layers.
    for (const model of [merged, baked, again])
      expect(distance(await logits(model, inputs), toFloat32(expected)), model).toBeLessThan(1e-5);
  });
});

describe('a run with --dora and --modules-to-save', () => {
  const dir = join(folder, 'digits.lora');
  const rows = writeJsonl(join(folder, 'rows.jsonl'), digits(0, 40));
  const common = { data: rows, batchSize: 10, learningRate: 0.01 };

  it('starts as the model is, with the lengths of its columns', async () => {
    const { manifest } = await compile(digitsModel, { out: dir, rank: 2, dora: true, modulesToSave: ['classifier'] });
    expect(manifest.lora).toMatchObject({ dora: true, modulesToSave: ['classifier'] });
    expect(manifest.saved?.map((s) => s.parameter)).toEqual(['classifier.weight', 'classifier.bias']);
    expect(manifest.layers.every((l) => l.magnitude?.shape[0] === l.out)).toBe(true);
    const end = manifest.saved?.at(-1);
    expect((end?.offset ?? 0) + (end?.shape[0] ?? 0)).toBe(manifest.state.size);
    const image = {
      dtype: 'F32',
      shape: [4, 64],
      data: new Uint8Array(new Float32Array(256).fill(0.5).buffer),
    } as const;
    const [ours, theirs] = [await logits(join(dir, 'model.onnx'), { image }), await logits(digitsModel, { image })];
    // A length divided by itself, rounded.
    expect(distance(ours, theirs)).toBeLessThan(1e-6);
    const { totals } = await inspect(digitsModel, { rank: 2, dora: true, modulesToSave: ['classifier'] });
    expect(totals.trainable).toBe(manifest.counts.trainable);
  });

  it('learns, and goes on after a cut as if there had been none', async () => {
    const before = await evaluate(dir, { data: rows });
    const whole = await train(dir, { ...common, steps: 6, out: join(folder, 'whole.run') });
    await train(dir, { ...common, steps: 3, saveEvery: 3, out: join(folder, 'cut.run') });
    await train(dir, { ...common, steps: 6, resume: true, out: join(folder, 'cut.run') });
    const bytes = (run: string): Buffer => readFileSync(join(folder, run, 'adapter/adapter_model.safetensors'));
    expect(bytes('cut.run').equals(bytes('whole.run'))).toBe(true);
    expect(whole.steps).toBe(6);
    const adapter = join(folder, 'whole.run/adapter');
    const after = await evaluate(dir, { data: rows, adapter });
    expect(after.loss).toBeLessThan(before.loss);
    const start = tensorsOf(join(dir, 'adapter'));
    for (const [key, { values }] of tensorsOf(adapter)) expect(values, key).not.toEqual(start.get(key)?.values);
    const { error } = await merge(dir, { adapter, out: join(folder, 'digits.onnx') });
    expect(error).toBeLessThan(1e-5);
  });

  it('is not taken for branches beside the base', async () => {
    const adapter = join(folder, 'whole.run/adapter');
    const plain = join(folder, 'plain.lora');
    await compile(digitsModel, { out: plain, rank: 2, exclude: ['classifier'], emit: ['model'] });
    const out = join(folder, 'out');
    const refused = (code: string, ...words: string[]) => expect.toSatisfy(coded(code, ...words));
    for (const options of [
      { format: 'onnx_adapter' },
      { format: 'onnx', inputs: 'required' },
      { format: 'onnx', inputs: 'optional' },
      { format: 'onnx', strength: true },
    ] as const)
      await expect(exportAdapter(dir, { ...options, out })).rejects.toThrow(refused('BAD_OPTION', 'classifier.weight'));
    await expect(merge(plain, { adapter, out })).rejects.toThrow(refused('ADAPTER_MISMATCH'));
    await expect(merge(dir, { adapter: join(plain, 'adapter'), out })).rejects.toThrow(
      refused('ADAPTER_MISMATCH', 'magnitude'),
    );
    await expect(merge(dir, { adapter: { [adapter]: 1, [join(dir, 'adapter')]: 1 }, out })).rejects.toThrow(
      refused('ADAPTER_MISMATCH', 'DoRA'),
    );
    await expect(compile(digitsModel, { out, modulesToSave: ['fc9'] })).rejects.toThrow(refused('BAD_OPTION', 'fc9'));
  });
});
