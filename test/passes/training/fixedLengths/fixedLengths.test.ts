/** Lengths that --batch, --seq and --dim fix: which they are, what is left of the graph, and whether rows stand for themselves. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../../../src/compile/compileModel.ts';
import { type CompileOptions, resolveOptions } from '../../../../src/compile/options.ts';
import { encodeModel } from '../../../../src/emit/index.ts';
import { sizeOf } from '../../../../src/graph/layers.ts';
import type { Model } from '../../../../src/graph/model.ts';
import { stream } from '../../../../src/graph/random.ts';
import { parseFile, parseText } from '../../../../src/parser/index.ts';
import { targets } from '../../../../src/passes/index.ts';
import { coded } from '../../../support/coded.ts';
import { readPack } from '../../../support/parityPack.ts';
import { describeShared, sharedPath } from '../../../support/sharedMaterial.ts';

const weights = [
  'float[3,2] w = {0.5, -1, 1, 0.25, -0.5, 2}',
  'float[5,3] table = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, -0.8, 0.9, -1.0, 1.1, 0.2, 0.3, 0.2, 0.1}',
  'float[3,3] square = {1, 2, 3, 4, 5, 6, 7, 8, 9}',
  'int64 zero = {0}, int64 one = {1}, int64[1] first = {0}, int64[1] last = {-1}, float[3] ones = {1, 1, 1}',
].join(', ');

const compiled = (inputs: string, nodes: string, options: CompileOptions) =>
  compileModel(
    parseText(`<ir_version: 8, opset_import: ["": 17]> g (${inputs}) => (float[N,2] y) <${weights}> {${nodes}}`),
    resolveOptions({ rank: 2, loss: 'mse', emit: ['grad', 'eval'], ...options }),
  );

/** The inputs of a graph as text, without the state. */
const inputsOf = (model: Model | undefined): string =>
  (model?.graph.inputs ?? [])
    .filter((v) => !v.name.startsWith('lora_'))
    .map((v) => `${v.name}[${v.shape?.map((d) => d ?? '?').join()}]`)
    .join(' ');

const embedded = 'e = Gather(table, ids) h = ReduceSum<keepdims=0>(e, one_axis) y = MatMul(h, w)';
const pooled = `one_axis = Constant<value_ints=[1]>() ${embedded}`;
const masked =
  `one_axis = Constant<value_ints=[1]>() f = CastLike(mask, w) u = Unsqueeze(f, last) t = Gather(table, ids)
  e = Mul(t, u) h = ReduceSum<keepdims=0>(e, one_axis) y = MatMul(h, w)`.replaceAll('mask', 'attention_mask');

