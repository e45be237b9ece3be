/** The choice of `--loss auto`, against what models of real exporters compute (fixtures/cases/auto-exports/make.py). */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeModel } from '../../../src/emit/index.ts';
import { type InspectOptions, inspect } from '../../../src/index.ts';
import { parseText } from '../../../src/parser/index.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const exported = join(import.meta.dirname, '../../../fixtures/cases/auto-exports');
const expected = z
  .record(z.string(), z.object({ loss: z.string(), classAxis: z.number().optional(), ahead: z.boolean().optional() }))
  .parse(JSON.parse(readFileSync(join(exported, 'expected.json'), 'utf8')));

describe('auto on exported models', () => {
  it.each(Object.entries(expected))('%s', async (name, { loss, classAxis, ahead }) => {
    const found = await inspect(join(exported, `${name}.onnx`), { rank: 1, target: ['/.*/'] });
    expect(found.loss).toMatchObject({ kind: loss, output: 'logits' });
    expect(found.warnings.filter((w) => /could not be decided/.test(w))).toEqual([]);
    if (ahead !== undefined) expect(found.loss.reason.includes('reads later tokens')).toBe(ahead);
    if (classAxis !== undefined) expect(found.loss.reason).toContain(`the classes on axis ${classAxis}`);
  });
});

const scratch = temporaryFolder();
let files = 0;
async function lossOf(text: string, options: InspectOptions = {}) {
  const path = join(scratch, `${files++}.onnx`);
  writeFileSync(path, encodeModel(parseText(text)));
  return inspect(path, { rank: 1, ...options });
}

const head = (opset: number, io: string): string =>
  `<ir_version: 10, opset_import: ["" : ${opset}, "com.microsoft" : 1]> main ${io}`;
const list = (n: number): string => Array.from({ length: n }, (_, i) => ((i % 7) - 3) / 10).join(', ');
const table = `float[12,4] table = {${list(48)}}`;
const weights = `${table}, float[4,4] Wq = {${list(16)}}, float[4,12] Wo = {${list(48)}}`;

/** One attention between a table and logits; `body` computes `y` of `x`. */
const attends = (
  body: string,
  { io = '(int64[N,S] input_ids) => (float[N,S,12] logits)', more = '', opset = 18 } = {},
) =>
  `${head(opset, io)} <${weights}${more}> {
    x = Gather (table, input_ids)
    q = MatMul (x, Wq)
    ${body}
    logits = MatMul (y, Wo)
  }`;
const plain = (mask: string): string =>
  `t = Transpose <perm: ints = [0, 2, 1]> (x) p = MatMul (q, t) ${mask} a = Softmax (s) y = MatMul (a, x)`;

