/**
 * Activations in half precision: masks of attention, which are written with the least float32, which no half type holds;
 * and gradients that compare values.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { type CompileOptions, resolveOptions } from '../../../src/compile/options.ts';
import { encodeModel } from '../../../src/emit/index.ts';
import { parseText } from '../../../src/parser/index.ts';
import { runnable } from '../../support/halfTypes.ts';

const least = -3.4028234663852886e38;
const keys = 20;
const wave = (count: number, step: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.sin(1 + step * i) / 2);

/** Attention with one head over x [1, 20, 4]; `mask` is a constant or an input of [20, 20]. */
const attention = (mask: readonly number[] | undefined): string => `<ir_version: 8, opset_import: ["": 17]>
  attention (float[1,${keys},4] x${mask ? '' : `, float[${keys},${keys}] mask`}) => (float[1,${keys},2] y)
  <float[4,4] wq = {${wave(16, 3)}}, float[4,4] wk = {${wave(16, 5)}}, float[4,2] wo = {${wave(8, 7)}}
  ${mask ? `, float[${keys},${keys}] mask = {${mask}}` : ''}> {
    q = MatMul (x, wq)
    k = MatMul (x, wk)
    t = Transpose <perm = [0, 2, 1]> (k)
    s = MatMul (q, t)
    hidden = Add (s, mask)
    p = Softmax (hidden)
    o = MatMul (p, x)
    y = MatMul (o, wo)
  }`;

interface Measured {
  readonly loss: number;
  readonly size: number;
}

/** The loss and the length of the gradient that the CPU provider computes. */
async function gradientOf(
  text: string,
  inputs: Readonly<Record<string, Tensor>>,
  options: CompileOptions,
): Promise<Measured> {
  const { graphs, layout } = compileModel(
    parseText(text),
    resolveOptions({ rank: 2, loss: 'mse', emit: ['grad'], ...options }),
  );
  const graph = graphs.get('grad');
  if (graph === undefined) throw new Error('no graph');
  const session = await InferenceSession.create(encodeModel(runnable(graph)), { logSeverityLevel: 3 });
  const all: Record<string, Tensor> = {
    ...inputs,
    lora_params: float(wave(layout.size, 0.1), [layout.size]),
    lora_loss_scale: float([1], []),
  };
  const found = await session.run(Object.fromEntries(session.inputNames.map((n) => [n, all[n] ?? float([0], [])])));
  await session.release();
  const { data } = found.lora_grad ?? {};
  if (!(data instanceof Float32Array)) throw new Error('no gradient');
  return { loss: Number(found.loss?.data[0]), size: Math.hypot(...data) };
}

const float = (data: readonly number[], dims: readonly number[]): Tensor => new Tensor('float32', data, dims);

const measured = (mask: readonly number[], form: 'constant' | 'input', options: CompileOptions): Promise<Measured> => {
  const inputs = {
    x: float(wave(4 * keys, 11), [1, keys, 4]),
    mask: float(mask, [keys, keys]),
    labels: float(wave(2 * keys, 13), [1, keys, 2]),
  };
  return gradientOf(attention(form === 'constant' ? mask : undefined), inputs, options);
};

/** Some roundings of 2^-8, or 2^-11, behind one another. */
const within = { bf16: 0.05, fp16: 0.01 } as const;

const causal = Array.from({ length: keys * keys }, (_, i) => (i % keys > Math.floor(i / keys) ? least : 0));
/** The first rows see nothing, as in a batch that is padded on the left. */
const padded = causal.map((x, i) => (i % keys < 3 ? least : x));

describe.each(['constant', 'input'] as const)('a mask that is %s', (form) => {
  it.each(['fp16', 'bf16'] as const)(
    '%s: the loss and the gradient are those of float32, but for roundings',
    async (precision) => {
      const exact = await measured(causal, form, {});
      const half = await measured(causal, form, { precision, for: 'cuda' });
      expect(Math.abs(half.loss / exact.loss - 1)).toBeLessThan(within[precision]);
      expect(Math.abs(half.size / exact.size - 1)).toBeLessThan(within[precision]);
    },
  );

  it.each(['fp16', 'bf16'] as const)('%s: a row that sees nothing has a finite softmax', async (precision) => {
    const { loss, size } = await measured(padded, form, { precision, for: 'cuda' });
    expect(loss).toBeLessThan(100);
    expect(size).toBeLessThan(1000);
  });
});

// The gradient of these compares a result with its operands: both must have been rounded.
describe.each([
  ['Max', 'h = Max (n, third, m)'],
  ['Min', 'h = Min (m, third, n)'],
  ['ReduceMax', 'r = ReduceMax <axes = [1]> (n) h = Sub (m, r)'],
  ['ReduceMin', 'r = ReduceMin <axes = [1]> (n) h = Mul (m, r)'],
])('%s of rounded operands', (_, nodes) => {
  const text = `<ir_version: 8, opset_import: ["": 17]>
  extremes (float[6,4] x) => (float[6,2] y)
  <float[4,4] w = {${wave(16, 3)}}, float[4,2] v = {${wave(8, 7)}}, float third = {0.3333333}> {
    a = MatMul (x, w)
    m = Mul (a, third)
    n = Identity (m)
    ${nodes}
    y = MatMul (h, v)
  }`;
  // Rows of zeros make all entries equal.
  const rows = wave(24, 11).map((x, i) => (i % 12 < 4 ? 0 : x));
  const inputs = { x: float(rows, [6, 4]), labels: float(wave(12, 13), [6, 2]) };

  it.each(['fp16', 'bf16'] as const)('%s: a graph for CUDA gives on the CPU what float32 gives', async (precision) => {
    const exact = await gradientOf(text, inputs, {});
    const half = await gradientOf(text, inputs, { precision, for: 'cuda' });
    expect(exact.size).toBeGreaterThan(0.01);
    expect(Math.abs(half.loss / exact.loss - 1)).toBeLessThan(within[precision]);
    expect(Math.abs(half.size / exact.size - 1)).toBeLessThan(within[precision]);
  });
});