describe('which lengths', () => {
  it.each<[string, string, CompileOptions, string]>([
    ['int64[batch,sequence] ids', pooled, { batch: 4, seq: 6 }, 'ids[4,6] labels[4,2]'],
    ['int64[N,S] ids', pooled, { batch: 4 }, 'ids[4,S] labels[4,2]'],
    ['int64[N,S] ids', pooled, { seq: 6 }, 'ids[N,6] labels[N,2]'],
    ['int64[N,S] ids', pooled, { dim: { S: 7 }, batch: 2 }, 'ids[2,7] labels[2,2]'],
    ['int64[N,8] ids', pooled, { seq: 8 }, 'ids[N,8] labels[N,2]'],
    // An exporter that names nothing, and one that gives each input names of its own.
    [
      'int64[?,?] ids, int64[?,?] attention_mask',
      masked,
      { batch: 4, seq: 6 },
      'ids[4,6] attention_mask[4,6] labels[4,2]',
    ],
    [
      'int64[a,b] ids, int64[c,d] attention_mask',
      masked,
      { batch: 4, seq: 6 },
      'ids[4,6] attention_mask[4,6] labels[4,2]',
    ],
    ['float[N,3] x, float[M,3] z', 'a = Add(x, z) y = MatMul(a, w)', { batch: 5 }, 'x[5,3] z[5,3] labels[5,2]'],
    // A length that two inputs share is no batch of another name.
    [
      'float[N,3] x, float[M] u, float[K,M] v',
      'm = MatMul(v, u) s = ReduceSum(m) a = Add(x, s) y = MatMul(a, w)',
      { batch: 5 },
      'x[5,3] u[M] v[5,M] labels[5,2]',
    ],
  ])('%s %#', (inputs, nodes, options, wanted) => {
    const { graphs, prepared } = compiled(inputs, nodes, options);
    expect(inputsOf(graphs.get('grad'))).toBe(wanted);
    // Evaluation takes the lengths that the source does.
    const open = compiled(inputs, nodes, {}).graphs;
    expect(inputsOf(graphs.get('eval'))).toBe(inputsOf(open.get('eval')));
    expect(prepared?.fixed?.open).toBeDefined();
  });

  it.each<[string, CompileOptions, string]>([
    ['int64[N,8] ids', { seq: 6 }, '--seq 6: the model has the second axis of "ids" [N, 8] fixed to 8'],
    ['int64[N,S] ids', { batch: 4, dim: { N: 5 } }, '--batch 4 gives "N" another number than 5'],
    ['int64[N,S] ids', { dim: { T: 5 } }, '--dim T=5: no input has a length "T"'],
  ])('%s is refused %#', (inputs, options, message) => {
    expect(() => compiled(inputs, pooled, options)).toThrow(expect.toSatisfy(coded('BAD_OPTION', message)));
  });

  it('a model that cannot tell what is filled up says so', () => {
    const notes = (inputs: string, nodes: string): readonly string[] =>
      compiled(inputs, nodes, { seq: 6 }).prepared?.notes ?? [];
    expect(notes('int64[N,S] ids', pooled)).toEqual([
      '--seq 6: rows of "ids" that are shorter are filled up, and the model has no attention mask that hides it',
    ]);
    expect(notes('int64[N,S] ids, int64[N,S] attention_mask', masked)).toEqual([]);
  });

  it('zero and less are no lengths', () => {
    for (const options of [{ batch: 0 }, { seq: -1 }, { dim: { N: 1.5 } }])
      expect(() => resolveOptions(options)).toThrow(expect.toSatisfy(coded('BAD_OPTION')));
  });
});

