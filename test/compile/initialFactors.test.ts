/** Packages whose adapter starts as a part of the weights: what the graphs compute, and what leaves them. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { initialFactors, readPeft, writePeft } from '../../src/adapter/index.ts';
import { encodeModel } from '../../src/emit/index.ts';
import { bytesOf } from '../../src/graph/tensor.ts';
import { type CompileOptions, compile, evaluate, exportAdapter, inspect, merge, train } from '../../src/index.ts';
import { parseFile, parseText } from '../../src/parser/index.ts';
import { coded } from '../support/coded.ts';
import { digits, digitsModel, writeJsonl } from '../support/digits.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();

const weightsOf = (file: string): Map<string, Float32Array> => {
  const { model, source } = parseFile(file);
  try {
    return new Map(
      model.graph.initializers.flatMap((v) =>
        v.tensor?.dtype === 'float32' ? [[v.name, new Float32Array(bytesOf(v.tensor).buffer)] as const] : [],
      ),
    );
  } finally {
    source.close();
  }
};

async function logits(file: string, extra: Record<string, Tensor> = {}): Promise<Float32Array> {
  const session = await InferenceSession.create(file, { logSeverityLevel: 4 });
  const image = Float32Array.from(digits(0, 4).flatMap((r) => r.image));
  const out = (await session.run({ image: new Tensor('float32', image, [4, 64]), ...extra })).logits;
  if (!(out?.data instanceof Float32Array)) throw new Error('no logits');
  return out.data;
}

const far = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? Number.NaN))), 0);

/** W + factor·A·B of a layer whose weight is stored [out, in]. */
function plus(
  w: Float32Array,
  { A, B, in: inputs, out, rank }: { A: Float32Array; B: Float32Array; in: number; out: number; rank: number },
  factor: number,
): Float32Array {
  return Float32Array.from(w, (x, at) => {
    const [o, i] = [Math.floor(at / inputs), at % inputs];
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += (A[i * rank + k] ?? 0) * (B[k * out + o] ?? 0);
    return x + factor * sum;
  });
}

