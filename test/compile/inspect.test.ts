/** What `inspect` says about gradients is what a compile finds. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeModel } from '../../src/emit/index.ts';
import { compile, inspect } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';
import { coded } from '../support/coded.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const scratch = temporaryFolder();
const fixtures = join(import.meta.dirname, '../../fixtures');

function file(name: string, text: string): string {
  const path = join(scratch, `${name}.onnx`);
  writeFileSync(path, encodeModel(parseText(text)));
  return path;
}

/** Two operators without a rule one behind the other, a layer whose gradient is stopped, and one that the loss does not see. */
const blocked = `<ir_version: 8, opset_import: ["" : 17, "com.example" : 1, "com.microsoft" : 1]>
main (float[N,3] x) => (float[N,3] y, float[N,3] z)
<float[3,3] W1 = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, 0.9}, float[3,3] W2 = {0.3, 0.1, 0.3, 0.4, 0.2, -0.6, 0.1, 0.8, 0.9},
 float[3,3] W3 = {0.5, -0.2, 0.3, 0.4, 0.5, -0.6, 0.1, 0.8, 0.4}, float[3,3] W4 = {0.3, -0.2, 0.3, 0.4, 0.5, -0.6, 0.6, 0.8, 0.1}>
{
  ["/fc1/MatMul"] a = MatMul (x, W1)
  [odd] b = com.example.Odd (a)
  ["/fc2/MatMul"] c = MatMul (b, W2)
  [bias] d0 = com.microsoft.BiasAdd (c, c, c)
  [tanh] d = Tanh (d0)
  ["/fc3/MatMul"] e = MatMul (x, W3)
  [floor] f = Floor (e)
  [sum] g = Add (d, f)
  [shape] s = Shape (c)
  [y] y = Reshape (g, s)
  ["/fc4/MatMul"] z = MatMul (x, W4)
}`;

describe('inspect with grad', () => {
  it('names every node that blocks, with the way to the loss and a way out', async () => {
    const path = file('blocked', blocked);
    const { gradient } = await inspect(path, { grad: true, loss: 'mse' });
    const hint = expect.stringContaining('--target');
    expect(gradient?.blocked).toEqual([
      {
        ...{ node: 'odd', op: 'com.example.Odd', code: 'NO_GRADIENT', hint },
        reason: 'no gradient rule for com.example.Odd',
        path: ['Odd "odd"', 'MatMul "/fc2/MatMul"', 'BiasAdd "bias"', 'Tanh "tanh"', 'Add "sum"', 'Reshape "y"'],
      },
      {
        ...{ node: 'bias', op: 'com.microsoft.BiasAdd', code: 'NO_GRADIENT', hint },
        reason: 'no gradient rule for com.microsoft.BiasAdd: of CUDA only',
        path: ['BiasAdd "bias"', 'Tanh "tanh"', 'Add "sum"', 'Reshape "y"'],
      },
    ]);
    expect(gradient?.unreached).toEqual(['fc3', 'fc4']);
    expect(gradient?.nodes).toEqual(
      expect.arrayContaining([
        { node: '/fc2/MatMul', op: 'MatMul', by: 'rule', layer: 'fc2' },
        { node: 'odd', op: 'com.example.Odd', by: 'blocked' },
        { node: 'floor', op: 'Floor', by: 'stopped' },
        { node: 'shape', op: 'Shape', by: 'stopped' },
        { node: 'tanh', op: 'Tanh', by: 'rule' },
      ]),
    );
    // What a compile stumbles over first is one of them.
    await expect(compile(path, { loss: 'mse', dryRun: true })).rejects.toSatisfy(coded('NO_GRADIENT', 'BiasAdd'));
    // Behind what blocks, a compile goes through.
    const behind = await inspect(path, { grad: true, loss: 'mse', target: ['fc3', 'fc4'] });
    expect(behind.gradient?.blocked).toEqual([]);
  });

  it('finds layers in functions that bodies call', async () => {
    const text = readFileSync(join(fixtures, 'train/function-nested/input.onnx.txt'), 'utf8');
    const { layers, loss, gradient } = await inspect(file('function', text), { grad: true });
    expect(layers.map((l) => l.path)).toEqual(['outer.inner.fc']);
    expect(loss).toMatchObject({ kind: 'mse', output: 'y' });
    expect(gradient?.nodes).toContainEqual({
      node: 'outer/inner/fc',
      op: 'MatMul',
      by: 'rule',
      layer: 'outer.inner.fc',
    });
  });

  it('looks into bodies, and names what blocks there with the way out of them', async () => {
    const text = readFileSync(join(fixtures, 'train/scan-body/input.onnx.txt'), 'utf8');
    const free = await inspect(file('body', text), { grad: true });
    expect(free.gradient?.blocked).toEqual([]);
    expect(free.gradient?.nodes.map((n) => `${n.op} ${n.node} ${n.by}`)).toEqual([
      'Scan h rule',
      'MatMul fc rule',
      'Add t rule',
    ]);
    const odd = text
      .replace('"" : 17', '"" : 17, "com.example" : 1')
      .replace('t = Add (p, xt)', '[odd] q = com.example.Odd (p)\n    t = Add (q, xt)');
    const { gradient } = await inspect(file('odd-body', odd), { grad: true });
    expect(gradient?.blocked).toMatchObject([{ node: 'odd', path: ['Odd "odd"', 'Add "t"', 'Scan "h"'] }]);
  });

  it('is empty where no layer is chosen, and absent where nobody asks', async () => {
    const path = file('none', blocked);
    const none = await inspect(path, { grad: true, target: ['nowhere'] });
    expect(none.gradient).toEqual({ operators: [], nodes: [], blocked: [], unreached: [] });
    expect(await inspect(path)).not.toHaveProperty('gradient');
  });

  const areas = readdirSync(join(fixtures, 'train')).map((c) => join('train', c));
  it.each([...areas, 'errors/no-gradient'])('agrees with a compile of %s', async (folder) => {
    const text = readFileSync(join(fixtures, folder, 'input.onnx.txt'), 'utf8');
    const { stages, ...options } = z
      .looseObject({ stages: z.array(z.string()) })
      .parse(JSON.parse(readFileSync(join(fixtures, folder, 'options.json'), 'utf8')));
    expect(stages.length).toBeGreaterThan(0);
    const path = file('case', text);
    const { gradient, layers } = await inspect(path, { grad: true, ...options });
    const refused = await compile(path, { ...options, emit: ['grad'], dryRun: true }).then(
      () => [],
      (error: Error) => [error.message],
    );
    expect(gradient?.blocked.map((b) => b.reason)).toEqual(refused);
    const counted = gradient?.operators.reduce((n, o) => n + o.count, 0);
    expect(counted).toBe(gradient?.nodes.length);
    const seen = new Set(gradient?.nodes.flatMap((n) => n.layer ?? []));
    expect([...seen, ...(gradient?.unreached ?? [])].sort()).toEqual(
      layers
        .filter((l) => l.chosen)
        .map((l) => l.path)
        .sort(),
    );
  });
});

