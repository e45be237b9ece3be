import { describe, expect, it } from 'vitest';
import { ignoredModules, otherRoot, packedModulesOf, withPrefix } from '../../src/package/peftModules.ts';

const query = 'encoder.layer.0.attention.self.query';
const bert = { type: 'bert', architecture: 'BertForSequenceClassification' };

describe('modules that PEFT ignores', () => {
  it.each([
    [bert, [`bert.${query}`, 'bert.pooler.dense', 'classifier'], []],
    [undefined, ['anything'], []],
    [{ type: 'of_our_own' }, ['anything'], []],
    [
      { type: 'mixtral' },
      ['model.layers.0.self_attn.q_proj', 'model.layers.0.mlp.gate'],
      [/does not adapt "model\.layers\.0\.mlp\.gate", and .*: transformers' "mixtral", .* has no such modules$/],
    ],
    [
      bert,
      [`bert.${query}`, 'bert.encoder.layer.0.output.dense', 'encoder.layer.1.output.dense'],
      [/"encoder\.layer\.1\.output\.dense", .*: the other modules of .* are inside "bert"$/],
    ],
    [
      { type: 'phi3' },
      ['model.layers.0.self_attn.o_proj', 'model.layers.0.mlp.gate_proj', 'model.layers.0.mlp.up_proj'],
      [/^"model\.layers\.0\.mlp\.gate_proj", .* are parts of "model\.layers\.0\.mlp\.gate_up_proj"/],
    ],
  ])('of %j, %j', (name, paths, wanted) => {
    expect(ignoredModules(name, paths)).toEqual(wanted.map((w) => expect.stringMatching(w)));
  });
});

describe('another beginning of the names', () => {
  it.each([
    [bert, [`bert.${query}`], []],
    [bert, [query], [/AutoModel: BertForSequenceClassification has "bert\." before them, which --prefix bert adds$/]],
    [{ type: 'bert', architecture: 'BertModel' }, [query], []],
    [{ type: 'bert' }, [query], []],
    [{ type: 'gpt2', architecture: 'GPT2LMHeadModel' }, ['h.0.attn.c_attn'], [/--prefix transformer adds$/]],
    [{ type: 't5', architecture: 'T5ForConditionalGeneration' }, ['encoder.block.0.layer.0.SelfAttention.q'], []],
    [bert, [`0.auto_model.${query}`], [/begin with "0\.auto_model\.", .*: --prefix bert gives/]],
  ])('of %j, %j', (name, paths, wanted) => {
    expect(otherRoot(name, paths)).toEqual(wanted.map((w) => expect.stringMatching(w)));
  });

  it.each([
    ['bert', bert, query, `bert.${query}`],
    ['bert', bert, `0.auto_model.${query}`, `bert.${query}`],
    ['none', bert, `bert.${query}`, query],
    ['bert', bert, 'classifier', 'classifier'],
    ['body', undefined, 'fc', 'body.fc'],
    [undefined, bert, query, query],
  ])('--prefix %s of %j makes of %s %s', (prefix, name, path, wanted) => {
    expect(withPrefix(prefix, name)(path)).toBe(wanted);
  });
});

it('a module packs others only where the family has it, and not them', () => {
  const paths = ['model.layers.0.mlp.gate_proj', 'model.layers.0.mlp.up_proj'];
  expect([...packedModulesOf({ type: 'phi3' }, paths)]).toEqual(['model.layers.0.mlp.gate_up_proj']);
  for (const name of [{ type: 'llama' }, { type: 'gpt2' }, undefined])
    expect([...packedModulesOf(name, paths)]).toEqual([]);
});
