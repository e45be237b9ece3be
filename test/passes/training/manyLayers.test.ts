/** More layers than a list of 1 KiB can count: the lengths of the state's parts must stay where a loader looks for them. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ort from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { resolveOptions } from '../../../src/compile/options.ts';
import { encodeModel, planWeights, writeWeights } from '../../../src/emit/index.ts';
import { parseText } from '../../../src/parser/index.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

it('seventy layers train in one step and in a Scan', async () => {
  const layers = 70;
  const eye = '{1, 0, 0, 1}';
  const nodes = Array.from({ length: layers }, (_, i) => `h${i + 1} = MatMul (h${i}, w${i})`).join('\n  ');
  const weights = Array.from({ length: layers }, (_, i) => `float[2, 2] w${i} = ${eye}`).join(', ');
  const text = `<ir_version: 8, opset_import: ["" : 17]>
chain (float[N, 2] h0) => (float[N, 2] h${layers})
<${weights}>
{
  ${nodes}
}`;
  const { graphs, layout } = compileModel(
    parseText(text),
    resolveOptions({ rank: 1, loss: 'mse', emit: ['train', 'train_k'] }),
  );
  expect(layout.slots).toHaveLength(layers);
  const plan = planWeights([...graphs.values()]);
  const folder = temporaryFolder();
  await writeWeights(plan, folder);
  const run = async (
    name: 'train' | 'train_k',
    k: readonly number[],
  ): Promise<number | bigint | string | undefined> => {
    const graph = graphs.get(name);
    if (graph === undefined) throw new Error(`no ${name}`);
    writeFileSync(join(folder, `${name}.onnx`), encodeModel(graph, plan.placements));
    const session = await ort.InferenceSession.create(join(folder, `${name}.onnx`));
    const floats = (dims: readonly number[], value: number) => {
      const size = dims.reduce((a, b) => a * b, 1);
      return new ort.Tensor('float32', new Float32Array(size).fill(value), dims);
    };
    const state = (value: number) => floats([layout.size], value);
    const results = await session.run({
      h0: floats([...k, 3, 2], 1),
      labels: floats([...k, 3, 2], 0),
      lora_params: state(0),
      lora_m: state(0),
      lora_v: state(0),
      lora_step: floats([], 0),
      lora_lr: floats(k, 0.1),
      ...(name === 'train_k' ? { lora_apply: new ort.Tensor('bool', [true, true], [2]) } : {}),
    });
    return results.loss?.data[0];
  };
  expect(await run('train', [])).toBe(1);
  expect(await run('train_k', [2])).toBe(1);
});
