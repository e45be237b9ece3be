import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { compile } from '../../src/index.ts';
import { caseFolder } from '../support/caseFolder.ts';
import { floats } from '../support/executeGraphs.ts';

it('lstm-last-step-reshape: a length of the example in value_info gives way to inference', async () => {
  const cwd = caseFolder('lstm-last-step-reshape');
  const out = join(cwd, 'p');
  const { manifest, warnings } = await compile(join(cwd, 'model.onnx'), { rank: 2, alpha: 4, out });
  expect(warnings).toEqual([
    'the model declares "getitem" as [batch, 5, 8], but it is [batch, seq, 8]: the declaration is ignored',
  ]);
  const { size } = manifest.state;
  const vector = new Tensor('float32', new Float32Array(size).fill(0.1), [size]);
  for (const [rows, steps] of [
    [3, 7],
    [2, 5],
    [1, 1],
    [4, 20],
  ] as const) {
    const x = Float32Array.from({ length: rows * steps * 4 }, (_, i) => Math.sin(i));
    const feeds = {
      x: new Tensor('float32', x, [rows, steps, 4]),
      labels: new Tensor('int64', new BigInt64Array(rows).fill(1n), [rows]),
      lora_params: vector,
    };
    const losses = await Promise.all(
      ['eval', 'grad'].map(async (graph) => {
        const session = await InferenceSession.create(join(out, `${graph}.onnx`), { logSeverityLevel: 4 });
        return floats((await session.run(feeds)).loss)[0];
      }),
    );
    expect(losses[1]).toBeCloseTo(losses[0] ?? Number.NaN, 6);
  }
});
