import { expect, it } from 'vitest';
import { parseText } from '../../../src/parser/parseText.ts';
import { parameterNames } from '../../../src/passes/select/parameterNames.ts';
import { pathOfScopes } from '../../../src/passes/select/torchScopes.ts';

const names = (...parameters: readonly string[]): ReturnType<typeof parameterNames> =>
  parameterNames(
    parseText(`<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y)
<${parameters.map((p) => `float[1] "${p}" = {1}`).join(', ')}> { y = Identity (x) }`),
  );

it.each([
  // A called nn.Sequential, one inside another, and one in a list.
  ['ffn ffn.0', [], 'ffn.0'],
  ['blocks blocks.0 attn qkv', ['blocks.0.norm1.weight'], 'blocks.0.attn.qkv'],
  ['stages stages.0 blocks blocks.1 fc1', [], 'stages.0.blocks.1.fc1'],
  ['features features.1 features.1.0 block block.3', ['features.1.0.block.3.bias'], 'features.1.0.block.3'],
  ['layers.0 layers.0.1', [], 'layers.0.1'],
  // A child of its parent's name is no repetition.
  ['encoder layer.0 attention attention query', [], 'encoder.layer.0.attention.attention.query'],
  ['blocks blocks.0 fc', ['blocks.blocks.0.norm.weight'], 'blocks.blocks.0.fc'],
  // Modules whose forward is not called.
  ['decoder layers.0 self_attn q_proj', ['model.decoder.layers.0.fc1.bias'], 'model.decoder.layers.0.self_attn.q_proj'],
  ['layers.0 fc', ['text.layers.0.norm.weight', 'vision.layers.0.norm.weight'], 'layers.0.fc'],
  ['lm_head', ['model.decoder.layers.0.fc1.bias'], 'lm_head'],
] as const)('%s, beside %j, is %s', (scopes, parameters, path) => {
  expect(pathOfScopes(scopes.split(' '), names(...parameters), undefined)).toBe(path);
});

it.each([
  ['decoder project_out', 'model.decoder.project_out', 'model.decoder.project_out'],
  ['ffn ffn.0', 'ffn.0', 'ffn.0'],
  // The exporter stores equal biases once, under the name of one of them.
  ['blocks blocks.1 fc', 'blocks.0.fc', 'blocks.1.fc'],
  ['layer.0 query', 'layer.0.key', 'layer.0.query'],
] as const)('%s with the bias of %s is %s', (scopes, bias, path) => {
  expect(pathOfScopes(scopes.split(' '), names(), bias)).toBe(path);
});
