import { describe, expect, it } from 'vitest';
import { familyOf, placed, rootOf } from '../../../src/graph/families/families.ts';
import { familyModules } from '../../../src/graph/families/familyModules.ts';

const lines = familyModules.trim().split('\n');

function family(type: string) {
  const found = familyOf(type);
  if (found === undefined) throw new Error(`no family ${type}`);
  return found;
}

describe('the table of families', () => {
  it('has each type once, in four columns', () => {
    const types = lines.flatMap((line) => line.split(';')[0]?.split(' ') ?? []);
    expect(types.length).toBeGreaterThan(90);
    expect(types.filter((t, i) => types.indexOf(t) !== i)).toEqual([]);
    expect(lines.filter((line) => line.split(';').length !== 4)).toEqual([]);
  });

  it.each([
    ['llama', 'model.layers.11.self_attn.q_proj', 'model'],
    ['llama', 'layers.0.mlp.gate_proj', ''],
    ['bert', '0.auto_model.encoder.layer.3.attention.self.query', '0.auto_model'],
    ['gpt2', 'transformer.h.1.attn.c_attn', 'transformer'],
    ['gpt_neox', 'gpt_neox.layers.0.attention.query_key_value', 'gpt_neox'],
    ['modernbert', 'model.layers.0.attn.Wqkv', 'model'],
    ['phi3', 'model.layers.0.mlp.gate_up_proj', 'model'],
    ['phi3', 'model.layers.0.mlp.gate_proj', undefined],
    ['t5', 'decoder.block.1.layer.0.SelfAttention.q', ''],
    ['opt', 'model.decoder.layers.0.fc1', 'model'],
    // Names of transformers 4 and 5.
    ['vit', 'vit.encoder.layer.0.attention.attention.query', 'vit'],
    ['vit', 'vit.layers.0.attention.q_proj', 'vit'],
    // One segment that only ends like a module is no root.
    ['llama', 'xlayers.0.mlp.gate_proj', undefined],
    ['llama', 'lm_head', undefined],
  ])('%s has %s in "%s"', (type, path, root) => {
    expect(rootOf(family(type), path)).toBe(root);
  });

  it('has the types of onnxruntime-genai whose modules are those of another', () => {
    expect(rootOf(family('phi3v'), 'model.layers.0.self_attn.qkv_proj')).toBe('model');
    expect(familyOf('my_own_model')).toBeUndefined();
    expect(familyOf(undefined)).toBeUndefined();
  });
});

describe('placed', () => {
  it('takes the root of most modules; heads may stand beside it', () => {
    const paths = ['model.layers.0.self_attn.q_proj', 'model.layers.0.mlp.up_proj', 'lm_head', 'score'];
    expect(placed(family('llama'), paths)).toEqual({ root: 'model', unknown: [], apart: [] });
  });

  it('tells modules of another root from those that the family lacks', () => {
    const paths = ['model.decoder.layers.0.fc1', 'model.decoder.layers.1.fc1', 'decoder.layers.1.fc2', 'decoder.fc3'];
    expect(placed(family('opt'), paths)).toEqual({
      root: 'model',
      unknown: ['decoder.fc3'],
      apart: ['decoder.layers.1.fc2'],
    });
  });
});
