/**
 * Adapters that PEFT wrote, one for each thing that a directory can say (fixtures/peft-roundtrip): compiled into a package and written
 * back they are the same tensors, and what the package computes is what PEFT computes.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readPeft } from '../../src/adapter/index.ts';
import { readNpz } from '../../src/formats/npz.ts';
import { elements, toFloat32 } from '../../src/formats/rawTensor.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import { compile, exportAdapter, merge } from '../../src/index.ts';
import { distance, floats } from '../support/executeGraphs.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const root = join(import.meta.dirname, '../../fixtures/peft-roundtrip');
const cases = z.record(z.string(), z.string()).parse(JSON.parse(readFileSync(join(root, 'cases.json'), 'utf8')));
const scratch = temporaryFolder();

/** Fields that say what an adapter computes, beside the patterns, which may say the same in several ways. */
const told = [
  ...['peft_type', 'use_rslora', 'use_dora', 'lora_bias', 'bias', 'lora_dropout', 'init_lora_weights', 'task_type'],
  ...['auto_mapping', 'base_model_name_or_path', 'fan_in_fan_out', 'target_parameters', 'trainable_token_indices'],
];
const configOf = (folder: string): Record<string, unknown> =>
  z.record(z.string(), z.unknown()).parse(JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')));

/** Names, types, shapes and bytes. */
function tensorsOf(folder: string): Record<string, unknown> {
  const file = openSafetensors(join(folder, 'adapter_model.safetensors'));
  try {
    return Object.fromEntries([...file.tensors.keys()].map((key) => [key, file.read(key)]));
  } finally {
    file.close();
  }
}

describe.each(Object.entries(cases))('%s', (name, base) => {
  const theirs = join(root, name);
  const dir = join(scratch, `${name}.lora`);
  const arrays = readNpz(join(theirs, 'logits.npz'));
  const wanted = (key: string): Float32Array => {
    const found = arrays.get(key);
    if (found === undefined) throw new Error(`no ${key}`);
    return toFloat32(found);
  };

  async function logits(file: string): Promise<Float32Array> {
    const x = arrays.get('x');
    if (x === undefined) throw new Error('no x');
    const data = elements(x);
    const session = await InferenceSession.create(file, { intraOpNumThreads: 1, logSeverityLevel: 3 });
    const tensor =
      data instanceof BigInt64Array ? new Tensor('int64', data, x.shape) : new Tensor('float32', toFloat32(x), x.shape);
    return floats((await session.run({ x: tensor })).logits);
  }

  it('comes back tensor by tensor, from the package and from an export', async () => {
    const { manifest } = await compile(join(root, `${base}.onnx`), { out: dir, adapter: theirs, emit: ['model'] });
    const out = join(scratch, `${name}.peft`);
    await exportAdapter(dir, { format: 'peft', out });
    const [before, config] = [readPeft(theirs), configOf(theirs)];
    expect(manifest.layers.map((l) => l.path).sort()).toEqual([...before.tensors.keys()].sort());
    for (const back of [join(dir, 'adapter'), out]) {
      expect(tensorsOf(back)).toEqual(tensorsOf(theirs));
      // Ranks, alphas and scales of every layer, whatever patterns say them.
      const { tensors } = readPeft(back);
      expect([...tensors].sort()).toEqual([...before.tensors].sort());
      const written = configOf(back);
      expect(Object.keys(written).sort()).toEqual(Object.keys(config).sort());
      for (const field of told) expect([field, written[field]]).toEqual([field, config[field]]);
    }
  });

  // Float32 in two orders of summation; the adapter itself is worth almost half of the logits and more.
  it('has the logits that PEFT has, beside the weights and in them', async () => {
    expect(distance(wanted('base'), wanted('adapter'))).toBeGreaterThan(0.4);
    expect(distance(await logits(join(root, `${base}.onnx`)), wanted('base'))).toBeLessThan(1e-5);
    expect(distance(await logits(join(dir, 'model.onnx')), wanted('adapter'))).toBeLessThan(1e-5);
    const file = join(scratch, `${name}.onnx`);
    expect((await merge(dir, { out: file })).error).toBeLessThan(1e-5);
    expect(distance(await logits(file), wanted('merged'))).toBeLessThan(1e-5);
  });
});