describeShared('inspect with grad of a decoder from the model builder', 'models/dec_tiny_llama_fp16_extdata', () => {
  it('finds a rule for each of its fused operators', async () => {
    const { gradient } = await inspect(sharedPath('models/dec_tiny_llama_fp16_extdata/model.onnx'), { grad: true });
    expect(gradient?.blocked).toEqual([]);
    const by = new Map(gradient?.nodes.map((n) => [n.op, n.by]));
    expect(Object.fromEntries([...by].filter(([op]) => op.includes('.')))).toEqual({
      'com.microsoft.MultiHeadAttention': 'decomposition',
      'com.microsoft.RotaryEmbedding': 'decomposition',
      'com.microsoft.SkipSimplifiedLayerNormalization': 'rule',
    });
  });
});

/** A layer behind a function, of which `text` computes t from x. */
const behind = (text: string, constants = ''): string => `<ir_version: 8, opset_import: ["" : 17]>
main (float[N,4] x) => (float[N,4] y)
<float[4,4] W = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, 0.9, 0.3, 0.1, 0.3, 0.4, 0.2, -0.6, 0.1}${constants}>
{
  ${text}
  ["/fc/MatMul"] y = MatMul (t, W)
}`;

describe('inspect --why', () => {
  const gelu = (h: string): string =>
    behind(
      `v = Div (x, root)
  e = Erf (v)
  [sum] s = Add (e, one)
  [times] p = Mul (x, s)
  [half] t = Mul (p, h)`,
      `, float root = {1.4142135}, float one = {1}, float${h}`,
    );
  const silu = (alpha: string): string =>
    behind('[scaled] v = Mul (x, alpha)\n  [gate] s = Sigmoid (v)\n  [silu] t = Mul (x, s)', `, float${alpha}`);
  const norm = (axis: number): string =>
    behind(
      `m = ReduceMean <axes = [-1]> (x)
  c = Sub (x, m)
  q = Pow (c, two)
  [variance] v = ReduceMean <axes = [${axis}]> (q)
  e = Add (v, epsilon)
  s = Sqrt (e)
  [norm] t = Div (c, s)`,
      ', float two = {2}, float epsilon = {0.00001}',
    );

  it.each([
    [
      'GELU',
      gelu('[1] h = {0.5}'),
      { pattern: 'GELU', node: 'half', reason: '"h" has shape [1], so it is not a scalar' },
    ],
    [
      'SiLU',
      silu('[1] alpha = {1.7}'),
      { pattern: 'SiLU', node: 'silu', reason: '"alpha" has shape [1], so it is not a scalar' },
    ],
    ['LayerNorm', norm(0), { pattern: 'normalization', node: 'norm', reason: '"variance" is not along the last axis' }],
  ])('names what keeps a %s from being one', async (name, text, miss) => {
    const { nearMisses } = await inspect(file(`near-${name}`, text), { why: true, for: 'cuda' });
    expect(nearMisses).toEqual([miss]);
  });

  it('has nothing to say where the function is recognized, or `why` is not set', async () => {
    for (const [i, text] of [gelu(' h = {0.5}'), silu(' alpha = {1.7}'), norm(-1)].entries()) {
      const path = file(`recognized${i}`, text);
      expect((await inspect(path, { why: true })).nearMisses).toEqual([]);
      expect((await inspect(path)).nearMisses).toBeUndefined();
    }
  });
});