describe('rows that stand for themselves', () => {
  const mixed = (nodes: string, options: CompileOptions = {}) =>
    compiled('float[N,3] x', nodes, { batch: 4, ...options }).prepared?.fixed?.mixed;

  it.each([
    ['a product', 'y = MatMul(x, w)'],
    ['normalization of each row', 'a = LayerNormalization<axis=-1>(x, ones) y = MatMul(a, w)'],
    [
      'a flattened batch',
      'a = Reshape(x, last) b = Exp(a) c = Reshape(b, back) y = MatMul(c, w) back = Constant<value_ints=[-1,3]>()',
    ],
    ['an extreme of all, which copies of rows do not change', 'm = ReduceMax(x) a = Sub(x, m) y = MatMul(a, w)'],
    ['shapes', 's = Shape(x) n = Gather(s, zero) f = CastLike(n, w) a = Div(x, f) y = MatMul(a, w)'],
    ['an Einsum of each row', 'a = Einsum<equation="ni,ij->nj">(x, square) y = MatMul(a, w)'],
    [
      'rows behind positions, flattened and back',
      `u = Unsqueeze(x, last) t = Transpose<perm=[1,0,2]>(u) f = Reshape(t, last) b = Exp(f) r = Reshape(b, heads)
      q = Transpose<perm=[1,0,2]>(r) a = Reshape(q, back) y = MatMul(a, w)
      heads = Constant<value_ints=[3,-1,1]>() back = Constant<value_ints=[-1,3]>()`,
    ],
    [
      'indices that name the row itself',
      `s = Shape(x) n = Gather(s, zero) r = Range(zero, n, one) z = Unsqueeze(r, last)
      a = GatherND(x, z) y = MatMul(a, w)`,
    ],
  ])('%s', (_, nodes) => {
    expect(mixed(ordered(nodes))).toBeUndefined();
  });

  it.each([
    ['a mean over rows', 'm = ReduceMean<axes=[0]>(x) a = Sub(x, m) y = MatMul(a, w)', 'reduces over the batch'],
    ['normalization over rows', 'a = Softmax<axis=0>(x) y = MatMul(a, w)', 'works across them'],
    [
      'similarities in the batch',
      't = Transpose(x) a = MatMul(x, t) b = MatMul(a, x) y = MatMul(b, w)',
      'no known batch axis',
    ],
    ['a sum so far', 'a = CumSum(x, zero) y = MatMul(a, w)', 'works across them'],
    [
      'the other order',
      'a = Slice(x, last, far, first, last) y = MatMul(a, w) far = Constant<value_ints=[-9]>()',
      'works across them',
    ],
    [
      'statistics of the batch',
      'a, m, v = BatchNormalization<training_mode=1>(x, ones, ones, ones, ones) y = MatMul(a, w)',
      'works across them',
    ],
    [
      'rows by other numbers',
      `s = Shape(x) n = Gather(s, zero) r = Range(n, zero, back) q = Sub(r, one) a = Gather(x, q)
      y = MatMul(a, w) back = Constant<value_int=-1>()`,
      'works across them',
    ],
    ['normalization of the batch', 'a = MeanVarianceNormalization<axes=[0]>(x) y = MatMul(a, w)', 'works across them'],
    ['sums of an Einsum', 'a = Einsum<equation="ni,mj->ni">(x, x) y = MatMul(a, w)', 'works across them'],
    [
      'pairs of them',
      `p = Reshape(x, pairs) s = Softmax(p) a = Reshape(s, back) y = MatMul(a, w)
      pairs = Constant<value_ints=[-1,6]>() back = Constant<value_ints=[-1,3]>()`,
      'mixes rows',
    ],
    [
      'columns read as rows',
      't = Transpose(x) a = Reshape(t, back) y = MatMul(a, w) back = Constant<value_ints=[-1,3]>()',
      'mixes rows',
    ],
    ['a convolution along them', alongRows('c = Conv<pads=[1,1]>(u, kernel)'), '"c" (Conv) works across them'],
    ['a window along them', alongRows('c = MaxPool<kernel_shape=[3],pads=[1,1]>(u)'), '(MaxPool) works across them'],
    ['statistics along them', alongRows('c = InstanceNormalization(u, ones, ones)'), 'works across them'],
  ])('not: %s', (_, nodes, reason) => {
    expect(mixed(ordered(nodes))).toContain(reason);
  });

  it('not: a loss that the model computes itself', () => {
    const own = 'd = MatMul(x, w) e = Mul(d, d) y = ReduceMean<keepdims=0>(e)';
    const text = `<ir_version: 8, opset_import: ["": 17]> g (float[N,3] x) => (float y) <${weights}> {${own}}`;
    const { prepared } = compileModel(parseText(text), resolveOptions({ rank: 2, batch: 4 }));
    expect(prepared?.fixed?.mixed).toBe('the model computes the loss itself');
  });
});

/** Rows as the positions of one sequence, [1, 3, rows], as a model without a batch axis has them. */
function alongRows(node: string): string {
  return `cube = Constant<value_ints=[3,3,3]>() kernel = ConstantOfShape(cube)
    t = Transpose(x) u = Unsqueeze(t, first) ${node} s = Squeeze(c, first) b = Transpose(s) y = MatMul(b, w)`;
}

/** Constants that stand at the end go to the front. */
function ordered(nodes: string): string {
  const constants = [...nodes.matchAll(/\w+ = Constant<[^>]*>\(\)/g)].map(([text]) => text);
  return [...constants, constants.reduce((rest, c) => rest.replace(c, ''), nodes)].join(' ');
}

