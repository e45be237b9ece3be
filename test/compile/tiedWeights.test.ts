/** Modules whose equal weights an exporter folded into one tensor, brought apart by an adapter that has a key for each. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, expect, it } from 'vitest';
import { writePeft } from '../../src/adapter/index.ts';
import { encodeModel } from '../../src/emit/index.ts';
import { stream } from '../../src/graph/random.ts';
import { compile, inspect, merge } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';

const scratch = mkdtempSync(join(tmpdir(), 'loraify-separate-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const text = `<ir_version: 8, opset_import: ["" : 17]>
main (float[N,4] x) => (float[N,4] y)
<float[4,4] "onnx::MatMul_7" = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, 0.9, -1.0, 1.1, 1.2, 0.3, 0.2, 0.1, -0.1}>
{
  ["/block.0/fc/MatMul"] a = MatMul (x, "onnx::MatMul_7")
  r = Relu (a)
  ["/block.1/fc/MatMul"] y = MatMul (r, "onnx::MatMul_7")
}`;

it('makes one layer per module, trains them apart, and the merge unties the weight', async () => {
  const source = join(scratch, 'model.onnx');
  writeFileSync(source, encodeModel(parseText(text)));
  expect((await inspect(source)).layers.map((l) => [l.path, l.nodes.length])).toEqual([['block.0.fc', 2]]);

  const random = stream(1, 'separate');
  const params = Float32Array.from({ length: 32 }, () => 0.3 * random.normal());
  const layers = ['block.0.fc', 'block.1.fc'].map((path, i) => ({
    ...{ path, op: 'MatMul', in: 4, out: 4, rank: 2, alpha: 4 },
    ...{ A: { offset: 16 * i }, B: { offset: 16 * i + 8 } },
  }));
  const adapter = join(scratch, 'adapter');
  mkdirSync(adapter);
  writePeft(adapter, { layers, params, scaling: 'standard', knownPaths: [] });

  const dir = join(scratch, 'package');
  const { manifest } = await compile(source, { adapter, out: dir });
  expect(manifest.layers.map((l) => [l.path, l.nodes, l.weight])).toEqual([
    ['block.0.fc', ['/block.0/fc/MatMul'], 'onnx::MatMul_7'],
    ['block.1.fc', ['/block.1/fc/MatMul'], 'onnx::MatMul_7'],
  ]);
  const out = join(scratch, 'merged.onnx');
  expect((await merge(dir, { adapter: 'start', out })).error).toBeLessThan(1e-6);

  // The two halves really differ: x·(W + s·A0·B0), relu, ·(W + s·A1·B1) by hand.
  const session = await InferenceSession.create(out, { logSeverityLevel: 4 });
  const x = [1, -2, 3, 0.5];
  const y = (await session.run({ x: new Tensor('float32', Float32Array.from(x), [1, 4]) })).y;
  const W = [0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, 0.9, -1.0, 1.1, 1.2, 0.3, 0.2, 0.1, -0.1];
  const times = (v: readonly number[], offset: number): number[] =>
    [0, 1, 2, 3].map((o) =>
      v.reduce((sum, xi, i) => {
        const delta = [0, 1].reduce(
          (d, k) => d + (params[offset + 2 * i + k] ?? 0) * (params[offset + 8 + 4 * k + o] ?? 0),
          0,
        );
        return sum + xi * ((W[4 * i + o] ?? 0) + 2 * delta);
      }, 0),
    );
  const expected = times(
    times(x, 0).map((a) => Math.max(0, a)),
    16,
  );
  expected.forEach((e, i) => {
    expect(Number(y?.data[i])).toBeCloseTo(e, 4);
  });
});
