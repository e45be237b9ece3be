/** Merges of weights that functions get as arguments: what changes is the caller's tensor, or what the caller hands over. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../src/emit/index.ts';
import { bytesOf } from '../../src/formats/rawTensor.ts';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.ts';
import { compile, merge } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';
import { coded } from '../support/coded.ts';
import { distance, floats } from '../support/executeGraphs.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();

/** A model over x [N, 3] and its functions; w1 is [3, 4], w2 [4, 2]. */
const model = (nodes: string, functions: string): string => `<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
agraph (float[N, 3] x) => (float[N, M] y)
<float[3, 4] w1 = {1,2,3,-4,5,6,7,8,-9,10,11,12}, float[4, 2] w2 = {1,-2,3,4,5,6,-7,8}, float[4, 3] t1 = {1,2,3,-4,5,6,7,8,-9,10,11,12}>
{ ${nodes} }
${functions}`;
const fn = (head: string, body: string): string =>
  `<domain: "local", opset_import: ["" : 17, "local" : 1]> ${head} { ${body} }`;
const dense = fn('dense (a, w) => (b)', 'c = MatMul(a, w) b = Relu(c)');

/** Compiles with B away from zero, merges; relative distances of the logits to base + adapter, and to the base. */
async function merged(
  name: string,
  text: string,
): Promise<{ layers: string[]; error: number | undefined; moved: number }> {
  const [file, dir, out] = ['onnx', 'lora', 'merged.onnx'].map((e) => join(folder, `${name}.${e}`));
  if (file === undefined || dir === undefined || out === undefined) throw new Error('no names');
  writeFileSync(file, encodeModel(parseText(text)));
  const { manifest } = await compile(file, { out: dir, rank: 1, alpha: 1, emit: ['model'] });
  const adapter = join(dir, 'adapter/adapter_model.safetensors');
  const source = openSafetensors(adapter);
  const tensors = [...source.tensors.keys()].flatMap((key) => {
    const t = source.read(key);
    if (t === undefined) return [];
    const values = Float32Array.from({ length: t.data.length / 4 }, (_, i) => 0.5 + i);
    return [[key, key.includes('lora_B') ? { ...t, data: bytesOf(values) } : t] as const];
  });
  source.close();
  writeSafetensors(adapter, tensors);
  const { error } = await merge(dir, { adapter: 'start', out });
  const x = new Tensor('float32', Float32Array.of(1, 2, 3, -1, 0.5, 2), [2, 3]);
  const [before, after] = await Promise.all(
    [file, out].map(async (f) =>
      floats((await (await InferenceSession.create(f, { logSeverityLevel: 4 })).run({ x })).y),
    ),
  );
  if (before === undefined || after === undefined) throw new Error('no results');
  return { layers: manifest.layers.map((l) => l.weight), error, moved: distance(after, before) };
}

describe('a weight that a function gets as an argument', () => {
  it.each([
    ['one function, two weights', 'h = local.dense(x, w1) y = local.dense(h, w2)', dense, ['w1', 'w2']],
    [
      'through another function',
      'h = local.outer(w1, x) y = local.dense(h, w2)',
      `${fn('outer (v, u) => (z)', 'z = local.dense(u, v)')} ${dense}`,
      ['w1', 'w2'],
    ],
    [
      'turned in the function',
      'y = local.turned(t1, x)',
      fn('turned (w, a) => (b)', 't = Transpose <perm = [1, 0]> (w) b = MatMul(a, t)'),
      ['t1'],
    ],
    ['turned before the call', 't = Transpose <perm = [1, 0]> (t1) y = local.dense(x, t)', dense, ['t1']],
    ['read by others of the caller', 'h = local.dense(x, w1) s = ReduceMax(w1) y = Mul(h, s)', dense, ['w1']],
    ['read by the caller and the function', 'h = local.dense(x, w1) g = MatMul(x, w1) y = Add(h, g)', dense, ['w1']],
  ])('%s', async (name, nodes, functions, weights) => {
    const { layers, error, moved } = await merged(name, model(nodes, functions));
    expect(layers).toEqual(weights);
    expect(error).toBeLessThan(1e-6);
    expect(moved).toBeGreaterThan(0.05);
  });

  it.each([
    [
      'in the function',
      'y = local.odd(x, w1)',
      fn('odd (a, w) => (b)', 'c = MatMul(a, w) s = ReduceMax(w) b = Mul(c, s)'),
      'in function "odd"',
    ],
    [
      'behind a Transpose',
      't = Transpose <perm = [1, 0]> (t1) h = local.dense(x, t) s = ReduceMax(t) y = Mul(h, s)',
      dense,
      'Transpose',
    ],
  ])('is refused where others read it, too: %s', async (name, nodes, functions, words) => {
    await expect(merged(name, model(nodes, functions))).rejects.toSatisfy(coded('NOT_MERGEABLE', words));
  });
});
