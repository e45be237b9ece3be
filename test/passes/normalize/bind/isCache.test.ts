import { describe, expect, it } from 'vitest';
import { parseText } from '../../../../src/parser/parseText.ts';
import { cachesAmong } from '../../../../src/passes/normalize/bind/isCache.ts';

const caches = (inputs: string, nodes: string, outputs = 'float[N, S, 4] y'): string[] => {
  const { graph } = parseText(`<ir_version: 8, opset_import: ["" : 17]>
g (${inputs}) => (${outputs})
<float[4, 4] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}>
{
  ${nodes}
}`);
  return cachesAmong(graph.inputs, graph).map((v) => v.name);
};

describe('an input is not a cache', () => {
  it('if it is the only data', () => {
    expect(caches('float[N, S, 4] past_values', 'y = MatMul (past_values, w)')).toEqual([]);
    const masked = 'a = Mul (past_values, past_observed_mask)\n y = MatMul (a, w)';
    expect(caches('float[N, S, 4] past_values, float[N, S, 4] past_observed_mask', masked)).toEqual([]);
    expect(caches('float[N, S, 4] past_key_values', 'y = MatMul (past_key_values, w)')).toEqual([]);
  });

  it('if other data is appended to it, as in a forecasting model', () => {
    const series = 'a = Concat <axis = 1> (past_values, future_values)\n y = MatMul (a, w)';
    expect(caches('float[N, P, 4] past_values, float[N, F, 4] future_values', series)).toEqual([]);
    const features =
      'a = Add (past_values, past_time_features)\n b = MatMul (a, w)\n y = Add (b, future_time_features)';
    const inputs = 'float[N, S, 4] past_values, float[N, S, 4] past_time_features, float[N, S, 4] future_time_features';
    expect(caches(inputs, features)).toEqual([]);
  });
});

describe('an input is a cache', () => {
  const tokens = 'float[N, S, 4] inputs_embeds';
  it('if only a cache has its name', () => {
    const add = (name: string): string => `a = MatMul (inputs_embeds, w)\n y = Add (a, ${name})`;
    for (const name of ['past_key_values', 'past_0', 'cache_k', 'past_conv'])
      expect(caches(`${tokens}, float[N, S, 4] ${name}`, add(name))).toEqual([name]);
  });

  it('if it stands beside the keys', () => {
    const nodes = 'a = MatMul (inputs_embeds, w)\n b = Add (a, past_key)\n y = Add (b, past_value)';
    expect(caches(`${tokens}, float[N, S, 4] past_key, float[N, S, 4] past_value`, nodes)).toEqual([
      'past_key',
      'past_value',
    ]);
  });

  it('if what a layer computes is appended to it', () => {
    const nodes =
      'a = MatMul (inputs_embeds, w)\n b = Transpose <perm = [0, 1, 2]> (past_values)\n y = Concat <axis = 1> (b, a)';
    expect(caches(`${tokens}, float[N, P, 4] past_values`, nodes)).toEqual(['past_values']);
  });

  it('if an output returns it', () => {
    const nodes = 'a = MatMul (inputs_embeds, w)\n y = Add (a, past_values)\n present_values = Identity (y)';
    const outputs = 'float[N, S, 4] y, float[N, S, 4] present_values';
    expect(caches(`${tokens}, float[N, S, 4] past_values`, nodes, outputs)).toEqual(['past_values']);
  });
});
