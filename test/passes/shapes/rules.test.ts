/** Cases by operator with static, symbolic and unknown lengths, where ONNX Runtime says nothing or has no kernel. */
import { describe, expect, it } from 'vitest';
import { type Builder, createBuilder } from '../../../src/graph/builder.ts';
import { type Dim, tensorType, Value } from '../../../src/graph/model.ts';
import { type DataType, tensorOf } from '../../../src/graph/tensor.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';

const g = createBuilder(inferNode);
type Dims = readonly Dim[] | undefined;
const typed =
  (dtype: DataType) =>
  (...dims: Dim[]): Value =>
    new Value('x', tensorType(dtype, dims));
const [x, i64, u8, bool] = [typed('float32'), typed('int64'), typed('uint8'), typed('bool')];
const any = new Value('any');
const noRank = new Value('x', tensorType('float32', undefined));
const shapes = (values: readonly Value[]): Dims[] => values.map((v) => v.shape);
const ms = (b: Builder, op: string, inputs: readonly (Value | undefined)[], attrs = {}, outputs = 1): Dims[] =>
  shapes(b.node({ op, domain: 'com.microsoft', inputs, attrs, outputs }));

type Row = readonly [name: string, got: () => Value, want: Dims];
const rows: readonly Row[] = [
  ['Add', () => g.Add(x('N', 1, 4), x('S', 4)), ['N', 'S', 4]],
  ['Add of different symbols', () => g.Add(x('N'), x('M')), [null]],
  ['Add of an unknown length', () => g.Add(x('N', null), x('N', 4)), ['N', 4]],
  ['Add of an unknown rank', () => g.Add(x('N'), noRank), undefined],
  ['MatMul', () => g.MatMul(x('N', 12, 'S', 64), x('N', 12, 64, 'T')), ['N', 12, 'S', 'T']],
  ['MatMul of vectors', () => g.MatMul(x('K'), x('K')), []],
  ['MatMul of unknown rank', () => g.MatMul(noRank, x(3, 4)), undefined],
  ['Gemm', () => g.Gemm(x('K', 'N'), x(5, 'K'), undefined, { transA: 1, transB: 1 }), ['N', 5]],
  ['Gemm of unknown rank', () => g.Gemm(noRank, x('K', 5)), [null, 5]],
  ['Einsum', () => g.Einsum([x('N', 'S', 8), x(8, 'H')], { equation: 'nsd,dh->nsh' }), ['N', 'S', 'H']],
  ['Einsum with an ellipsis', () => g.Einsum([x('N', 'S', 8), x(8, 4)], { equation: '...d,de' }), ['N', 'S', 4]],
  ['Reshape', () => g.Reshape(x('N', 'S', 768), g.ints([0, 0, 12, -1])), ['N', 'S', 12, 64]],
  ['Reshape to rows', () => g.Reshape(x('N', 'S', 768), g.ints([-1, 768])), ['N*S', 768]],
  ['Reshape keeps an unknown length', () => g.Reshape(x(null, 'S', 8), g.ints([0, -1])), [null, '8*S']],
  ['Reshape of an unknown length', () => g.Reshape(x(null, 8), g.ints([-1, 4])), [null, 4]],
  ['Reshape with allowzero', () => g.Reshape(x(0, 8), g.ints([0, 3]), { allowzero: 1 }), [0, 3]],
  ['Reshape to an unknown target', () => g.Reshape(x('N', 8), i64(3)), [null, null, null]],
  ['Reshape to a target of unknown rank', () => g.Reshape(x('N', 8), i64(null)), undefined],
  ['Reshape that rounds', () => g.Reshape(x('N'), g.ints([-1, 2])), ['floor(N/2)', 2]],
  ['Concat', () => g.Concat([x('N', 'P'), x('N', 'S')], { axis: 1 }), ['N', 'P+S']],
  ['Concat fills gaps', () => g.Concat([x(null, 2), x('N', 3)], { axis: -1 }), ['N', 5]],
  ['Concat of an unknown rank', () => g.Concat([x('N', 2), noRank], { axis: 1 }), ['N', null]],
  ['Slice without the last', () => g.Slice(x('N', 'S'), g.ints([0]), g.ints([-1]), g.ints([1])), ['N', 'S-1']],
  ['Slice without the first', () => g.Slice(x('N', 'S'), g.ints([1]), g.ints([2 ** 62]), g.ints([1])), ['N', 'S-1']],
  [
    'Slice of every second',
    () => g.Slice(x('S'), g.ints([0]), g.ints([2 ** 62]), g.ints([0]), g.ints([2])),
    ['floor((S+1)/2)'],
  ],
  ['Slice of the last', () => g.Slice(x('N', 'S'), g.ints([-1]), g.ints([2 ** 62]), g.ints([1])), ['N', 1]],
  ['Slice of unknown bounds', () => g.Slice(x('N', 'S'), i64(1), i64(1), g.ints([1])), ['N', null]],
  ['Slice of unknown axes', () => g.Slice(x('N', 'S'), i64(1), i64(1), i64(1)), [null, null]],
  ['Slice of a table', () => g.Slice(x(512), g.ints([0]), g.Shape(x('S')), g.ints([0])), ['min(512,S)']],
  [
    'a table beside its sequence',
    () => g.Add(x('N', 'S'), g.Slice(x(1, 512), g.ints([0]), g.Shape(x('S')), g.ints([1]))),
    ['N', 'S'],
  ],
  ['Gather', () => g.Gather(x(50, 8), i64('N', 'S')), ['N', 'S', 8]],
  ['GatherND', () => g.GatherND(x('N', 'S', 8), i64('N', 'K', 1), { batch_dims: 1 }), ['N', 'K', 8]],
  ['Squeeze', () => g.Squeeze(x('N', 1), g.ints([1])), ['N']],
  ['Squeeze of all', () => g.Squeeze(x('N', 1)), undefined],
  ['Squeeze of unknown axes', () => g.Squeeze(x('N', 1, 3), i64(1)), [null, null]],
  ['Unsqueeze', () => g.Unsqueeze(x('N'), g.ints([0, -1])), [1, 'N', 1]],
  ['Expand', () => g.Expand(x(1, 4), g.Concat([g.Shape(x('N'), { end: 1 }), g.ints([4])], { axis: 0 })), ['N', 4]],
  ['Transpose of unknown rank', () => g.Transpose(noRank, { perm: [1, 0] }), [null, null]],
  ['Tile', () => g.Tile(x('N', 3), g.ints([2, 2])), ['2*N', 6]],
  ['Split', () => g.Split(x('N', 12), undefined, { axis: 1, num_outputs: 1 }), ['N', 12]],
  ['ReduceSum', () => g.ReduceSum(x('N', 'S', 4), g.ints([-1])), ['N', 'S', 1]],
  ['ReduceSum of axes from elsewhere', () => g.ReduceSum(x('N', 'S'), i64(1), { keepdims: 0 }), [null]],
  ['ReduceSum that keeps unknown axes', () => g.ReduceSum(x('N', 'S'), i64(null)), [null, null]],
  ['ReduceSum of no axes', () => g.ReduceSum(x('N', 4), i64(0), { noop_with_empty_axes: 1 }), ['N', 4]],
  ['ArgMax', () => g.ArgMax(x('N', 'C'), { axis: -1, keepdims: 0 }), ['N']],
  ['TopK', () => g.TopK(x('N', 'C'), g.ints([3])), ['N', 3]],
  ['OneHot', () => g.OneHot(i64('N'), g.int(10), x(2)), ['N', 10]],
  ['Conv', () => g.Conv(x('N', 3, 'H', 'W'), x(8, 3, 3, 3), undefined, { pads: [1, 1, 1, 1] }), ['N', 8, 'H', 'W']],
  [
    'Conv with a stride',
    () => g.Conv(x('N', 3, 'H'), x(8, 3, 3), undefined, { pads: [1, 1], strides: [2] }),
    ['N', 8, 'floor((H+1)/2)'],
  ],
  [
    'a shortcut beside it',
    () => g.Conv(x('N', 3, 'H'), x(8, 3, 1), undefined, { strides: [2] }),
    ['N', 8, 'floor((H+1)/2)'],
  ],
  [
    'MaxPool rounded up',
    () => g.MaxPool(x('N', 3, 'H'), { kernel_shape: [2], strides: [2], ceil_mode: 1 }),
    ['N', 3, 'floor((H+1)/2)'],
  ],
  [
    'MaxPool that may lose a window',
    () => g.MaxPool(x('N', 3, 'H'), { kernel_shape: [2], strides: [3], ceil_mode: 1 }),
    ['N', 3, null],
  ],
  ['ConvTranspose', () => g.ConvTranspose(x('N', 4, 'H'), x(4, 2, 2), undefined, { strides: [2] }), ['N', 2, '2*H']],
  ['GlobalAveragePool', () => g.GlobalAveragePool(x('N', 8, 'H', 'W')), ['N', 8, 1, 1]],
  [
    'Resize',
    () => g.Resize(x('N', 3, 'H', 'W'), undefined, g.constant('float32', [4], [1, 1, 2, 0.5])),
    ['N', 3, '2*H', 'floor(W/2)'],
  ],
  ['Pad', () => g.Pad(x('N', 'S'), g.ints([0, 1, 0, 2])), ['N', 'S+3']],
  ['Range', () => g.Range(g.int(0), g.Gather(g.Shape(x('N', 'S')), g.int(1)), g.int(1)), ['S']],
  [
    'Range over the past',
    () => {
      const [p, s] = [g.Shape(x('P')), g.Shape(x('S'))];
      return g.Range(g.Squeeze(p), g.Squeeze(g.Add(p, s)), g.int(1));
    },
    ['S'],
  ],
  [
    'RNN',
    () => g.RNN(x('S', 'N', 4), x(1, 8, 4), x(1, 8, 8), undefined, undefined, undefined, { hidden_size: 8 }),
    ['S', 1, 'N', 8],
  ],
  ['Dropout', () => g.Dropout(x('N', 4)), ['N', 4]],
  ['CumSum', () => g.CumSum(x('N', 4), g.int(0)), ['N', 4]],
];

