/** What inputs are bound to, run on ONNX Runtime. */
import { Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import type { Model } from '../../../../src/graph/model.ts';
import { tensorOf } from '../../../../src/graph/tensor.ts';
import { parseText } from '../../../../src/parser/index.ts';
import { type Binding, type Bindings, bindInputs, type Wanted } from '../../../../src/passes/normalize/bind/index.ts';
import { normalize } from '../../../../src/passes/normalize/index.ts';
import { coded } from '../../../support/coded.ts';
import { compute, expectSame, type Outputs } from '../../../support/compute.ts';

function bound(text: string, wanted: Wanted = new Map(), asked?: string): { model: Model; bindings: Bindings } {
  const model = parseText(text);
  const found: Bindings[] = [];
  normalize(model, { bind: (m) => found.push(bindInputs(m, wanted, asked)) });
  const [bindings] = found;
  if (bindings === undefined) throw new Error('nothing was bound');
  return { model, bindings };
}

const ints = (dims: readonly number[], values: readonly number[]): Tensor =>
  new Tensor('int64', BigInt64Array.from(values, BigInt), dims);
const tokens = { input_ids: ints([2, 3], [1, 2, 3, 4, 5, 0]) };
const head = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>';
/** A graph that hands every input on. */
const passing = (...inputs: string[]): string =>
  `${head} g (int64[N,S] input_ids, ${inputs.join(', ')}) => (${inputs
    .map((_, i) => `out${i}`)
    .map((n, i) => `${inputs[i]?.split(' ')[0]} ${n}`)
    .join(', ')})
   { ${inputs.map((v, i) => `out${i} = Identity (${v.split(' ').slice(1).join(' ')})`).join(' ')} }`;
const numbers = (outputs: Outputs): unknown[] =>
  [...outputs.values()].map(({ dims, data }) => [dims, Array.from(data, Number)]);

describe('numbers about the sequence', () => {
  const cache = 'float[N,2,P,4] "past_key_values.0.key"';

  it('count all tokens where there is no mask', async () => {
    const text = passing(
      'int32[N] seqlens_k',
      'int32[M] total_sequence_length',
      'int64 past_sequence_length',
      'int64[N] write_indices',
      'int64[N] nonpad_kv_seqlen',
      'int64[S] cache_position',
      'int64[N,S] position_ids',
      'bool[1] use_cache_branch',
      'int64 num_logits_to_keep',
      cache,
    );
    const { model, bindings } = bound(text);
    expect(model.graph.inputs.map((v) => v.name)).toEqual(['input_ids']);
    expect(bindings.bound).toHaveLength(10);
    expect(bindings.bound.map((b) => b.value).slice(0, 2)).toEqual([
      'length of "input_ids" minus 1',
      'length of "input_ids"',
    ]);
    const outputs = await compute(model, { feeds: tokens });
    expect(numbers(outputs)).toEqual([
      [[2], [2, 2]],
      [[1], [3]],
      [[], [0]],
      [[2], [0, 0]],
      [[2], [3, 3]],
      [[3], [0, 1, 2]],
      [
        [2, 3],
        [0, 1, 2, 0, 1, 2],
      ],
      [[1], [0]],
      [[], [0]],
    ]);
    expect([...outputs.values()].map((t) => t.type)).toEqual([
      'int32',
      'int32',
      'int64',
      'int64',
      'int64',
      'int64',
      'int64',
      'bool',
      'int64',
    ]);
  });

  it('count what the mask counts', async () => {
    const text = passing(
      'int64[N,T] attention_mask',
      'int32[N,1] seqlens_k',
      'int64[N] nonpad_kv_seqlen',
      'int32[N,S] position_ids',
      cache,
    );
    const { model, bindings } = bound(text);
    expect(model.graph.inputs.map((v) => `${v.name} ${v.shape}`)).toEqual(['input_ids N,S', 'attention_mask N,S']);
    expect(bindings.tokens).toBe('input_ids');
    const attention_mask = ints([2, 3], [1, 1, 0, 0, 1, 1]);
    expect(numbers(await compute(model, { feeds: { ...tokens, attention_mask } })).slice(1)).toEqual([
      [
        [2, 1],
        [1, 1],
      ],
      [[2], [2, 2]],
      [
        [2, 3],
        [0, 1, 1, 1, 0, 1],
      ],
    ]);
  });

  it('positions stay an input of a model without a cache; data may leave them out', () => {
    const { model, bindings } = bound(
      passing('int64[N,S] position_ids', 'int64[N,S] token_type_ids', 'int64[N,S] attention_mask'),
    );
    expect(model.graph.inputs).toHaveLength(4);
    expect([...bindings.absent]).toEqual([
      ['position_ids', { value: 'positions', like: 'input_ids' }],
      ['token_type_ids', { value: 'zeros', like: 'input_ids' }],
      ['attention_mask', { value: 'ones', like: 'input_ids' }],
    ]);
  });

  it("an encoder's mask goes with what it masks", () => {
    const { bindings } = bound(
      passing(
        'float[N,E,4] encoder_hidden_states',
        'int64[N,E] encoder_attention_mask',
        'int64[N,X] image_attention_mask',
      ),
    );
    expect([...bindings.absent]).toEqual([
      ['encoder_attention_mask', { value: 'ones', like: 'encoder_hidden_states' }],
    ]);
  });
});

describe('where the length of a cache lies', () => {
  const cases: readonly [string, string, string, number[]][] = [
    ['the axis of a Concat', 'float[N,P,2,4] past_key_0', 't = Concat <axis = 1> (past_key_0, new)', [2, 0, 2, 4]],
    [
      'behind a Transpose',
      'float[N,P,2,4] past_key_0',
      'c = Transpose <perm = [0, 2, 1, 3]> (past_key_0) n = Transpose <perm = [0, 2, 1, 3]> (new) t = Concat <axis = 2> (c, n)',
      [2, 0, 2, 4],
    ],
    [
      'keys and values stacked',
      'float[2,N,2,P,4] past_0',
      'k = Gather <axis = 0> (past_0, zero) n = Transpose <perm = [0, 2, 1, 3]> (new) t = Concat <axis = 2> (k, n)',
      [2, 2, 2, 0, 4],
    ],
    [
      'lengths from what it is joined with',
      'float[?,?,?,?] past_key_0',
      't = Concat <axis = 1> (past_key_0, new)',
      [2, 0, 2, 4],
    ],
    [
      'a cast first',
      'float16[N,P,2,4] past_key_0',
      'c = Cast <to = 1> (past_key_0) t = Concat <axis = 1> (c, new)',
      [2, 0, 2, 4],
    ],
  ];

  it.each(cases)('%s', async (_, input, nodes, dims) => {
    const name = input.split(' ')[1];
    const text = `${head} g (int64[N,S] input_ids, ${input}) => (float[?,?,?,?] present, int64[R] seen)
      <int64 zero = {0}, float[6,2,4] table = {${Array.from({ length: 48 }, (_, i) => i).join(', ')}}>
      { new = Gather (table, input_ids) ${nodes} present = Identity (t) seen = Shape (${name}) }`;
    const { model, bindings } = bound(text, new Map(), 'present');
    expect(bindings.bound).toMatchObject([{ name, value: 'length 0' }]);
    const outputs = await compute(model, { feeds: tokens });
    expect(Array.from(outputs.get('seen')?.data ?? [], Number)).toEqual(dims);
    expect(outputs.get('present')?.data).toHaveLength(48);
  });

  it.each([
    ['float[N,2,8,4] past_key_0', 'y = Concat <axis = 2> (past_key_0, new)', 'past_key_0', '8 earlier tokens'],
    [
      'float[A,B,C,4] past_key_0',
      'a = Concat <axis = 1> (past_key_0, new) b = Concat <axis = 2> (past_key_0, new) y = Add (a, b)',
      'past_key_0',
      'the sequence axis is 1 or 2',
    ],
    ['float[A,B,C] past_key_0', 'y = Relu (past_key_0)', 'past_key_0', 'none of its axes'],
    ['float[N,H,P,D] past_key_0', 'y = Relu (past_key_0)', 'past_key_0', 'axis 1'],
  ])('is refused where nobody says it: %s, %s', (input, nodes, name, reason) => {
    const text = `${head} g (int64[N,S] input_ids, ${input}, float[N,2,1,4] new) => (float[?,?,?,?] y) { ${nodes} }`;
    expect(() => bound(text)).toThrow(expect.toSatisfy(coded('CACHE_UNCLEAR', name, reason)));
    expect(bound(text, new Map([[name, 'input']])).model.graph.inputs.map((v) => v.name)).toContain(name);
  });
});

describe('attention operators without a past', () => {
  const k = 'float[N,S,16] k, float[N,S,16] v';
  const past = 'float[N,2,P,8] past_key_0, float[N,2,P,8] past_value_0';
  const empty = Object.fromEntries(
    ['past_key_0', 'past_value_0'].map((n) => [n, new Tensor('float32', new Float32Array(), [2, 2, 0, 8])]),
  );

  it.each([
    [
      'Attention',
      '',
      `int64[N,S] input_ids, float[N,S,16] q, ${k}, ${past}`,
      'Attention <q_num_heads = 2, kv_num_heads = 2, is_causal = 1> (q, k, v, , past_key_0, past_value_0)',
      23,
      {},
    ],
    [
      'MultiHeadAttention',
      'com.microsoft.',
      `int64[N,S] input_ids, float[N,S,16] q, ${k}, ${past}`,
      'com.microsoft.MultiHeadAttention <num_heads = 2, unidirectional = 1> (q, k, v, , , , past_key_0, past_value_0)',
      21,
      {},
    ],
    [
      'GroupQueryAttention',
      'com.microsoft.',
      `int64[N,S] input_ids, float[N,S,32] q, ${k}, ${past}, int32[N] seqlens_k, int32 total_sequence_length`,
      'com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2> (q, k, v, past_key_0, past_value_0, seqlens_k, total_sequence_length)',
      21,
      {
        seqlens_k: new Tensor('int32', Int32Array.of(2, 2), [2]),
        total_sequence_length: new Tensor('int32', Int32Array.of(3), []),
      },
    ],
  ])('%s computes what it computes from an empty one', async (op, _, inputs, call, opset, lengths) => {
    const text = `<ir_version: 10, opset_import: ["" : ${opset}, "com.microsoft" : 1]> g (${inputs}) => (float[N,S,C] y, float[N,2,T,8] present_key_0, float[N,2,T,8] present_value_0)
      { y, present_key_0, present_value_0 = ${call} }`;
    const { model } = bound(text);
    const [node] = model.graph.nodes.filter((n) => n.op === op);
    expect(node?.inputs.some((v) => v?.name.startsWith('past'))).toBe(false);
    expect(model.graph.outputs.map((v) => v.name)).toEqual(['y']);
    const options = { sizes: { N: 2, S: 3 }, seed: 3 };
    const before = await compute(parseText(text), { ...options, feeds: { ...empty, ...lengths } });
    expectSame(await compute(model, options), new Map([...before].filter(([name]) => name === 'y')));
  });
});

describe('--bind', () => {
  const text = passing('float[N,S,2] extra', 'float[N,E,2] encoder', 'float[4] scale', 'int32[N,S] kinds');
  const file = (dtype: 'float32' | 'int64' | 'float64', dims: number[], values: number[]) => ({
    file: 'x.npz',
    tensor: tensorOf(dtype, dims, values),
  });

  it('zeros, ones, a length of 0, a file', async () => {
    const { model, bindings } = bound(
      text,
      new Map<string, Binding>([
        ['extra', 'ones'],
        ['encoder', 'empty'],
        ['scale', file('float64', [4], [1, 2, 3, 4])],
        ['kinds', file('int64', [1, 3], [7, 8, 9])],
      ]),
    );
    expect(bindings.bound.map(({ name, value }) => `${name}: ${value}`)).toEqual([
      'extra: ones',
      'encoder: length 0',
      'scale: x.npz',
      'kinds: x.npz',
    ]);
    // The file has three columns, so the sequence has three tokens.
    expect(model.graph.inputs.map((v) => v.shape)).toEqual([['N', 3]]);
    expect(numbers(await compute(model, { feeds: tokens }))).toEqual([
      [[2, 3, 2], new Array(12).fill(1)],
      [[2, 0, 2], []],
      [[4], [1, 2, 3, 4]],
      [
        [2, 3],
        [7, 8, 9, 7, 8, 9],
      ],
    ]);
  });

  it.each([
    [['extras', 'zeros'], 'no input "extras", did you mean "extra"'],
    [['encoder', 'zeros'], 'dims of [N, E, 2]'],
    [['scale', 'empty'], '[4] has no open axis'],
    [['scale', file('float32', [3], [1, 2, 3])], 'shape [3], not [4]'],
    [['scale', file('float32', [1, 4], [1, 2, 3, 4])], 'shape [1, 4], not [4]'],
    [['kinds', file('float32', [1, 1], [1])], 'float32 values, but the input is int32'],
    [['kinds', file('int64', [1, 1], [2 ** 40])], 'out of range'],
  ] as const)('%j is refused', ([name, binding], reason) => {
    expect(() => bound(text, new Map([[name, binding]]))).toThrow(expect.toSatisfy(coded('BAD_OPTION', reason)));
  });
});
