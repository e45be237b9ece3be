/** The numbers of dropout's masks: what ONNX Runtime computes, element by element, and how it is spread. */
import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { beforeAll, describe, expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { resolveOptions } from '../../../src/compile/options.ts';
import { stream } from '../../../src/graph/random.ts';
import { parseText } from '../../../src/parser/index.ts';
import type { TrainingGraph } from '../../../src/passes/index.ts';
import { threshold } from '../../../src/passes/lower/dropoutMask.ts';
import { floats, open } from '../../support/executeGraphs.ts';

const [rows, width] = [512, 24];
const layers = ['q', 'k', 'v'];
const zeros = Array.from({ length: width * width }, () => 0).join(', ');
/** Three layers over one input, side by side, with weights of zero. */
const text = `<ir_version: 8, opset_import: ["" : 17]>
main (float[N,${width}] x) => (float[N,${width * layers.length}] y)
<${layers.map((l) => `float[${width},${width}] "${l}.weight" = {${zeros}}`).join(', ')}>
{
  ${layers.map((l) => `[${l}] ${l} = MatMul (x, "${l}.weight")`).join('\n  ')}
  y = Concat <axis = 1> (${layers.join(', ')})
}`;

function compiled(source: string, dropout: number, graph: TrainingGraph, more: object = {}) {
  const options = { rank: width, alpha: width, loss: 'external' as const, dropout, emit: [graph], ...more };
  const { graphs, layout } = compileModel(parseText(source), resolveOptions(options));
  const model = graphs.get(graph);
  if (model === undefined) throw new Error(`no graph ${graph}`);
  return { model, layout };
}

/** A = B = 1: a branch hands out what it reads. */
function identities(count: number, size: number): Float32Array {
  const params = new Float32Array(2 * count * size * size);
  for (let m = 0; m < 2 * count; m++) for (let i = 0; i < size; i++) params[m * size * size + i * size + i] = 1;
  return params;
}

const int = (x: number): Tensor => new Tensor('int32', Int32Array.of(x), []);
const tensor = (data: Float32Array, dims: readonly number[]): Tensor => new Tensor('float32', data, dims);

/** The masks of all layers for a seed: 1 where an element stays. */
async function masks(session: InferenceSession, seed: number): Promise<Float32Array[]> {
  const params = identities(layers.length, width);
  const all = { x: tensor(new Float32Array(rows * width).fill(1), [rows, width]), lora_seed: int(seed) };
  const dy = tensor(new Float32Array(rows * width * layers.length), [rows, width * layers.length]);
  const { y } = await session.run({ ...all, d_y: dy, lora_params: tensor(params, [params.length]) });
  const values = floats(y);
  return layers.map((_, l) =>
    Float32Array.from({ length: rows * width }, (_, i) =>
      values[Math.floor(i / width) * width * layers.length + l * width + (i % width)] === 0 ? 0 : 1,
    ),
  );
}

/** The hash once more, in JavaScript's own 32-bit arithmetic. */
function expected(path: string, seed: number, ratio: number): Float32Array {
  const mix = (start: number): number => {
    let v = start | 0;
    for (let i = 0; i < 2; i++) {
      v = Math.imul(v, 2 * v + 1);
      v = (v + Math.trunc(v / 65536)) | 0;
    }
    return v;
  };
  const mixed = mix(Math.imul(seed, 0x9e3779b1) + 0x27d4eb2f);
  const odd = (n: number, multiplier: number, offset: number): number[] =>
    Array.from({ length: n }, (_, i) => (2 * mix(Math.imul(i, multiplier) + mixed + offset) + 1) | 0);
  const [u, w] = [odd(rows, 0x9e3779b1, 0xc2b2ae35), odd(width, 0x165667b1, 0xd3a2646d)];
  const key = (2 * stream(0, `dropout/${path}`).integer(2 ** 31) + 1) | 0;
  return Float32Array.from({ length: rows * width }, (_, i) => {
    const t = Math.imul(Math.imul(u[Math.floor(i / width)] ?? 0, w[i % width] ?? 0), key);
    return t < Math.round((1 - ratio) * 2 ** 32) - 2 ** 31 ? 1 : 0;
  });
}

const seeds = [0, 1, 2, 3, 4, 1 << 16, 1 << 24, 2 ** 31 - 1, -1];

describe.each([0.05, 0.1, 0.5, 0.9])('p = %d', (ratio) => {
  /** By seed and layer, in units of a standard deviation. */
  const scores: Float64Array[][] = [];
  const exact: [Float32Array, Float32Array][] = [];
  beforeAll(async () => {
    // The mutation run has it more than once.
    scores.length = 0;
    exact.length = 0;
    const session = await open(compiled(text, ratio, 'grad').model);
    for (const seed of seeds) {
      const found = await masks(session, seed);
      scores.push(found.map((m) => Float64Array.from(m, (x) => (x - (1 - ratio)) / Math.sqrt(ratio * (1 - ratio)))));
      layers.forEach((l, i) => {
        exact.push([found[i] ?? new Float32Array(), expected(l, seed, ratio)]);
      });
    }
    await session.release();
  });

  /** A sum of n products of independent scores has the deviation sqrt(n). */
  const sigmas = (a: Float64Array, b: Float64Array, pairs: (i: number) => number): number => {
    let [sum, n] = [0, 0];
    a.forEach((x, i) => {
      const j = pairs(i);
      if (j < 0) return;
      sum += x * (b[j] ?? 0);
      n++;
    });
    return sum / Math.sqrt(n);
  };
  const below4 = (list: readonly number[]): void => {
    expect(Math.max(...list.map(Math.abs))).toBeLessThan(4);
  };
  const each = (f: (m: Float64Array) => readonly number[]): number[] => scores.flat().flatMap(f);

  it('is what the hash says, on every platform', () => {
    for (const [found, wanted] of exact) expect(found.every((x, i) => x === wanted[i])).toBe(true);
  });

  it('keeps 1 - p of each layer', () => {
    below4(each((m) => [m.reduce((sum, x) => sum + x, 0) / Math.sqrt(m.length)]));
  });

  it('has independent rows and columns', () => {
    const lags = [1, 2, 3, 5, 8];
    below4(each((m) => lags.map((lag) => sigmas(m, m, (i) => (i >= lag * width ? i - lag * width : -1)))));
    below4(each((m) => lags.map((lag) => sigmas(m, m, (i) => (i % width >= lag ? i - lag : -1)))));
    // Sums of rows spread as those of independent elements do.
    const sums = each((m) => [
      ...Array.from(
        { length: rows },
        (_, r) => m.subarray(r * width, (r + 1) * width).reduce((sum, x) => sum + x, 0) / Math.sqrt(width),
      ),
    ]);
    const variance = sums.reduce((sum, x) => sum + x * x, 0) / sums.length;
    // The fourth moment of a binomial is 3 + 1/(width·p·(1-p)) less 6/width.
    const spread = Math.sqrt((2 + (1 / (ratio * (1 - ratio)) - 6) / width) / sums.length);
    expect(Math.abs(variance - 1) / spread).toBeLessThan(4);
  });

  it('differs from layer to layer and from step to step', () => {
    const same = (i: number): number => i;
    const none = new Float64Array();
    below4(scores.flatMap((s) => [0, 1, 2].map((l) => sigmas(s[l] ?? none, s[(l + 1) % 3] ?? none, same))));
    const steps = scores.flatMap((a, i) => scores.slice(i + 1).map((b) => [a, b] as const));
    below4(steps.flatMap(([a, b]) => layers.map((_, l) => sigmas(a[l] ?? none, b[l] ?? none, same))));
  });
});

it('is expected to be what it is without dropout', async () => {
  const random = stream(3, 'expectation');
  const normal = (n: number): Float32Array => Float32Array.from({ length: n }, () => random.normal());
  const { model, layout } = compiled(text, 0.3, 'grad', { rank: 2, alpha: 2 });
  const x = tensor(normal(4 * width), [4, width]);
  const feeds = { x, lora_params: tensor(normal(layout.size), [layout.size]) };
  const evaluation = await open(compiled(text, 0.3, 'eval', { rank: 2, alpha: 2 }).model);
  const wanted = floats((await evaluation.run(feeds)).y);
  const session = await open(model);
  const count = 400;
  const [sum, squares] = [new Float64Array(wanted.length), new Float64Array(wanted.length)];
  const dy = tensor(new Float32Array(wanted.length), [4, wanted.length / 4]);
  for (let seed = 0; seed < count; seed++)
    floats((await session.run({ ...feeds, d_y: dy, lora_seed: int(seed) })).y).forEach((y, i) => {
      sum[i] = (sum[i] ?? 0) + y;
      squares[i] = (squares[i] ?? 0) + y * y;
    });
  // The outputs of a row share its mask, so few of the 288 are independent: none beyond 4.5, their squares near 1.
  const off = Array.from(sum, (s, i) => {
    const mean = s / count;
    return (mean - (wanted[i] ?? 0)) / Math.sqrt(((squares[i] ?? 0) / count - mean ** 2) / count);
  });
  expect(Math.max(...off.map(Math.abs))).toBeLessThan(4.5);
  await Promise.all([evaluation.release(), session.release()]);
});

it.each([
  [
    'Scan',
    `h, y = Scan <num_scan_inputs = 1, body = step (float[8] s, float[8] xt) => (float[8] t, float[8] o) {
    t = Identity (s)
    [fc] o = MatMul (xt, W)
  }> (h0, x)`,
  ],
  [
    'Loop',
    `h, y = Loop (trips, "", h0) <body = step (int64 i, bool c, float[8] s) => (bool d, float[8] t, float[8] o) {
    d = Identity (c)
    t = Identity (s)
    one = Gather (x, i)
    [fc] o = MatMul (one, W)
  }>`,
  ],
])('draws a mask for each run of the body of a %s', async (op, node) => {
  const source = `<ir_version: 8, opset_import: ["" : 17]>
main (float[16,8] x, float[8] h0${op === 'Loop' ? ', int64 trips' : ''}) => (float[16,8] y)
<float[8,8] W = {${zeros.slice(0, 3 * 64 - 2)}}> { ${node} }`;
  const { model } = compiled(source, 0.5, 'grad', { rank: 8, alpha: 8 });
  const session = await open(model);
  const params = identities(1, 8);
  const feeds: Record<string, Tensor> = {
    x: tensor(new Float32Array(128).fill(1), [16, 8]),
    h0: tensor(new Float32Array(8), [8]),
    trips: new Tensor('int64', BigInt64Array.of(16n), []),
    d_y: tensor(new Float32Array(128).fill(1), [16, 8]),
    lora_params: tensor(params, [params.length]),
    lora_seed: int(3),
  };
  const given = Object.fromEntries(session.inputNames.flatMap((n) => (feeds[n] ? [[n, feeds[n]]] : [])));
  const { y, lora_grad: gradient } = await session.run(given);
  const values = floats(y);
  const masks = Array.from({ length: 16 }, (_, i) => values.slice(8 * i, 8 * i + 8).join());
  expect(new Set(masks).size).toBeGreaterThan(12);
  // dB of A = 1: row i is what the runs kept of element i, 2 each: the backward has the masks of the forward.
  const kept = Array.from({ length: 8 }, (_, i) => values.filter((_, j) => j % 8 === i).reduce((a, b) => a + b, 0));
  expect(Array.from({ length: 8 }, (_, i) => floats(gradient)[64 + 8 * i])).toEqual(kept);
  await session.release();
});

it('takes the steps of train in train_k, each with its own seed', async () => {
  const state = { lora_step: tensor(Float32Array.of(0), []) };
  const options = { rank: 2, loss: 'mse' };
  const { model, layout } = compiled(text, 0.5, 'train', options);
  const random = stream(5, 'steps');
  const normal = (n: number): Float32Array => Float32Array.from({ length: n }, () => random.normal());
  const vector = (v: Float32Array): Tensor => tensor(v, [v.length]);
  const x = [normal(3 * width), normal(3 * width)];
  const labels = [normal(9 * width), normal(9 * width)];
  const train = await open(model);
  const start = normal(layout.size);
  let at: Record<string, Tensor> = {
    ...state,
    lora_params: vector(start),
    lora_m: vector(new Float32Array(layout.size)),
    lora_v: vector(new Float32Array(layout.size)),
  };
  const from = at;
  for (const [i, seed] of [11, 12].entries()) {
    const out = await train.run({
      ...at,
      x: tensor(x[i] ?? normal(0), [3, width]),
      labels: tensor(labels[i] ?? normal(0), [3, 3 * width]),
      lora_lr: tensor(Float32Array.of(0.1), []),
      lora_seed: int(seed),
    });
    at = Object.fromEntries(
      Object.entries(out).flatMap(([n, t]) => (n.endsWith('_next') ? [[n.slice(0, -5), t] as const] : [])),
    );
  }
  const scan = await open(compiled(text, 0.5, 'train_k', options).model);
  const both = (parts: readonly Float32Array[]): Float32Array => Float32Array.from(parts.flatMap((p) => [...p]));
  const together = (seeds: readonly number[]) =>
    scan.run({
      ...from,
      x: tensor(both(x), [2, 3, width]),
      labels: tensor(both(labels), [2, 3, 3 * width]),
      lora_lr: tensor(Float32Array.of(0.1, 0.1), [2]),
      lora_apply: new Tensor('bool', Uint8Array.of(1, 1), [2]),
      lora_seed: new Tensor('int32', Int32Array.from(seeds), [2]),
    });
  expect((await together([11, 12])).lora_params_next?.data).toEqual(at.lora_params?.data);
  expect((await together([11, 11])).lora_params_next?.data).not.toEqual(at.lora_params?.data);
  await Promise.all([train.release(), scan.release()]);
});

it('a share that is almost nothing leaves next to nothing out', () => {
  expect(threshold(1e-12)).toBe(2 ** 31 - 1);
  expect(threshold(0.5)).toBe(0);
});
