/** Activations that the backward computes again: the same gradients to the bit, in less memory. */
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { resolveOptions } from '../../../src/compile/options.ts';
import { cloneModel } from '../../../src/graph/clone.ts';
import type { Model } from '../../../src/graph/model.ts';
import { parseFile, parseText } from '../../../src/parser/index.ts';
import { verify } from '../../../src/passes/index.ts';
import { planBuffers } from '../../../src/passes/memory/buffers.ts';
import { bytesOfValues } from '../../../src/passes/memory/estimate.ts';
import { executionOrder } from '../../../src/passes/memory/order.ts';
import { rematerialize } from '../../../src/passes/optimize/rematerialize.ts';
import { schedule } from '../../../src/passes/optimize/schedule.ts';
import { compute, expectSame } from '../../support/compute.ts';
import { describeShared, sharedPath } from '../../support/sharedMaterial.ts';

const copies = ({ graph }: Model): string[] =>
  graph.nodes.filter((n) => n.metadata.get('loraify.rule') === 'again').map((n) => n.op);

/** A gradient graph for CUDA of a model whose lengths are so small that nothing is computed again. */
function gradient(folder: string, adapter: string): Model {
  const { model, source } = parseFile(folder);
  const { graphs } = compileModel(model, resolveOptions({ adapter, for: 'cuda', emit: ['grad'] }));
  onTestFinished(() => source.close());
  const graph = graphs.get('grad');
  if (graph === undefined) throw new Error('no graph');
  return graph;
}

/** Bytes that lie in memory when the loss has been computed. */
function behindLoss({ graph }: Model): number {
  const { order, buffers } = planBuffers(graph);
  const at = order.findIndex((n) => n.outputs.some((v) => v.name === 'loss'));
  const lengths = new Map(Object.entries({ batch: 64, seq: 64 }));
  const live = buffers
    .filter(({ from, to }) => from <= at && to > at)
    .flatMap(({ values: [first] }) => first?.value ?? []);
  return bytesOfValues(live, lengths);
}

function compare(folder: string, wanted: readonly string[]): void {
  it('gives the same gradient to the bit, from less memory', async () => {
    const kept = gradient(join(folder, 'base.onnx'), join(folder, 'init'));
    const { model: again } = cloneModel(kept);
    again.graph.nodes.splice(0, again.graph.nodes.length, ...executionOrder(again.graph));
    // So long that bytes are all that counts.
    rematerialize(again.graph, { batch: 64, length: 4096 });
    again.graph.settle();
    schedule(again.graph);
    verify(again);
    expect(copies(again)).toEqual(expect.arrayContaining([...wanted]));
    const sizes = { batch: 2, seq: 6 };
    const before = await compute(kept, { sizes });
    expectSame(await compute(again, { sizes }), before);
    // Of two layers the working space of one is the peak: what counts is what the loss leaves behind.
    expect(behindLoss(again)).toBeLessThan(0.75 * behindLoss(kept));
  });
}

describeShared('parity packs', 'parity', () => {
  describe.each([
    ['bert_cls', ['Gelu', 'LayerNormalization', 'Softmax', 'FusedMatMul']],
    ['gpt2_lm', ['FastGelu', 'LayerNormalization', 'Softmax', 'FusedMatMul']],
    ['llama_lm', ['Mul', 'SimplifiedLayerNormalization', 'Softmax', 'FusedMatMul']],
  ] as const)('%s', (name, wanted) => {
    compare(sharedPath('parity', name), wanted);
  });
});

/** A forward of two passes, and what a gradient reads of it. */
const chain = (width: number): string => `<ir_version: 8, opset_import: ["" : 18]>
main (float[N,S,${width}] x) => (float loss, float[N,S,${width}] lora_grad) {
  s = Sigmoid (x)
  m = Mul (s, x)
  most = ReduceMax <keepdims: int = 0> (m)
  loss = Neg (most)
  d = Mul (m, most)
  lora_grad = Mul (d, s)
}`;

function chained(width: number): Model {
  const model = parseText(chain(width));
  for (const node of model.graph.nodes.slice(4)) node.metadata.set('loraify.rule', 'grad/Mul');
  for (const node of model.graph.nodes) for (const v of node.outputs) v.type = model.graph.outputs[1]?.type;
  return model;
}

describe('what is computed again', () => {
  it('is what frees more than a node and its passes cost', () => {
    // 8 x 512 rows of 4096 are 64 MiB, of 256 4 MiB: less than nine microseconds are worth.
    const [large, small] = [chained(4096), chained(256)];
    for (const { graph } of [large, small]) rematerialize(graph);
    expect(copies(large)).toEqual(['Sigmoid', 'Mul']);
    expect(copies(small)).toEqual([]);
    verify(large);
  });

  it('stands right before its first reader, and ONNX Runtime runs it there', () => {
    const { graph } = chained(4096);
    rematerialize(graph);
    expect(graph.nodes.map((n) => n.outputs[0]?.name)).toEqual([
      's',
      'm',
      'most',
      'loss',
      's.again',
      'm.again',
      'd',
      'lora_grad',
    ]);
    schedule(graph);
    const order = executionOrder(graph).map((n) => n.outputs[0]?.name);
    expect(order.indexOf('loss')).toBeLessThan(order.indexOf('s.again'));
    expect(order.indexOf('m.again')).toBe(order.indexOf('d') - 1);
  });

  it('is nothing in a graph without a gradient', () => {
    const { graph } = parseText(chain(4096));
    const count = graph.nodes.length;
    rematerialize(graph);
    expect(graph.nodes).toHaveLength(count);
  });
});
