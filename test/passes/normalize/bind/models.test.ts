/** Real decoders with caches: bound, they compute what the source computes from empty caches. */
import { Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { parseFile } from '../../../../src/parser/index.ts';
import { bindInputs } from '../../../../src/passes/normalize/bind/index.ts';
import { normalize } from '../../../../src/passes/normalize/index.ts';
import { compute, expectSame } from '../../../support/compute.ts';
import { describeShared, sharedPath } from '../../../support/sharedMaterial.ts';

const ints = (dims: readonly number[], values: readonly number[]): Tensor =>
  new Tensor('int64', BigInt64Array.from(values, BigInt), dims);
const zeros = (type: 'float32' | 'float16', dims: readonly number[]): Tensor => {
  const size = dims.reduce((n, d) => n * d, 1);
  return type === 'float32'
    ? new Tensor(type, new Float32Array(size), dims)
    : new Tensor(type, new Uint16Array(size), dims);
};
const each = (names: readonly string[], make: () => Tensor): Record<string, Tensor> =>
  Object.fromEntries(names.map((name) => [name, make()]));

const mask = [1, 1, 1, 1, 1, 1, 0, 0];
const input_ids = ints([2, 4], [1, 2, 3, 4, 5, 6, 0, 0]);
const subjects = [
  {
    name: 'tiny_llama_fp16',
    file: 'models/dec_tiny_llama_fp16_extdata/model.onnx',
    fed: { input_ids, attention_mask: ints([2, 4], mask) },
    rest: {
      position_ids: ints([2, 4], [0, 1, 2, 3, 0, 1, 1, 1]),
      ...each(
        ['0.key', '0.value', '1.key', '1.value'].map((n) => `past_key_values.${n}`),
        () => zeros('float16', [2, 1, 0, 16]),
      ),
    },
  },
  {
    name: 'static_kv',
    file: 'models/dec_static_kv_opset24_std_attention.onnx',
    fed: { input_ids },
    rest: {
      position_ids: ints([2, 4], [0, 1, 2, 3, 0, 1, 2, 3]),
      ...each(['key_cache.0', 'value_cache.0', 'key_cache.1', 'value_cache.1'], () => zeros('float32', [2, 16, 32])),
      write_indices: ints([2], [0, 0]),
      nonpad_kv_seqlen: ints([2], [4, 4]),
    },
  },
];

const needs = subjects.map((s) => s.file);
describeShared('decoders with caches', needs, () => {
  it.each(subjects)('$name', async ({ file, fed, rest }) => {
    const { model, source } = parseFile(sharedPath(file));
    try {
      normalize(model, { bind: (m) => bindInputs(m, new Map(), undefined) });
      expect(model.graph.inputs.map((v) => v.name)).toEqual(Object.keys(fed));
      expect(model.graph.outputs.map((v) => v.name)).toEqual(['logits']);
      const before = await compute(sharedPath(file), { feeds: { ...fed, ...rest } });
      expectSame(await compute(model, { feeds: fed }), new Map([...before].filter(([name]) => name === 'logits')));
    } finally {
      source.close();
    }
  });
});