describe.each(['pissa', 'olora', 'pissa_niter_2'] as const)('--init %s', (init) => {
  const dir = join(folder, `${init}.lora`);
  const run = join(folder, `${init}.run`);
  const options: CompileOptions = { out: dir, rank: 4, init };

  it('takes the start out of the weights of the package, and leaves the source alone', async () => {
    const before = readFileSync(digitsModel);
    const { manifest } = await compile(digitsModel, options);
    expect(readFileSync(digitsModel).equals(before)).toBe(true);
    const [source, made] = [weightsOf(digitsModel), weightsOf(join(dir, 'model.onnx'))];
    for (const { path, weight, scale } of manifest.layers) {
      const start = readPeft(join(dir, 'adapter'), init).tensors.get(path);
      const [w, rest] = [source.get(weight), made.get(weight)];
      if (start === undefined || w === undefined || rest === undefined) throw new Error(path);
      expect(far(w, rest)).toBeGreaterThan(0.01);
      // One rounding of numbers below 2 to float32.
      expect(far(plus(rest, start, scale), w)).toBeLessThanOrEqual(2 ** -23);
    }
    // Two orders of summation over 128 terms in three layers, of logits up to ten.
    expect(far(await logits(join(dir, 'model.onnx')), await logits(digitsModel))).toBeLessThan(1e-4);
    const config = JSON.parse(readFileSync(join(dir, 'adapter/adapter_config.json'), 'utf8'));
    expect(config.init_lora_weights).toBe(init);
  });

  it('gives the same bytes twice, and others for another seed only where the start is random', async () => {
    const files = ['weights.bin', 'model.onnx', 'adapter/adapter_model.safetensors'];
    const [again, other] = [join(folder, `${init}.2`), join(folder, `${init}.3`)];
    await compile(digitsModel, { ...options, out: again, emit: ['model'] });
    await compile(digitsModel, { ...options, out: other, emit: ['model'], seed: 1 });
    for (const f of files) expect(readFileSync(join(again, f)).equals(readFileSync(join(dir, f))), f).toBe(true);
    const [a, b] = [again, other].map((d) => readPeft(join(d, 'adapter'), init).tensors.get('classifier')?.A);
    if (a === undefined || b === undefined) throw new Error('no A');
    // The exact decompositions differ by where the search began: a rounding of float32.
    if (init === 'pissa_niter_2') expect(far(a, b)).toBeGreaterThan(1e-3);
    else expect(far(a, b)).toBeLessThan(1e-6);
  });

  it('leaves the source where nothing was learnt: merged, exported, served', async () => {
    const merged = join(folder, `${init}.untrained.onnx`);
    const result = await merge(dir, { adapter: 'start', out: merged });
    expect(result.error).toBeLessThan(1e-5);
    // What A·B - A·B leaves in float64 is far below half a unit of float32.
    expect(readFileSync(merged).equals(readFileSync(digitsModel))).toBe(true);
    const served = join(folder, `${init}.served.onnx`);
    await exportAdapter(dir, { format: 'onnx', inputs: 'required', out: served });
    const session = await InferenceSession.create(served, { logSeverityLevel: 4 });
    const empty = session.inputMetadata.flatMap((m): [string, Tensor][] => {
      if (!m.isTensor || !m.name.includes('lora_')) return [];
      const shape = m.shape.map((d) => (typeof d === 'string' ? 0 : d));
      return [[m.name, new Tensor('float32', new Float32Array(), shape)]];
    });
    expect(empty).toHaveLength(6);
    expect(far(await logits(served, Object.fromEntries(empty)), await logits(digitsModel))).toBeLessThan(1e-5);
  });

  it('trains, and what leaves is plain LoRA of twice the rank on the source', async () => {
    const rows = writeJsonl(join(folder, `${init}.jsonl`), digits(0, 64));
    await train(dir, { data: rows, out: run, steps: 4, batchSize: 16, learningRate: 1e-2 });
    const adapter = join(run, 'adapter');
    const exported = join(folder, `${init}.peft`);
    await exportAdapter(dir, { format: 'peft', adapter, out: exported });
    const config = JSON.parse(readFileSync(join(exported, 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ r: 8, lora_alpha: 32, init_lora_weights: true });
    const trained = readPeft(adapter, init).tensors.get('classifier');
    const [start, plain] = [readPeft(join(dir, 'adapter'), init), readPeft(exported)].map((a) =>
      a.tensors.get('classifier'),
    );
    if (trained === undefined || start === undefined || plain === undefined) throw new Error('no layer');
    // PEFT's subtract_mutated_init: [A_t | A_0] and [B_t; -B_0], at the same scale.
    expect(plain.scale).toBe(trained.scale);
    expect([...plain.B.subarray(0, 40)]).toEqual([...trained.B]);
    expect([...plain.B.subarray(40)]).toEqual([...start.B].map((x) => -x));
    for (let i = 0; i < 64; i++) {
      expect([...plain.A.subarray(8 * i, 8 * i + 4)]).toEqual([...trained.A.subarray(4 * i, 4 * i + 4)]);
      expect([...plain.A.subarray(8 * i + 4, 8 * i + 8)]).toEqual([...start.A.subarray(4 * i, 4 * i + 4)]);
    }
    const [one, two] = [join(folder, `${init}.one.onnx`), join(folder, `${init}.two.onnx`)];
    expect((await merge(dir, { adapter, out: one })).error).toBeLessThan(1e-5);
    expect((await merge(dir, { adapter: exported, out: two })).error).toBeLessThan(1e-5);
    expect(readFileSync(two).equals(readFileSync(one))).toBe(true);
    expect(readFileSync(one).equals(readFileSync(digitsModel))).toBe(false);
  });

  it('tells adapters for the source from adapters of the package', async () => {
    const data = join(folder, `${init}.jsonl`);
    const exported = join(folder, `${init}.peft`);
    await expect(evaluate(dir, { data, adapter: exported })).rejects.toSatisfy(
      coded('ADAPTER_MISMATCH', 'applies to the original weights', init),
    );
    await expect(evaluate(dir, { data, adapter: { [exported]: 0.5, [join(run, 'adapter')]: 0.5 } })).rejects.toSatisfy(
      coded('ADAPTER_MISMATCH', 'cannot be summed here'),
    );
    await expect(compile(digitsModel, { adapter: join(run, 'adapter'), dryRun: true })).rejects.toSatisfy(
      coded('ADAPTER_UNSUPPORTED', `init_lora_weights "${init}"`),
    );
    const other = join(folder, `${init}.other`);
    await compile(digitsModel, { ...options, out: other, rank: 2, emit: ['model'] });
    await expect(merge(other, { adapter: join(run, 'adapter'), out: join(folder, 'no.onnx') })).rejects.toSatisfy(
      coded('ADAPTER_MISMATCH', 'rank 2 and scale 8', '4 and 4'),
    );
  });
});

const graph = (weight: string, nodes: string, type = 'float'): string => `<ir_version: 8, opset_import: ["" : 17]>
main (${type}[N,3] x) => (${type}[N,2] y, ${type}[3,2] z)
<${weight}>
{
  ${nodes}
}`;
const values = '{0.5, -1, 0.25, 2, 1.5, -0.75}';
const write = (name: string, text: string): string => {
  const file = join(folder, `${name}.onnx`);
  writeFileSync(file, encodeModel(parseText(text)));
  return file;
};

describe('a weight that others read', () => {
  it('stays as it is for them', async () => {
    const file = write(
      'tied',
      graph(`float[3,2] "fc.weight" = ${values}`, 'y = MatMul (x, "fc.weight")\n  z = Relu ("fc.weight")'),
    );
    const out = join(folder, 'tied.lora');
    await compile(file, { out, rank: 1, init: 'pissa' });
    const made = weightsOf(join(out, 'model.onnx'));
    expect([...(made.get('fc.weight') ?? [])]).toEqual([0.5, -1, 0.25, 2, 1.5, -0.75]);
    expect([...made.keys()].filter((n) => n.startsWith('fc.weight'))).toHaveLength(2);
    const merged = join(folder, 'tied.merged.onnx');
    await merge(out, { adapter: 'start', out: merged });
    expect([...(weightsOf(merged).get('fc.weight') ?? [])]).toEqual([0.5, -1, 0.25, 2, 1.5, -0.75]);
  });

  it('cannot be changed through a node that they read too', async () => {
    const file = write(
      'turned',
      graph(
        `float[2,3] "fc.weight" = ${values}`,
        't = Transpose <perm = [1, 0]> ("fc.weight")\n  y = MatMul (x, t)\n  z = Relu (t)',
      ),
    );
    await expect(compile(file, { dryRun: true, init: 'olora', rank: 1 })).rejects.toSatisfy(
      coded('BAD_OPTION', 'layer "fc"', 'another operator'),
    );
  });

  it('is changed where it is stored, a Constant too, in its own type', async () => {
    const file = write(
      'half',
      graph(
        'float[1] unused = {1}',
        'w = Constant <value = float16[3,2] {14336, 48128, 13312, 16384, 15872, 47616}> ()\n  y = MatMul (x, w)\n  c = Constant <value = float16[3,2] {0, 0, 0, 0, 0, 0}> ()\n  z = Identity (c)',
        'float16',
      ),
    );
    const out = join(folder, 'half.lora');
    const { manifest } = await compile(file, { out, rank: 2, init: 'pissa', emit: ['model'] });
    const [layer] = manifest.layers;
    if (layer === undefined) throw new Error('no layer');
    const { model, source } = parseFile(join(out, 'model.onnx'));
    const rest = model.graph.nodes.find((n) => n.outputs[0]?.name === 'w')?.attrs.get('value');
    source.close();
    if (rest?.kind !== 'tensor') throw new Error('no constant');
    expect(rest.value.dtype).toBe('float16');
    // The rank is that of the weight: nothing is left of it but roundings of float32, which half precision shows as they are.
    const bits = new Uint16Array(bytesOf(rest.value).buffer);
    for (const b of bits) expect(b & 0x7fff).toBeLessThan(16);
  });
});

describe('what cannot start so is refused', () => {
  const conv = `<ir_version: 8, opset_import: ["" : 17]>
main (float[N,1,4,4] x) => (float[N,2,2,2] y)
<float[2,1,3,3] "c.weight" = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9}>
{ y = Conv (x, "c.weight") }`;
  it.each(['pissa', 'olora', 'orthogonal'] as const)('a convolution, as PEFT refuses it (%s)', async (init) => {
    const file = write('conv', conv);
    await expect(compile(file, { dryRun: true, target: ['c'], init, rank: 2 })).rejects.toSatisfy(
      coded('BAD_OPTION', `--init ${init}`, 'layer "c" is a convolution'),
    );
  });

  it.each([
    [{ init: 'orthogonal', rank: 3 }, ['even rank', 'has rank 3']],
    [{ init: 'pissa', alpha: -1 }, ['scale']],
    [{ init: 'pissa', adapter: 'somewhere' }, ['both set the initial A and B']],
  ] as const)('%o', async (options, words) => {
    await expect(compile(digitsModel, { ...options, dryRun: true })).rejects.toSatisfy(coded('BAD_OPTION', ...words));
  });

  it('a weight with numbers that are not finite, when it is read', async () => {
    const file = join(folder, 'nan.onnx');
    const model = parseText(
      graph(
        `float[3,2] "fc.weight" = ${values}, float[3,2] k = ${values}`,
        'y = MatMul (x, "fc.weight")\n  z = Relu (k)',
      ),
    );
    const weight = model.graph.initializers.find((v) => v.name === 'fc.weight');
    if (weight?.tensor?.payload.kind !== 'inline') throw new Error('no weight');
    new DataView(weight.tensor.payload.bytes.buffer, weight.tensor.payload.bytes.byteOffset).setFloat32(4, NaN, true);
    writeFileSync(file, encodeModel(model));
    await expect(compile(file, { out: join(folder, 'nan.lora'), init: 'pissa', rank: 1 })).rejects.toSatisfy(
      coded('BAD_OPTION', 'not finite', '"fc"'),
    );
  });
});

it('looking at a model decomposes nothing', async () => {
  const seen = await inspect(digitsModel, { init: 'pissa' });
  expect(seen.totals.chosen).toBe(3);
  const { manifest } = await compile(digitsModel, { init: 'pissa', dryRun: true });
  const plain = await compile(digitsModel, { dryRun: true });
  expect(manifest.counts).toEqual(plain.manifest.counts);
});

describe('orthogonal', () => {
  it('starts with two factors whose product is zero, as PEFT scales them', () => {
    const layer = { op: 'MatMul', in: 300, out: 200, rank: 6 };
    const { A, B } = initialFactors('orthogonal', layer, 0, 'fc');
    for (const [factor, length] of [
      [A, 300 * 6],
      [B, 6 * 200],
    ] as const) {
      const deviation = Math.sqrt(factor.reduce((sum, x) => sum + x * x, 0) / length);
      // N(0, 1)/10 through orthonormal rows, three of six: sqrt(1/2)/10, within 5 % for a thousand numbers.
      expect(deviation / (Math.SQRT1_2 / 10)).toBeCloseTo(1, 1);
    }
    // Roundings of float32 in sums of six products below 0.1.
    const nothing = plus(new Float32Array(300 * 200), { A, B, in: 300, out: 200, rank: 6 }, 1);
    expect(far(nothing, new Float32Array(300 * 200))).toBeLessThan(1e-8);
  });

  it('is written under its name, and is no other base', async () => {
    const out = join(folder, 'orthogonal.lora');
    const { manifest } = await compile(digitsModel, { out, init: 'orthogonal', rank: 4, emit: ['model'] });
    expect(manifest.lora.init).toBe('orthogonal');
    const copy = join(folder, 'orthogonal.peft');
    await exportAdapter(out, { format: 'peft', out: copy });
    expect(JSON.parse(readFileSync(join(copy, 'adapter_config.json'), 'utf8'))).toMatchObject({
      r: 4,
      init_lora_weights: 'orthogonal',
    });
  });
});

it('an embedding starts as it does without, its table whole', async () => {
  const file = write(
    'embedding',
    `<ir_version: 8, opset_import: ["" : 17]>
main (int64[N] ids) => (float[N,2] y)
<float[3,2] "e.weight" = ${values}, float[2,2] "fc.weight" = {1, 2, 3, 5}>
{
  h = Gather ("e.weight", ids)
  y = MatMul (h, "fc.weight")
}`,
  );
  const out = join(folder, 'embedding.lora');
  await compile(file, { out, rank: 1, init: 'pissa', target: ['e', 'fc'], emit: ['model'] });
  const made = weightsOf(join(out, 'model.onnx'));
  expect([...(made.get('e.weight') ?? [])]).toEqual([0.5, -1, 0.25, 2, 1.5, -0.75]);
  expect(made.get('fc.weight')?.[0]).not.toBe(1);
  const copy = join(folder, 'embedding.peft');
  await exportAdapter(out, { format: 'peft', out: copy });
  const { tensors } = readPeft(copy);
  expect([tensors.get('e')?.rank, tensors.get('fc')?.rank]).toEqual([1, 2]);
  expect([tensors.get('e')?.scale, tensors.get('fc')?.scale]).toEqual([16, 16]);
});

it('a plain adapter with the name of a start that changed the base is refused by name', () => {
  const adapter = join(folder, 'corda');
  mkdirSync(adapter);
  const layers = [{ path: 'fc', op: 'MatMul', in: 1, out: 1, rank: 1, alpha: 1, A: { offset: 0 }, B: { offset: 1 } }];
  writePeft(adapter, { layers, params: new Float32Array(2), scaling: 'standard', knownPaths: [], init: 'corda' });
  expect(() => readPeft(adapter)).toThrow(
    expect.toSatisfy(coded('ADAPTER_UNSUPPORTED', 'init_lora_weights "corda"', 'path_initial_model')),
  );
});
