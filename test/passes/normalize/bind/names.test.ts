import { describe, expect, it } from 'vitest';
import { cacheKind, isMaskName, isPresent, wordsOf } from '../../../../src/passes/normalize/bind/names.ts';

it('names are read as words', () => {
  expect(wordsOf('past_key_values.0.key')).toEqual(['past', 'key', 'values', '0', 'key']);
  expect(wordsOf('pastKeyValues0')).toEqual(['past', 'key', 'values', '0']);
  expect(wordsOf('in_n_layer_self_k_cache')).toEqual(['in', 'n', 'layer', 'self', 'k', 'cache']);
});

describe('caches by name', () => {
  it.each([
    'past_key_values.0.key', // Optimum, onnxruntime-genai
    'past_key_values.3.decoder.value', // Optimum, encoder and decoder
    'past_key_values.0.key_value', // Optimum, multi-query
    'past_key_values_key_cache_0', // torch.onnx with dynamo
    'past_0', // ONNX Runtime's GPT-2
    'past',
    'layer_past_0',
    'past_key_self_0', // ONNX Runtime's Whisper and T5
    'past_keys_0', // genai on QNN
    'key_cache.0',
    'kv_cache',
    'cache_k_1',
    'in_n_layer_self_k_cache',
  ])('%s holds keys and values', (name) => expect(cacheKind(name)).toBe('keys and values'));

  it.each(['past_conv.0', 'past_ssm.1', 'past_recurrent_state'])('%s is a state', (name) =>
    expect(cacheKind(name)).toBe('state'),
  );

  it.each([
    'past_key_values.0.encoder.key', // computed from the source text
    'past_key_cross_0',
    'past_sequence_length',
    'cache_position',
    'use_cache_branch',
    'cache_indirection',
    'nonpad_kv_seqlen',
    'in_cache0', // streaming audio: a window of frames
    'key',
    'value',
    'keys_mask',
    'input_ids',
    'attention_mask',
  ])('%s is none', (name) => expect(cacheKind(name)).toBeUndefined());
});

it('outputs that hand a cache on', () => {
  for (const name of [
    'present.0.key',
    'present_0',
    'present',
    'updated_key_cache.0',
    'present_key_self_1',
    'new_kv_cache',
    'present_conv.0',
  ])
    expect(isPresent(name), name).toBe(true);
  for (const name of ['logits', 'last_hidden_state', 'hidden_states.0', 'output_value', 'present_count', 'next_token'])
    expect(isPresent(name), name).toBe(false);
});

it('masks', () => {
  for (const name of ['attention_mask', 'input_mask', 'attentionMask', 'encoder_attention_mask'])
    expect(isMaskName(name), name).toBe(true);
  for (const name of ['mask', 'mask_token', 'causal_mask', 'attention']) expect(isMaskName(name), name).toBe(false);
});
