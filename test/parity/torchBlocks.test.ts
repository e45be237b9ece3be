/**
 * Blocks of vision, audio and text models as PyTorch's two exporters write them (fixtures/torch-blocks/make.py): the loss, the output and
 * the adapter's gradients against PyTorch's autograd. Both sides compute in float32 in other orders; a relative 1e-4 of each gradient is
 * some hundred roundings.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { readPeft } from '../../src/adapter/index.ts';
import { compileModel } from '../../src/compile/compileModel.ts';
import { resolveOptions } from '../../src/compile/options.ts';
import { encodeModel } from '../../src/emit/index.ts';
import { elements, type RawTensor, toFloat32 } from '../../src/formats/rawTensor.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import { parseFile } from '../../src/parser/index.ts';
import { distance, floats } from '../support/executeGraphs.ts';
import { ortTensor } from '../support/parityPack.ts';

const root = join(import.meta.dirname, '../../fixtures/torch-blocks');
const blocks = readdirSync(root, { withFileTypes: true }).filter((e) => e.isDirectory());
const forms = blocks.flatMap(({ name }) =>
  ['script', 'dynamo']
    .filter((form) => existsSync(join(root, name, `${form}.onnx`)))
    .map((form) => [name, form] as const),
);

function tensorsOf(path: string): Map<string, RawTensor> {
  const file = openSafetensors(path);
  const found = new Map(
    [...file.tensors.keys()].flatMap((k) => {
      const tensor = file.read(k);
      return tensor === undefined ? [] : [[k, tensor] as const];
    }),
  );
  file.close();
  return found;
}

/** PEFT stores both factors transposed, except those of convolutions. */
function turned(tensor: RawTensor): Float32Array {
  const [rows = 1, columns = 1, ...window] = tensor.shape;
  if (window.length > 0) return toFloat32(tensor);
  const values = toFloat32(tensor);
  return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)] ?? Number.NaN);
}

describe.each(forms)('%s, %s', (name, form) => {
  it('has the loss and the gradients of PyTorch', async () => {
    const folder = join(root, name);
    const expected = tensorsOf(join(folder, 'expected.safetensors'));
    const one = (key: string): RawTensor => {
      const found = expected.get(key);
      if (found === undefined) throw new Error(`no ${key}`);
      return found;
    };
    const adapter = readPeft(join(folder, 'adapter'));
    const loss = elements(one('labels')) instanceof Float32Array ? 'mse' : 'cross-entropy';
    const options = resolveOptions({ adapter: join(folder, 'adapter'), loss, emit: ['grad', 'eval'] });
    const { graphs, layout, layers } = compileModel(parseFile(join(folder, `${form}.onnx`)).model, options);
    expect(layers.map((l) => l.path).sort()).toEqual([...adapter.tensors.keys()].sort());

    const params = new Float32Array(layout.size);
    for (const { layer, ...slots } of layout.slots)
      for (const side of ['A', 'B'] as const)
        params.set(adapter.tensors.get(layer.path)?.[side] ?? [], slots[side].offset);
    const feeds = Object.fromEntries(
      [...expected].flatMap(([key, t]) =>
        key === 'labels' || key.startsWith('input.') ? [[key.replace('input.', ''), ortTensor(t)]] : [],
      ),
    );
    const run = async (which: 'grad' | 'eval') => {
      const graph = graphs.get(which);
      if (graph === undefined) throw new Error(`no ${which}`);
      const session = await InferenceSession.create(encodeModel(graph), { intraOpNumThreads: 1, logSeverityLevel: 3 });
      const results = await session.run({ ...feeds, lora_params: new Tensor('float32', params, [params.length]) });
      await session.release();
      return results;
    };
    const { loss: lost, lora_grad } = await run('grad');
    expect(distance(floats(lost), toFloat32(one('loss')))).toBeLessThan(1e-5);
    for (const { layer, ...slots } of layout.slots)
      for (const side of ['A', 'B'] as const) {
        const theirs = turned(one(`grad.base_model.model.${layer.path}.lora_${side}.weight`));
        const { offset } = slots[side];
        const ours = floats(lora_grad).subarray(offset, offset + theirs.length);
        expect(distance(ours, theirs), `${layer.path}.lora_${side}`).toBeLessThan(1e-4);
      }
    expect(distance(floats((await run('eval')).logits), toFloat32(one('output')))).toBeLessThan(1e-5);
  });
});
