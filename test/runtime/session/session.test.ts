import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { encodeModel } from '../../../src/emit/index.ts';
import { parseText } from '../../../src/parser/index.ts';
import { openSession } from '../../../src/runtime/session/session.ts';

it('products with unpacked weights of 8 bits keep their activations', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'loraify-session-'));
  const file = join(dir, 'model.onnx');
  const model = parseText(`<ir_version: 10, opset_import: ["" : 21]>
    g (float[N,3] x) => (float[N,2] y) <int8[3,2] w = {100, -7, 3, 41, -90, 66}, float s = {1.0}> {
      wide = DequantizeLinear (w, s)
      y = MatMul (x, wide)
    }`);
  writeFileSync(file, encodeModel(model));
  const session = await openSession(file, { provider: 'cpu', threads: 1 });
  const { y } = await session.run({ x: new Tensor('float32', Float32Array.of(0.1, 0.77, -0.3), [1, 3]) });
  // Rounded to 8 bits, 0.1 would be off by up to 0.003 and the first product by 0.3.
  expect(y?.data[0]).toBeCloseTo(39.31, 4);
  expect(y?.data[1]).toBeCloseTo(11.07, 4);
  await session.release();
  rmSync(dir, { recursive: true });
});

it('SiLU of doubles loads', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'loraify-session-'));
  const file = join(dir, 'model.onnx');
  const model = parseText(`<ir_version: 10, opset_import: ["" : 21]>
    g (double[N] x) => (double[N] y) { s = Sigmoid (x) y = Mul (x, s) }`);
  writeFileSync(file, encodeModel(model));
  const session = await openSession(file, { provider: 'cpu', threads: 1 });
  const { y } = await session.run({ x: new Tensor('float64', Float64Array.of(0, 2), [2]) });
  expect(y?.data[0]).toBe(0);
  expect(y?.data[1]).toBeCloseTo(2 / (1 + Math.exp(-2)), 12);
  await session.release();
  rmSync(dir, { recursive: true });
});