describe('auto and what attention reads', () => {
  const lower = `float[9,9] lower = {${Array.from({ length: 81 }, (_, i) => (i % 9 > Math.floor(i / 9) ? -1e9 : 0)).join(', ')}}, int64[1] zero = {0}, int64[1] two = {2}, int64[2] starts = {0, 0}, int64[2] axes = {0, 1}`;
  const cut = 'shape = Shape <start: int = 1, end: int = 2> (input_ids) ends = Concat <axis: int = 0> (shape, shape)';
  const fused = (op: string, attrs: string, inputs: string): string => `y = ${op} <${attrs}> (${inputs})`;
  it.each([
    ['no mask', attends(plain('s = Identity (p)')), 'masked'],
    [
      'a constant triangle, cut to the length',
      attends(plain(`${cut} m = Slice (lower, starts, ends, axes) s = Add (p, m)`), { more: `, ${lower}` }),
      'causal',
    ],
    [
      'its transpose',
      attends(plain(`${cut} c = Slice (lower, starts, ends, axes) m = Transpose (c) s = Add (p, m)`), {
        more: `, ${lower}`,
      }),
      'masked',
    ],
    [
      'opset 23 is_causal',
      attends(fused('Attention', 'is_causal: int = 1, q_num_heads: int = 1, kv_num_heads: int = 1', 'q, x, x'), {
        opset: 23,
      }),
      'causal',
    ],
    [
      'opset 23 without',
      attends(fused('Attention', 'q_num_heads: int = 1, kv_num_heads: int = 1', 'q, x, x'), { opset: 23 }),
      'masked',
    ],
    [
      'MultiHeadAttention, unidirectional',
      attends(fused('com.microsoft.MultiHeadAttention', 'num_heads: int = 1, unidirectional: int = 1', 'q, x, x')),
      'causal',
    ],
    [
      'MultiHeadAttention',
      attends(fused('com.microsoft.MultiHeadAttention', 'num_heads: int = 1', 'q, x, x')),
      'masked',
    ],
  ])('%s', async (_, text, way) => {
    const { loss, warnings } = await lossOf(text);
    expect(loss).toMatchObject({ kind: way === 'causal' ? 'causal-lm' : 'cross-entropy' });
    expect(loss.reason).toContain(way === 'causal' ? 'hides later tokens' : 'reads later tokens');
    expect(warnings).toEqual([]);
  });

  it.each([
    [
      'a mask behind an operator that is not evaluated',
      plain('b = BitShift <direction: string = "LEFT"> (one, one) c = Cast <to: int = 1> (b) s = Add (p, c)'),
      undefined,
    ],
    [
      'a mask that is an input',
      plain('s = Add (p, bias)'),
      '(int64[N,S] input_ids, float[S,S] bias) => (float[N,S,12] logits)',
    ],
  ])('%s is a doubt, not an answer', async (_, body, io) => {
    const text = attends(body, { more: ', uint8 one = {1}', ...(io === undefined ? {} : { io }) });
    const { loss, warnings } = await lossOf(text);
    expect(loss).toMatchObject({ kind: 'causal-lm' });
    expect(warnings).toEqual([
      expect.stringMatching(/could not be decided \(the mask of Softmax .*--loss cross-entropy/),
    ]);
  });

  it('attention to an encoder has labels that are shifted already', async () => {
    const io = '(int64[N,S] input_ids, float[N,T,4] memory) => (float[N,S,12] logits)';
    const body = `${cut} m = Slice (lower, starts, ends, axes) t = Transpose <perm: ints = [0, 2, 1]> (x) p = MatMul (q, t) s = Add (p, m) a = Softmax (s) h = MatMul (a, x)
      k = Transpose <perm: ints = [0, 2, 1]> (memory) c = MatMul (h, k) d = Softmax (c) y = MatMul (d, memory)`;
    const { loss } = await lossOf(attends(body, { io, more: `, ${lower}` }));
    expect(loss).toMatchObject({ kind: 'cross-entropy', labels: expect.stringContaining('shifted in the data') });
    expect(loss.reason).toContain('also reads "memory"');
  });

  it('a requested causal-lm on attention without a mask is doubted', async () => {
    const { warnings } = await lossOf(attends(plain('s = Identity (p)')), { loss: 'causal-lm' });
    expect(warnings).toEqual([expect.stringContaining('the loss causal-lm was requested, but')]);
  });
});

describe('auto and the table of tokens', () => {
  const causal = 'y = Attention <is_causal: int = 1, q_num_heads: int = 1, kv_num_heads: int = 1> (q, x, x)';
  const model = (lookup: string, tables: string, classes = 12): string =>
    `${head(23, `(int64[N,S] input_ids) => (float[N,S,${classes}] logits)`)}
     <${tables}, float[4,4] Wq = {${list(16)}}, float[4,${classes}] Wo = {${list(4 * classes)}}>
     { ${lookup} q = MatMul (x, Wq) ${causal} logits = MatMul (y, Wo) }`;
  it.each([
    ['transposed', 't = Transpose (turned) x = Gather (t, input_ids)', `float[4,12] turned = {${list(48)}}`],
    [
      'reshaped',
      't = Reshape (flat, form) x = Gather (t, input_ids)',
      `float[48] flat = {${list(48)}}, int64[2] form = {12, 4}`,
    ],
    [
      'of 8 bits',
      'd = DequantizeLinear (bytes, scale, middle) x = Gather (d, input_ids)',
      `uint8[12,4] bytes = {${Array.from({ length: 48 }, (_, i) => i).join(', ')}}, float scale = {0.1}, uint8 middle = {8}`,
    ],
    ['padded', 'x = Gather (table, input_ids)', `float[13,4] table = {${list(52)}}`],
  ])('%s', async (_, lookup, tables) => {
    expect((await lossOf(model(lookup, tables))).loss).toMatchObject({ kind: 'causal-lm' });
  });

  it('classes of tokens are not tokens', async () => {
    const { loss } = await lossOf(model('x = Gather (table, input_ids)', table, 5));
    expect(loss).toMatchObject({ kind: 'cross-entropy', reason: expect.stringContaining('named like logits') });
  });
});

describe('auto and vectors', () => {
  it.each(['text_embeds', 'image_embedding', 'sentence_embedding', 'boxes', 'pred_boxes'])('%s', async (name) => {
    const { loss } = await lossOf(
      `${head(17, `(float[N,4] x) => (float[N,4] ${name})`)} <float[4,4] W = {${list(16)}}> { ${name} = MatMul (x, W) }`,
    );
    expect(loss).toMatchObject({ kind: 'mse', reason: expect.stringContaining('not like classes') });
  });
});

describe('auto and quantized outputs, sequences and caches', () => {
  const scores = (io: string, last: string): string =>
    `${head(17, `(float[N,4] x) => (${io})`)} <float[4,3] W = {${list(12)}}, float scale = {0.1}, uint8 middle = {128}> { y = MatMul (x, W) ${last} }`;
  it.each([
    ['uint8', scores('uint8[N,3] out', 'out = QuantizeLinear (y, scale, middle)'), 'out'],
    [
      'uint8 and back',
      scores('float[N,3] out', 'q = QuantizeLinear (y, scale, middle) out = DequantizeLinear (q, scale, middle)'),
      'out',
    ],
    [
      'a sequence first',
      scores('seq(float[N,3]) list, float[N,3] out', 'out = Identity (y) list = SequenceConstruct (y)'),
      'out',
    ],
  ])('%s', async (_, text, output) => {
    expect((await lossOf(text)).loss).toMatchObject({ kind: 'cross-entropy', output });
  });

  it('a decoder with a cache is a language model without a table', async () => {
    const text = `${head(18, '(float[N,S,4] inputs_embeds, float[N,P,4] past_key) => (float[N,S,12] logits)')}
      <float[4,4] Wq = {${list(16)}}, float[4,12] Wo = {${list(48)}}> {
        q = MatMul (inputs_embeds, Wq) k = Concat <axis: int = 1> (past_key, q)
        t = Transpose <perm: ints = [0, 2, 1]> (k) s = MatMul (q, t) a = Softmax (s) y = MatMul (a, k) logits = MatMul (y, Wo)
      }`;
    const { loss } = await lossOf(text);
    expect(loss).toMatchObject({ kind: 'causal-lm', reason: expect.stringContaining('has a key/value cache') });
  });
});
