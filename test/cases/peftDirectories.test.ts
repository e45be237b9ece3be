/** PEFT directories as PEFT and its users write them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import { caseFolder, cases } from '../support/caseFolder.ts';
import { packageGradient } from '../support/packageGradient.ts';
import { loraify } from '../support/runCli.ts';

const numbers = z.record(z.string(), z.object({ loss: z.number(), gradient: z.number(), keys: z.array(z.string()) }));
const expected = numbers.parse(JSON.parse(readFileSync(join(cases, 'peft-directories/expected.json'), 'utf8')));

function keysOf(directory: string): string[] {
  const file = openSafetensors(join(directory, 'adapter_model.safetensors'));
  file.close();
  return [...file.tensors.keys()].sort();
}

const compiled = (cwd: string, adapter: string) =>
  loraify(['model.onnx', '--adapter', adapter, '--loss', 'causal-lm', '-o', 'x.lora', '--force', '--quiet'], { cwd });

it('peft-base-layer-copy: a copy of the base weight is taken', async () => {
  const cwd = caseFolder('peft-base-layer-copy');
  const { status, stderr } = await loraify(['llama.onnx', '--adapter', 'adapter', '--quiet', '-o', 'p'], { cwd });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const { status: merged } = await loraify(['merge', 'p', '--adapter', 'adapter', '-o', 'm.onnx'], { cwd });
  expect(merged).toBe(0);
});

describe('adapters of a decoder behind another wrapper', () => {
  it.each([
    ['head', 'head'],
    ['table', 'table'],
    ['both', 'both'],
    ['patterns', 'patterns'],
    ['saved', 'saved'],
    ['head_bf16', 'head'],
    ['state_dict', 'head'],
  ])('%s has the loss and gradient of torch + PEFT, and is written back under its own keys', async (name, like) => {
    const cwd = caseFolder('peft-directories');
    const { status, stderr } = await compiled(cwd, name);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { loss, norm } = await packageGradient(join(cwd, 'x.lora'), join(cwd, `${like}.npz`));
    expect(loss).toBeCloseTo(expected[like]?.loss ?? Number.NaN, 5);
    expect(norm).toBeCloseTo(expected[like]?.gradient ?? Number.NaN, 4);
    expect(keysOf(join(cwd, 'x.lora/adapter'))).toEqual(expected[like]?.keys);
    expect(
      (await loraify(['export', 'x.lora', '--adapter', 'start', '--format', 'peft', '-o', 'back'], { cwd })).status,
    ).toBe(0);
    expect(keysOf(join(cwd, 'back'))).toEqual(expected[like]?.keys);
    const { status: merged, stdout } = await loraify(['merge', 'x.lora', '--adapter', 'start', '-o', 'm.onnx'], {
      cwd,
    });
    expect({ merged, stdout }).toMatchObject({ merged: 0, stdout: expect.stringContaining('equal to base + adapter') });
  });

  it.each([
    ['vlm', 'base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight'],
    ['compiled', 'base_model.model._orig_mod.model.layers.0.self_attn.q_proj.lora_A.weight'],
    ['checkpointed', 'base_model.model.model.layers.0._checkpoint_wrapped_module.self_attn.q_proj.lora_A.weight'],
  ])('%s keeps the wrappers in its keys: package, run and export', async (name, key) => {
    const cwd = caseFolder('peft-directories');
    expect((await compiled(cwd, name)).status).toBe(0);
    const wanted = keysOf(join(cwd, name)).filter((k) => k.includes('lora_'));
    expect(wanted).toContain(key);
    expect(keysOf(join(cwd, 'x.lora/adapter'))).toEqual(wanted);
    writeFileSync(join(cwd, 'data.jsonl'), `${JSON.stringify({ input_ids: [1, 2, 3, 4] })}\n`.repeat(4));
    const train = ['train', 'x.lora', '--data', 'data.jsonl', '--steps', '2', '--save-every', '1', '-o', 'run'];
    expect((await loraify(train, { cwd })).status).toBe(0);
    for (const folder of ['run/adapter', 'run/checkpoints/step-1']) expect(keysOf(join(cwd, folder))).toEqual(wanted);
    // Another adapter of the package has keys of its own.
    const other = name === 'checkpointed' ? 'head' : 'patterns';
    const exported = ['export', 'x.lora', '--adapter', other, '--format', 'peft', '-o', 'back'];
    expect((await loraify(exported, { cwd })).status).toBe(0);
    expect(keysOf(join(cwd, 'back'))).toEqual(expected[other]?.keys);
    const resumed = [...train.slice(0, 5), '3', '-o', 'run', '--resume'];
    expect((await loraify(resumed, { cwd })).status).toBe(0);
  });

  it.each([
    ['head_other', 'its copy of "lm_head.weight" differs from the model\'s weight by up to 0.125'],
    ['head_longer', '"lm_head.weight" is [39, 16] in the adapter, [37, 16] in the model'],
  ])('%s is refused, also beside a package', async (name, reason) => {
    const cwd = caseFolder('peft-directories');
    const { status, stderr } = await compiled(cwd, name);
    expect(status).toBe(1);
    expect(stderr).toContain('error[ADAPTER_MISMATCH]');
    expect(stderr).toContain(reason);
    expect((await compiled(cwd, 'head')).status).toBe(0);
    const merge = await loraify(['merge', 'x.lora', '--adapter', name, '-o', 'm.onnx'], { cwd });
    expect(merge.stderr).toContain(reason);
  });
});

describe('fields of adapter_config.json', () => {
  it.each([
    ['trainable_token_indices', [1, 2]],
    ['target_parameters', ['mlp.experts.gate_up_proj']],
    ['layer_replication', [[0, 1]]],
    ['lora_bias', true],
    ['use_qalora', true],
    ['alora_invocation_tokens', [1]],
    ['use_bdlora', { nblocks: 2 }],
    ['arrow_config', { top_k: 1 }],
    ['bias', 'all'],
    ['init_lora_weights', 'corda'],
    ['init_lora_weights', 'loftq'],
    ['init_lora_weights', 'mica'],
    ['enable_lora', [true, false]],
    ['use_something_new', true],
  ])('%s: %j is refused by name', async (field, value) => {
    const cwd = caseFolder('peft-directories');
    const file = join(cwd, 'patterns/adapter_config.json');
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), [field]: value }));
    const { status, stderr } = await compiled(cwd, 'patterns');
    expect(status).toBe(1);
    expect(stderr).toContain('error[ADAPTER_UNSUPPORTED]');
    expect(stderr).toContain(field === 'bias' ? 'bias "all"' : field);
  });

  it('ensure_weight_tying is refused if the adapter has embeddings', async () => {
    const cwd = caseFolder('peft-directories');
    for (const name of ['both', 'patterns']) {
      const file = join(cwd, name, 'adapter_config.json');
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ensure_weight_tying: true }));
    }
    expect((await compiled(cwd, 'both')).stderr).toContain('ensure_weight_tying');
    expect((await compiled(cwd, 'patterns')).status).toBe(0);
  });

  it.each([
    ['merge_weights', false],
    ['inference_mode', false],
    ['loftq_config', { loftq_bits: 4 }],
    ['eva_config', { rho: 2 }],
    ['init_lora_weights', 'eva'],
    ['runtime_config', { ephemeral_gpu_offload: false }],
    ['use_something_new', null],
  ])('%s: %j changes nothing', async (field, value) => {
    const cwd = caseFolder('peft-directories');
    const file = join(cwd, 'patterns/adapter_config.json');
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), [field]: value }));
    expect((await compiled(cwd, 'patterns')).status).toBe(0);
  });
});
