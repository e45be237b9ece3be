/** Names that the training graphs add to a model which has values of those names, in the main graph or in a body. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeModelFile } from '../../src/emit/index.ts';
import type { Graph } from '../../src/graph/model.ts';
import { compile } from '../../src/index.ts';
import { parseFile, parseText } from '../../src/parser/index.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

/** A Scan whose body has an input `labels` and an initializer `loss`, then a layer; the main graph has a value `weight`. */
const model = `<ir_version: 8, opset_import: ["" : 17]>
main (float[T,N,4] x, float[N,4] h0) => (float[N,3] logits)
<float[4,3] W = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, 0.9, -0.1, 0.2, 0.3}>
{
  h = Scan <num_scan_inputs = 1, body = step (float[N,4] labels, float[N,4] xt) => (float[N,4] t)
  <float loss = {0.5}>
  {
    half = Mul (labels, loss)
    t = Add (half, xt)
  }> (h0, x)
  weight = Tanh (h)
  [fc] logits = MatMul (weight, W)
}`;

/** The names that a graph and its bodies define, as often as they do. */
const defined = (graph: Graph): string[] =>
  graph
    .allGraphs()
    .flatMap((g) => [...g.inputs, ...g.initializers, ...g.nodes.flatMap((n) => n.outputs)])
    .map((v) => v.name)
    .filter((name) => name !== '');

describe('reserved names', () => {
  it('get a suffix where a body has them, so that no name of a graph is shadowed', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'scan.onnx');
    await writeModelFile(parseText(model), file, { external: false });
    const { dir, manifest } = await compile(file, { out: join(folder, 'package'), rank: 2, loss: 'cross-entropy' });
    expect(manifest.labels?.name).toBe('labels.1');
    expect(manifest.names).toMatchObject({ loss: 'loss.1', weight: 'weight.1', grad_norm: 'grad_norm' });
    const labelled: string[] = [];
    for (const graph of Object.values(manifest.graphs).filter((name) => name !== undefined)) {
      const { model: written, source } = parseFile(join(dir, graph));
      source.close();
      const names = defined(written.graph);
      expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
      const inputs = written.graph.inputs.map((v) => v.name);
      expect(inputs).not.toContain('labels');
      if (inputs.includes('labels.1')) labelled.push(graph);
    }
    expect(labelled.sort()).toEqual(['eval.onnx', 'grad.onnx', 'train.onnx', 'train_k.onnx']);
  });
});