/** Loss and gradient of the first batch of a pack, with B at random. */
async function measured(folder: string, options: CompileOptions) {
  const { model, source } = parseFile(`${folder}/base.onnx`);
  const [batch] = readPack(folder).batches;
  const { graphs, layout } = compileModel(
    model,
    resolveOptions({ adapter: `${folder}/init`, emit: ['grad'], ...options }),
  );
  const graph = graphs.get('grad');
  if (graph === undefined || batch === undefined) throw new Error('no graph or batch');
  const session = await InferenceSession.create(encodeModel(graph), { intraOpNumThreads: 1, logSeverityLevel: 3 });
  source.close();
  const params = new Float32Array(layout.size);
  for (const { name, offset, shape } of layout.slots.flatMap(({ A, B }) => [A, B])) {
    const random = stream(3, name);
    for (let i = 0; i < sizeOf(shape); i++) params[offset + i] = 0.05 * random.normal();
  }
  const all: Record<string, Tensor> = { ...batch, lora_params: new Tensor('float32', params, [layout.size]) };
  const fed = new Set(session.inputNames);
  const found = await session.run(Object.fromEntries(Object.entries(all).filter(([name]) => fed.has(name))));
  await session.release();
  const { data } = found.lora_grad ?? {};
  if (!(data instanceof Float32Array)) throw new Error('no gradient');
  const operators = new Set(graph.graph.nodes.map((n) => n.op));
  return { loss: Number(found.loss?.data[0]), gradient: data, nodes: graph.graph.nodes.length, operators };
}

function compare(folder: string, wanted: readonly (typeof targets)[number][] = targets): void {
  it.each(wanted)(
    'for %s: the gradient is that of open lengths, with fewer nodes and no shape arithmetic',
    async (target) => {
      const [batch] = readPack(folder).batches;
      const [rows = 0, seq] = batch?.input_ids?.dims ?? batch?.x?.dims.slice(0, 1) ?? [];
      const open = await measured(folder, { for: target });
      const fixed = await measured(folder, { for: target, batch: rows, ...(seq === undefined ? {} : { seq }) });
      expect(fixed.nodes).toBeLessThanOrEqual(open.nodes);
      for (const op of ['Shape', 'Range', 'ConstantOfShape', 'Size']) expect(fixed.operators.has(op), op).toBe(false);
      const off = Math.hypot(...fixed.gradient.map((g, i) => g - (open.gradient[i] ?? 0)));
      // The same sums; kernels may split them in another way where they see their lengths.
      expect(off / Math.hypot(...open.gradient)).toBeLessThan(1e-6);
      expect(Math.abs(fixed.loss - open.loss) / open.loss).toBeLessThan(1e-6);
    },
  );
}

describe('a text classifier', () => {
  it('folds as far beside dropout, whose branches read what comes before', () => {
    const { model, source } = parseFile(`${import.meta.dirname}/../../../../fixtures/peft-pack/base.onnx`);
    const { graphs, prepared } = compileModel(
      model,
      resolveOptions({ dropout: 0.1, batch: 3, seq: 7, emit: ['grad'] }),
    );
    source.close();
    // Of the source's own nodes: a mask counts its elements.
    const own = graphs.get('grad')?.graph.nodes.filter((n) => !n.metadata.has('loraify.rule'));
    const operators = own?.map((n) => n.op);
    for (const op of ['Shape', 'Range', 'Size']) expect(operators).not.toContain(op);
    expect(prepared?.fixed?.mixed).toBeUndefined();
  });
  compare(`${import.meta.dirname}/../../../../fixtures/peft-pack`);
});

for (const name of ['bert_cls', 'gpt2_lm', 'llama_lm', 'mlp_classifier'])
  describeShared(`parity/${name}`, `parity/${name}`, () => {
    compare(sharedPath('parity', name), ['portable', 'cuda']);
  });
