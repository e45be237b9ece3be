/** Models in one file whose weights stream in, and in two. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeModel, writeModelFile } from '../../src/emit/index.ts';
import type { Model } from '../../src/graph/model.ts';
import { memorySource } from '../../src/graph/tensor.ts';
import { parseFile, parseSource, parseText } from '../../src/parser/index.ts';
import { describeModel } from '../support/describeModel.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const list = (n: number): string => Array.from({ length: n }, (_, i) => i / 8).join(', ');

/** Large and small weights everywhere a tensor can be. */
const text = `<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
main (float[N,20] x, bool c) => (float[N,20] y)
<float[20,20] W = {${list(400)}}, float[20] b = {${list(20)}}>
{
  h = MatMul (x, W)
  V = Constant <value = float[20,20] {${list(400)}}> ()
  k = MatMul (h, V)
  z = If (c) <then_branch = yes () => (float[N,20] p) <float[300,1] U = {${list(300)}}> {
    q = ReduceSum <keepdims = 0> (U)
    p = Add (k, q)
  }, else_branch = no () => (float[N,20] r) {
    T = Constant <value = float[20,20] {${list(400)}}> ()
    r = MatMul (k, T)
  }>
  a = local.dense (z)
  y = Add (a, b)
}
<domain: "local", opset_import: ["" : 17]>
dense (v) => (r)
{
  F = Constant <value = float[20,20] {${list(400)}}> ()
  r = MatMul (v, F)
}`;

const whole = (): Model => parseSource(memorySource('model', encodeModel(parseText(text)))).model;

describe('a model file', () => {
  const folder = temporaryFolder();

  it.each([false, true])('holds the model, data outside: %s', async (external) => {
    const file = join(folder, `${external}.onnx`);
    const made = await writeModelFile(whole(), file, { external });
    expect(made.bytes).toBe(readFileSync(file).length);
    expect(made.dataFile).toBe(external ? 'true.onnx.data' : undefined);
    expect(existsSync(`${file}.data`)).toBe(external);
    // Inside: all five weights above 1 KiB, 400 or 300 numbers each; outside they are not.
    if (external) expect(made.bytes).toBeLessThan(4 * 1900);
    else expect(made.bytes).toBeGreaterThan(4 * 1900);
    const { model, source } = parseFile(file);
    expect(describeModel(model)).toEqual(describeModel(whole()));
    source.close();
  });

  it('has no data file where nothing is large', async () => {
    const small = parseText('<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Neg (x) }');
    const file = join(folder, 'small.onnx');
    expect((await writeModelFile(small, file, { external: true })).dataFile).toBeUndefined();
    expect(existsSync(`${file}.data`)).toBe(false);
  });

  it('is refused with WRITE_FAILED where it cannot be', async () => {
    await expect(writeModelFile(whole(), join(folder, 'none/m.onnx'), { external: false })).rejects.toThrow(
      expect.objectContaining({ code: 'WRITE_FAILED' }),
    );
  });
});
