import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { layerOp } from '../../../src/graph/layers.ts';
import { parseFile } from '../../../src/parser/index.ts';
import { type Candidate, findCandidates } from '../../../src/passes/select/candidates.ts';
import { uniquePaths } from '../../../src/passes/select/modulePaths.ts';
import { describeShared, sharedPath } from '../../support/sharedMaterial.ts';

const expected = z.object({
  targets: z.object({
    map: z.array(
      z.object({ module: z.string(), node: z.string(), op: z.string(), weight: z.string(), layout: z.string() }),
    ),
  }),
});

/** What is adapted where nobody says which layers to take; convolutions and embeddings are candidates too. */
const usual = (candidates: readonly Candidate[]): Candidate[] => candidates.filter((c) => layerOp(c.op).byDefault);

const packs = ['bert_cls', 'gpt2_lm', 'llama_lm', 'mlp_classifier'];

describeShared('module paths of real models', ['parity', 'models'], () => {
  it.each(packs)('%s: every layer of PEFT is found, with its node, weight and layout', (pack) => {
    const { model } = parseFile(sharedPath(`parity/${pack}/base.onnx`));
    const { map } = expected.parse(
      JSON.parse(readFileSync(sharedPath(`parity/${pack}/expected.json`), 'utf8')),
    ).targets;
    const found = usual(findCandidates(model).candidates).map((c) => ({
      module: c.path,
      node: c.products[0]?.node.name,
      op: c.products[0]?.node.op,
      weight: c.weight,
      layout: c.layout,
    }));
    const wanted = map.map(({ module, node, op, weight, layout }) => ({ module, node, op, weight, layout }));
    expect(found).toEqual(wanted);
  });

  it.each([
    ['enc_bert_toy_pytorch11_ir4', 34, 'bert.encoder.layer.0.attention.self.query', 'initializer', 'in_out', [32, 32]],
    ['aud_fsmn_vad_offline', 12, 'encoder.in_linear1.linear', 'bias', 'in_out', [400, 140]],
    ['txt_magika_v1', 4, 'model.dense', 'node name', 'in_out', [257, 128]],
    ['mlp_hand_keypoint', 3, 'sequential.dense', 'node name', 'in_out', [42, 20]],
    ['cnn_mnist_cntk_ir3', 1, 'Times212', 'fallback', 'in_out', [256, 10]],
    ['dec_static_kv_opset24_std_attention', 15, 'model.layers.0.self_attn.q_proj', 'initializer', 'out_in', [64, 64]],
    ['dec_tiny_llama_fp16_extdata/model', 15, 'model.layers.0.self_attn.q_proj', 'initializer', 'in_out', [16, 16]],
    ['cnn_mobilenet_v2_qdq_int8', 1, 'Gemm_720', 'fallback', 'out_in', [1280, 1000]],
    ['micro/scan_lstm_cntk', 8, 'Times16585', 'fallback', 'in_out', [2, 8]],
    // Two of its three weights are defaults of rank 0: empty until somebody feeds them.
    ['micro/lora_two_params_model', 1, 'weight_x', 'fallback', 'in_out', [4, 4]],
  ])('%s has %d weighted products', (name, count, path, from, layout, [fanIn, fanOut]) => {
    const candidates = usual(findCandidates(parseFile(sharedPath(`models/${name}.onnx`)).model).candidates);
    expect(candidates.reduce((n, c) => n + c.products.length, 0)).toBe(count);
    expect(candidates[0]).toMatchObject({ path, from, layout, in: fanIn, out: fanOut });
  });

  it.each([
    ['cnn_mobilenet_v2_qdq_int8', 'Conv', 35],
    ['cnn_mnist_cntk_ir3', 'Conv', 2],
    ['enc_bert_toy_pytorch11_ir4', 'Gather', 3],
    ['aud_fsmn_vad_offline', 'Conv', 0],
  ])('%s can be adapted at a %s by name: %s', (name, op, count) => {
    const { candidates } = findCandidates(parseFile(sharedPath(`models/${name}.onnx`)).model);
    expect(candidates.filter((c) => c.op === op)).toHaveLength(count);
  });
});

it('a second path of the same name gets a number that nothing else has', () => {
  expect(uniquePaths(['a', 'a', 'a.1', 'a'])).toEqual(['a', 'a.2', 'a.1', 'a.3']);
});
