/** Queries, keys and values whose weights are one tensor, against the same model with a product for each. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, describe, expect, it } from 'vitest';
import { readPeft } from '../../src/adapter/index.ts';
import { compileModel } from '../../src/compile/compileModel.ts';
import { type CompileOptions, resolveOptions } from '../../src/compile/options.ts';
import { encodeModel } from '../../src/emit/index.ts';
import { stream } from '../../src/graph/random.ts';
import { compile, exportAdapter, inspect, merge } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';
import { findCandidates } from '../../src/passes/index.ts';
import { checkAdapted, distance } from '../support/executeGraphs.ts';

const scratch = mkdtempSync(join(tmpdir(), 'loraify-packed-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const [width, values] = [4, 6];
const random = stream(1, 'packed');
const noise = (n: number): number[] => Array.from({ length: n }, () => Math.fround(random.normal()));
const matrices = [width, width, values].map((out) => ({ out, w: noise(width * out), b: noise(out) }));
const head = noise(values * 3);

/** Rows of the matrices side by side. */
const packed = Array.from({ length: width }, (_, i) =>
  matrices.flatMap(({ out, w }) => w.slice(i * out, (i + 1) * out)),
).flat();

const text = (inits: string, nodes: string): string => `<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
main (float[N,S,${width}] x) => (float[N,S,3] logits)
<${inits}, float[${values},3] "head.weight" = {${head.join(', ')}}>
{ ${nodes}
  logits = MatMul (attended, "head.weight") }`;

const total = 2 * width + values;
const joined = (weight: string, more = ''): string =>
  text(
    `float[${width},${total}] "${weight}" = {${packed.join(', ')}}, float[${total}] bias = {${matrices.flatMap((m) => m.b).join(', ')}}`,
    `[Attention_0] attended = com.microsoft.Attention <num_heads: int = 2, qkv_hidden_sizes: ints = [${width}, ${width}, ${values}]> (x, "${weight}", bias)
  ${more}`,
  );

/** The same with three products, and attention that takes what they give. */
const apart = (names: readonly string[]): string =>
  text(
    matrices
      .map(
        ({ out, w, b }, i) =>
          `float[${width},${out}] "enc.self.${names[i]}.weight" = {${w.join(', ')}}, float[${out}] b${i} = {${b.join(', ')}}`,
      )
      .join(', '),
    `${matrices.map((_, i) => `m${i} = MatMul (x, "enc.self.${names[i]}.weight")\n  p${i} = Add (m${i}, b${i})`).join('\n  ')}
  attended = com.microsoft.MultiHeadAttention <num_heads: int = 2> (p0, p1, p2)`,
  );

const usual = ['query', 'key', 'value'];
const decoder = ['q_proj', 'k_proj', 'v_proj'];

const floats = (t: Tensor | undefined): Float32Array => {
  if (!(t?.data instanceof Float32Array)) throw new Error('no floats');
  return t.data;
};

/** Logits and gradients by layer of a text with the same A and B at random in layers of the same names. */
async function computed(source: string, options: CompileOptions) {
  const { graphs, layout } = compileModel(parseText(source), resolveOptions({ ...options, emit: ['grad', 'eval'] }));
  const params = new Float32Array(layout.size);
  const slots = layout.slots.flatMap((s) => [s.A, s.B]);
  for (const s of slots) {
    const own = stream(2, s.name);
    const n = s.shape.reduce((p, d) => p * d, 1);
    for (let i = 0; i < n; i++) params[s.offset + i] = 0.3 * own.normal();
  }
  const given = stream(3, 'x');
  const x = new Tensor(
    'float32',
    Float32Array.from({ length: 2 * 5 * width }, () => given.normal()),
    [2, 5, width],
  );
  const labels = new Tensor(
    'int64',
    BigInt64Array.from({ length: 10 }, (_, i) => BigInt(i % 3)),
    [2, 5],
  );
  const results = new Map<string, Float32Array>();
  for (const which of ['grad', 'eval'] as const) {
    const graph = graphs.get(which);
    if (graph === undefined) throw new Error(`no ${which}`);
    const session = await InferenceSession.create(encodeModel(graph), { logSeverityLevel: 4 });
    const out = await session.run({ x, labels, lora_params: new Tensor('float32', params, [params.length]) });
    if (which === 'eval') results.set('logits', floats(out.logits));
    else
      for (const s of slots)
        results.set(s.name, floats(out.lora_grad).slice(s.offset, s.offset + s.shape.reduce((p, d) => p * d, 1)));
  }
  return results;
}

