import { describe, expect, it } from 'vitest';
import { printModel } from '../../../src/emit/index.ts';
import { LoraifyError } from '../../../src/errors.ts';
import type { Model } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/index.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { roundWeights } from '../../../src/passes/precision/halfWeights.ts';
import { floats, run } from '../../support/executeGraphs.ts';
import { randomFeeds } from '../../support/graphFeeds.ts';

const head = '<ir_version: 8, opset_import: ["" : 18]>';
const matrix = 'float[2,2] w = {0.1, 1.00048828125, -3, 70}';

/** Stores the weights of a model given as text, and runs it before and after. */
async function stored(text: string, type: 'float16' | 'bfloat16' = 'float16') {
  const model = parseText(`${head} ${text}`);
  const before = await run(parseText(`${head} ${text}`), randomFeeds(model.graph.inputs));
  const result = roundWeights(model, type);
  verify(model);
  const after = await run(model, randomFeeds(model.graph.inputs));
  return { model, result, before: floats(before.y), after: floats(after.y) };
}

const types = (model: Model): Record<string, string | undefined> =>
  Object.fromEntries(model.graph.initializers.map((v) => [v.name, v.dtype]));

describe('weights in half precision', () => {
  it('are those of MatMuls, convolutions and embeddings; vectors and other constants stay', async () => {
    const { model, result, before, after } = await stored(`main (float[N,2] x, int64[N] i) => (float[N,2] y)
      <${matrix}, float[2] b = {0.1, 0.2}, float[2,2] add = {0.1, 0.2, 0.3, 0.4}, float[3,2] table = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6},
       float[2,1,1] k = {0.1, 0.3}, int64[1] last = {2}>
      { a = Gemm <transB: int = 1> (x, w, b)  e = Gather (table, i)  s = Add (a, e)  u = Unsqueeze (s, last)
        c = Conv <group: int = 2> (u, k)  d = Squeeze (c, last)  m = MatMul (add, add)  r = ReduceSum <keepdims: int = 0> (m)  y = Add (d, r) }`);
    expect(types(model)).toEqual({
      w: 'float16',
      b: 'float32',
      add: 'float32',
      table: 'float16',
      k: 'float16',
      last: 'int64',
    });
    expect(result).toEqual({ type: 'float16', weights: 3, bytes: 24, sourceBytes: 48 });
    // Roundings of 2^-11, summed over two.
    after.forEach((x, i) => {
      expect(Math.abs(x - (before[i] ?? 0))).toBeLessThan(0.1);
    });
    expect(after).not.toEqual(before);
  });

  it('are read as float32 by whoever else reads them, and rows of a shared table are picked before they are cast', () => {
    const model = parseText(`${head} main (int64[N] i) => (float[N,3] y)
      <float[3,2] table = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6}>
      { e = Gather (table, i)  t = Transpose (table)  n = ReduceMax <keepdims: int = 0> (table)  p = MatMul (e, t)  y = Div (p, n) }`);
    roundWeights(model, 'bfloat16');
    expect(
      printModel(model, { comments: false }).split('{\n').at(-1),
    ).toBe(`   ["table.float32"] "table.float32" = Cast <to: int = 1> (table)
   "e.bfloat16" = Gather (table, i)
   [e] e = Cast <to: int = 1> ("e.bfloat16")
   t = Transpose ("table.float32")
   n = ReduceMax <keepdims: int = 0> ("table.float32")
   p = MatMul (e, t)
   y = Div (p, n)
}
`);
  });

  it('leave the frequencies of a rotary embedding alone', () => {
    const model = parseText(`${head} main (float[N,2] x, float[N,1,S] position) => (float[N,2] y, float[N,2,S] angles)
      <${matrix}, float[1,2,1] frequencies = {1, 0.01}> { y = MatMul (x, w)  angles = MatMul (frequencies, position) }`);
    roundWeights(model, 'bfloat16');
    expect(types(model)).toEqual({ w: 'bfloat16', frequencies: 'float32' });
  });

  it('may stand in bodies and functions, as initializers and as Constant nodes', async () => {
    const { model, result, before, after } = await stored(`main (float[N,2] x, bool c) => (float[N,2] y)
      <${matrix}>
      { v = Constant <value: tensor = float[2,2] {0.1, 0.7, 0.3, 0.9}> ()
        y = If (c) <then_branch: graph = a () => (float[N,2] p) <float[2,2] own = {1, 0.1, 0.2, 1}> { q = MatMul (x, w) r = MatMul (q, own) p = MatMul (r, v) },
                    else_branch: graph = b () => (float[N,2] q) { q = Identity (x) }> }`);
    expect(result?.weights).toBe(3);
    expect([...model.graph.allNodes()].filter((n) => n.op === 'Cast')).toHaveLength(3);
    expect(Math.hypot(...after.map((x, i) => x - (before[i] ?? 0))) / Math.hypot(...before)).toBeLessThan(2 ** -9);
    expect(after).not.toEqual(before);
  });

  it('stay what they are where a user may replace them, or read them as an output', () => {
    const model = parseText(`${head} main (float[N,2] x, float[2,2] given) => (float[N,2] y, float[2,2] out)
      <float[2,2] given = {1, 2, 3, 4}, float[2,2] out = {1, 2, 3, 4}, ${matrix}>
      { a = MatMul (x, given)  b = MatMul (a, out)  y = MatMul (b, w) }`);
    roundWeights(model, 'float16');
    expect(types(model)).toMatchObject({ out: 'float32', w: 'float16' });
    expect(model.graph.inputs.map((v) => v.dtype)).toEqual(['float32', 'float32']);
  });

  it.each([
    ['float16[2,2] w = {0, 15360, 15360, 0}', 'float16[N,2]', 'bfloat16', /its weights are float16 already/],
    [
      'double[2,2] w = {0, 1, 1, 0}',
      'double[N,2]',
      'float16',
      /no weight can be rounded to float16: those of MatMuls.*are float64/,
    ],
  ] as const)('are refused for %s', (weight, type, wanted, words) => {
    const model = parseText(`${head} main (${type} x) => (${type} y) <${weight}> { y = MatMul (x, w) }`);
    expect(() => roundWeights(model, wanted)).toThrow(LoraifyError);
    expect(() => roundWeights(model, wanted)).toThrow(words);
    if (type === 'float16[N,2]') expect(roundWeights(model, 'float16')).toBeUndefined();
  });

  it('are refused where all are inputs, and as bfloat16 where the opset has none', () => {
    const inputs =
      parseText(`<ir_version: 3, opset_import: ["" : 9]> main (float[N,2] x, float[2,2] w) => (float[N,2] y)
      <${matrix}> { y = MatMul (x, w) }`);
    expect(() => roundWeights(inputs, 'float16')).toThrow(/they are inputs or outputs of the model/);
    const old = parseText(`<ir_version: 4, opset_import: ["" : 12]> main (float[N,2] x) => (float[N,2] y)
      <${matrix}> { y = MatMul (x, w) }`);
    expect(() => roundWeights(old, 'bfloat16')).toThrow('opset 12 of the model has no bfloat16');
    expect(roundWeights(old, 'float16')?.weights).toBe(1);
  });
});
