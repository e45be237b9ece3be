/** The graphs for one provider compute what the portable ones do: gradients of real models, executed on the CPU. */
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { resolveOptions } from '../../../src/compile/options.ts';
import { encodeModel } from '../../../src/emit/index.ts';
import { sizeOf } from '../../../src/graph/layers.ts';
import { stream } from '../../../src/graph/random.ts';
import { parseFile, parseText } from '../../../src/parser/index.ts';
import { targets } from '../../../src/passes/index.ts';
import { readPack } from '../../support/parityPack.ts';
import { describeShared, sharedPath } from '../../support/sharedMaterial.ts';

const own = join(import.meta.dirname, '../../../fixtures/peft-pack');

/** Loss and gradient of the first batch, with B at random, and the number of nodes of a step. */
async function measured(folder: string, target: (typeof targets)[number]) {
  const { model, source } = parseFile(join(folder, 'base.onnx'));
  const { batches } = readPack(folder);
  const options = resolveOptions({ adapter: join(folder, 'init'), for: target, emit: ['grad'] });
  const { graphs, layout } = compileModel(model, options);
  const graph = graphs.get('grad');
  const [batch] = batches;
  if (graph === undefined || batch === undefined) throw new Error('no graph or batch');
  const session = await InferenceSession.create(encodeModel(graph), { intraOpNumThreads: 1, logSeverityLevel: 3 });
  source.close();
  const tensors = layout.slots.flatMap(({ A, B }) => [A, B]);
  const params = new Float32Array(layout.size);
  for (const { name, offset, shape } of tensors) {
    const random = stream(3, name);
    for (let i = 0; i < sizeOf(shape); i++) params[offset + i] = 0.05 * random.normal();
  }
  const all: Record<string, Tensor> = { ...batch, lora_params: new Tensor('float32', params, [layout.size]) };
  const fed = new Set(session.inputNames);
  const feeds = Object.fromEntries(Object.entries(all).filter(([name]) => fed.has(name)));
  const { loss, lora_grad: gradient } = await session.run(feeds);
  await session.release();
  const flat = gradient?.data;
  if (!(flat instanceof Float32Array)) throw new Error('no gradient');
  // Each target lays the state out in its own way.
  const gradients = tensors.flatMap(({ offset, shape }) => [...flat.subarray(offset, offset + sizeOf(shape))]);
  return { loss: Number(loss?.data[0]), gradient: gradients, nodes: graph.graph.nodes.length };
}

function compare(folder: string): void {
  it('gradients equal those of the portable graph, with no more nodes', async () => {
    const portable = await measured(folder, 'portable');
    for (const target of targets.filter((t) => t !== 'portable')) {
      const { loss, gradient, nodes } = await measured(folder, target);
      expect(nodes, `nodes for ${target}`).toBeLessThanOrEqual(portable.nodes);
      const off = Math.hypot(...gradient.map((x, i) => x - (portable.gradient[i] ?? 0)));
      // Float32 sums in another order: a merged weight rounds W + s·A·B once.
      expect(off / Math.hypot(...portable.gradient), `gradient for ${target}`).toBeLessThan(1e-5);
      expect(Math.abs(loss - portable.loss) / portable.loss, `loss for ${target}`).toBeLessThan(1e-5);
    }
  });
}

it('the loss is the one that was chosen, whatever a target makes of the layer that it was chosen by', () => {
  const text = `<ir_version: 8, opset_import: ["": 17]> g (float[N,3] x) => (float[N,2] y)
    <float[3,2] w = {0.5, -1, 1, 0.25, -0.5, 2}> { y = MatMul(x, w) }`;
  for (const target of targets) {
    const { graphs, prepared } = compileModel(
      parseText(text),
      resolveOptions({ rank: 2, for: target, emit: ['grad'] }),
    );
    expect(prepared?.choice.kind).toBe('cross-entropy');
    expect(graphs.get('grad')?.graph.inputs.find((v) => v.name === 'labels')?.dtype, target).toBe('int64');
  }
});

describe('text classifier', () => {
  compare(own);
});
describeShared('parity packs', 'parity', () => {
  describe.each(['bert_cls', 'gpt2_lm', 'llama_lm', 'mlp_classifier'])('%s', (name) => {
    compare(sharedPath('parity', name));
  });
});