describe('shape rules', () => {
  for (const [name, got, want] of rows) it(name, () => expect(got().shape).toEqual(want));

  it('follows shape arithmetic through a split of heads', () => {
    const h = x('N', 'S', 768);
    const [n, s] = [g.Gather(g.Shape(h), g.int(0)), g.Gather(g.Shape(h), g.int(1))];
    const target = g.Concat([g.Unsqueeze(n, g.ints([0])), g.Unsqueeze(s, g.ints([0])), g.ints([12, -1])], { axis: 0 });
    const heads = g.Transpose(g.Reshape(h, target), { perm: [0, 2, 1, 3] });
    expect(heads.shape).toEqual(['N', 12, 'S', 64]);
    const merged = g.Concat(
      [g.Mul(n, s), g.int(-1)].map((v) => g.Unsqueeze(v, g.ints([0]))),
      { axis: 0 },
    );
    expect(g.Reshape(g.Transpose(heads, { perm: [0, 2, 1, 3] }), merged).shape).toEqual(['N*S', 768]);
  });

  it('follows the target that exporters compute for Expand', () => {
    const shape = g.Concat([g.Shape(x('N', 'S')), g.ints([-1])], { axis: 0 });
    const ones = g.ConstantOfShape(g.ints([3]), { value: tensorOf('int64', [1], [1]) });
    const target = g.Where(g.Equal(shape, g.Mul(ones, g.int(-1))), ones, shape);
    expect(target.elements).toEqual(['N', 'S', 1]);
    expect(g.Expand(x(1, 1, 4), target).shape).toEqual(['N', 'S', 4]);
  });

  it('knows types that attributes and operands give', () => {
    expect(g.Cast(x('N'), { to: 10 }).dtype).toBe('float16');
    expect(g.CastLike(any, i64()).dtype).toBe('int64');
    expect(g.Equal(any, any).dtype).toBe('bool');
    expect(g.QuantizeLinear(x('N'), g.float(1), u8()).dtype).toBe('uint8');
    expect(g.QuantizeLinear(x('N'), g.float(1), undefined, { output_dtype: 3 }).dtype).toBe('int8');
    expect(g.DequantizeLinear(u8('N'), g.float(1), u8()).dtype).toBe('float32');
    expect(g.ConstantOfShape(i64(2)).shape).toEqual([null, null]);
    expect(g.Where(bool('N'), any, x(1)).dtype).toBe('float32');
  });

  it('keeps what was declared where that says more', () => {
    const y = new Value('y', tensorType('float32', [2, 'rows']));
    g.within({ origin: 'y' }, () => {
      const n = g.Relu(x('N', null)).producer;
      n?.replaceOutput(0, y);
      if (n !== undefined) inferNode(n);
    });
    expect(y.shape).toEqual([2, 'rows']);
  });

  it('reads Attention with a cache, in three and four axes', () => {
    const [q, k] = [x('N', 8, 'S', 64), x('N', 2, 'T', 64)];
    const past = x('N', 2, 'P', 64);
    const four = g.node({ op: 'Attention', inputs: [q, k, k, undefined, past, past], outputs: 4 });
    const cache = ['N', 2, 'P+T', 64];
    expect(shapes(four)).toEqual([['N', 8, 'S', 64], cache, cache, ['N', 8, 'S', 'P+T']]);
    const three = [x('N', 'S', 512), x('N', 'T', 128), x('N', 'T', 64)];
    const heads = { q_num_heads: 8, kv_num_heads: 2 };
    expect(g.node({ op: 'Attention', inputs: three, attrs: heads, outputs: 1 })[0]?.shape).toEqual(['N', 'S', 256]);
  });

  it('reads contributed attention', () => {
    const q = x('N', 'S', 8);
    const gqa = ms(
      g,
      'GroupQueryAttention',
      [q, x('N', 'S', 4), x('N', 'S', 4), x('N', 1, 'M', 4), x('N', 1, 'M', 4)],
      { num_heads: 2, kv_num_heads: 1 },
      3,
    );
    expect(gqa).toEqual([
      ['N', 'S', 8],
      ['N', 1, null, 4],
      ['N', 1, null, 4],
    ]);
    expect(ms(g, 'MultiHeadAttention', [x('N', 'S', 2, 3, 4)], { num_heads: 2 })).toEqual([['N', 'S', 8]]);
    expect(ms(g, 'Attention', [q, x(8, 24), x(24), undefined, x(2, 'N', 2, 'P', 4)], { num_heads: 2 }, 2)).toEqual([
      ['N', 'S', 8],
      [2, 'N', 2, 'P+S', 4],
    ]);
    expect(ms(g, 'MatMulNBits', [q, u8(16, 1, 4)], { N: 16, K: 8 })).toEqual([['N', 'S', 16]]);
    expect(ms(g, 'FusedMatMul', [x('N', 'K', 3), x('K', 5)], { transA: 1 })).toEqual([['N', 3, 5]]);
    expect(ms(g, 'BiasSoftmax', [x('N', 'S'), x('S')])).toEqual([['N', 'S']]);
  });

  it('reads the adapted product as its base', () => {
    const adapted = (inputs: readonly Value[], attrs = {}): Dims =>
      g.node({ op: 'Adapted', domain: 'loraify', inputs, attrs, outputs: 1 })[0]?.shape;
    const [h, w, a, b] = [x('N', 'S', 8), x(8, 6), x(8, 2), x(2, 6)];
    expect(adapted([h, w, a, b])).toEqual(['N', 'S', 6]);
    expect(adapted([h, x(6, 8), a, b], { transW: 1 })).toEqual(['N', 'S', 6]);
    expect(adapted([x('S', 8), w, a, b, x(6)], { base: 'Gemm' })).toEqual(['S', 6]);
    expect(adapted([x(8, 'S'), x(6, 8), a, b], { base: 'Gemm', transA: 1, transB: 1 })).toEqual(['S', 6]);
    expect(adapted([x('N', 8, 'S'), x(6, 8), a, b], { side: 1 })).toEqual(['N', 6, 'S']);
  });

  it('says nothing about what it does not know', () => {
    const [v] = g.node({ op: 'Mystery', domain: 'org.example', inputs: [x('N')], outputs: 1 });
    expect(v?.type).toBeUndefined();
    expect(g.Relu(any).shape).toBeUndefined();
  });
});