describe('a packed weight', () => {
  it.each([[[...usual, 'head']], [['query', 'value']], [['key']]])(
    'has the logits and gradients of separate weights: %j',
    async (target) => {
      const [ours, theirs] = [
        await computed(joined('enc.self.qkv_weight'), { rank: 2, target }),
        await computed(apart(usual), { rank: 2, target }),
      ];
      expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort());
      expect(ours.size).toBe(1 + 2 * target.length);
      // Sums of float32 in another order.
      for (const [name, t] of theirs)
        expect(distance(ours.get(name) ?? new Float32Array(), t), name).toBeLessThan(1e-5);
    },
  );

  it('is left alone where nobody names its parts, and counted once', async () => {
    const file = join(scratch, 'joined.onnx');
    writeFileSync(file, encodeModel(parseText(joined('enc.self.qkv_weight'))));
    const { layers, totals } = await inspect(file);
    expect(layers.map((l) => [l.path, l.op, l.in, l.out, l.chosen])).toEqual([
      ['enc.self.query', 'Attention', width, width, false],
      ['enc.self.key', 'Attention', width, width, false],
      ['enc.self.value', 'Attention', width, values, false],
      ['head', 'MatMul', values, 3, true],
    ]);
    expect(totals.total - totals.trainable).toBe(width * total + total + values * 3);
  });

  it('takes an adapter of a model whose modules are called as those of decoders, and writes it back', async () => {
    const [one, three] = [join(scratch, 'one.onnx'), join(scratch, 'three.onnx')];
    writeFileSync(one, encodeModel(parseText(joined('enc.self.qkv_weight'))));
    writeFileSync(three, encodeModel(parseText(apart(decoder))));
    const theirs = join(scratch, 'three.lora');
    await compile(three, { out: theirs, rank: 2, target: decoder, emit: ['model'] });
    const adapter = join(theirs, 'adapter');
    const out = join(scratch, 'one.lora');
    const { manifest } = await compile(one, { out, adapter, emit: ['model'] });
    expect(manifest.layers.map((l) => [l.path, l.columns])).toEqual([
      ['enc.self.q_proj', [0, 4]],
      ['enc.self.k_proj', [4, 8]],
      ['enc.self.v_proj', [8, 14]],
    ]);
    const back = join(scratch, 'back');
    await exportAdapter(out, { format: 'peft', out: back });
    expect([...readPeft(back).tensors].sort()).toEqual([...readPeft(adapter).tensors].sort());
  });

  it('finds the other name behind a wrapper', async () => {
    const [one, out] = [join(scratch, 'wrapped.onnx'), join(scratch, 'wrapped.lora')];
    const wrapped = joined('model.enc.self.qkv_weight');
    writeFileSync(one, encodeModel(parseText(wrapped)));
    const adapter = join(scratch, 'three.lora', 'adapter');
    const { manifest } = await compile(one, { out, adapter, emit: ['model'] });
    expect(manifest.layers.map((l) => [l.path, l.peft])).toEqual(
      decoder.map((n) => [`model.enc.self.${n}`, `enc.self.${n}`]),
    );
  });

  it('stays exact beside rounded ones, with A and B', async () => {
    const [one, out] = [join(scratch, 'exact.onnx'), join(scratch, 'exact.lora')];
    writeFileSync(one, encodeModel(parseText(joined('enc.self.qkv_weight'))));
    const { manifest } = await compile(one, { out, rank: 2, target: ['query', 'head'], precision: 'bf16' });
    expect(manifest.precision).toMatchObject({ weights: 1, bytes: 2 * values * 3 });
    const { error } = await merge(out, { adapter: 'start', out: join(scratch, 'exact.merged.onnx') });
    // bfloat16 rounds the one weight to 2^-9 of it.
    expect(error).toBeLessThan(1e-2);
  });

  it('cannot be merged where another operator reads it', async () => {
    const [one, out] = [join(scratch, 'read.onnx'), join(scratch, 'read.lora')];
    const source = joined('enc.self.qkv_weight', 'unread = ReduceMean ("enc.self.qkv_weight")');
    writeFileSync(one, encodeModel(parseText(source)));
    await compile(one, { out, rank: 2, target: ['query'], emit: ['model'] });
    await expect(merge(out, { adapter: 'start', out: join(scratch, 'merged.onnx') })).rejects.toMatchObject({
      code: 'NOT_MERGEABLE',
    });
  });
});

it('of two calls of a function may have other parts chosen', async () => {
  const source = join(import.meta.dirname, '../../fixtures/lora/attention-packed-function/input.onnx.txt');
  const target = ['one.call.Attention_0.query', 'two.call.Attention_0.key'];
  await checkAdapted(readFileSync(source, 'utf8'), { rank: 2, target });
});

// The pads of Pad became an input in opset 11.
it('has its factors padded in old operator sets as well', () =>
  checkAdapted(joined('enc.self.qkv_weight').replace('"" : 17', '"" : 10'), { rank: 2, target: usual }));

describe('the module of a packed weight', () => {
  const paths = (source: string): string[] =>
    findCandidates(parseText(source))
      .candidates.filter((c) => c.op === 'Attention')
      .map((c) => `${c.path} (${c.from})`);

  it.each([
    [
      'bert.encoder.layer.0.attention.self.qkv_weight',
      'Attention_0',
      'bert.encoder.layer.0.attention.self',
      'initializer',
    ],
    ['a.self_attn.in_proj_weight', 'Attention_0', 'a.self_attn', 'initializer'],
    ['Attention_0_qkv_weight', '/a/layer.0/self/Attention', 'a.layer.0.self', 'node name'],
    ['Attention_0_qkv_weight', 'a.layer.0.self.Attention_0', 'a.layer.0.self', 'node name'],
    ['Attention_0_qkv_weight', 'Attention_0', 'Attention_0', 'fallback'],
  ])('weight %s of node %s is in %s', (weight, node, module, from) => {
    const source = joined(weight).replace('[Attention_0]', `["${node}"]`);
    expect(paths(source)).toEqual(usual.map((n) => `${module}.${n} (${from})`));
  });

  it('is told by the result, which keeps the name that the exporter gave it', () => {
    const source = joined('Attention_0_qkv_weight').replaceAll('attended', '"/a/layer.0/self/Reshape_3_output_0"');
    expect(paths(source)).toEqual(usual.map((n) => `a.layer.0.self.${n} (node name)`));
  });
});
