import { expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { resolveOptions } from '../../../src/compile/options.ts';
import { parseText } from '../../../src/parser/parseText.ts';
import { findCandidates } from '../../../src/passes/select/candidates.ts';

const shared = (positions: string): string => `<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 4] x) => (float[N, 4] y)
<float[4, 4] "k.weight" = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}, float[4, 4] table = {1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,2}>
{
  ["/k/MatMul"] a = MatMul (x, "k.weight")
  ["/k_1/MatMul"] b = MatMul (${positions}, "k.weight")
  y = MatMul (a, b)
}`;

it('takes a use on a constant with those on activations', () => {
  const { candidates, skipped } = findCandidates(parseText(shared('table')));
  expect(candidates.map((c) => [c.path, c.nodes])).toEqual([['k', ['/k/MatMul', '/k_1/MatMul']]]);
  expect(skipped.map((s) => s.reason)).toEqual(['both operands are activations']);
});

it('leaves a MatMul of two constants alone if neither is the weight of a layer', () => {
  const text = shared('table').replace('MatMul (table, "k.weight")', 'MatMul (table, table)');
  const { skipped } = findCandidates(parseText(text));
  expect(skipped.map((s) => s.reason)).toContain('both operands are constants: no input of the model passes through');
});

const folded = (): ReturnType<typeof parseText> => {
  const model = parseText(shared('table').replace('MatMul (table, "k.weight")', 'Softmax (table)'));
  const table = model.graph.initializers.find((v) => v.name === 'table');
  table?.metadata.set('pkg.onnxscript.optimizer.folded_from', "['k.weight', 'positions', 'linear_1']");
  return model;
};

it('names the layer whose use on constants the exporter folded', () => {
  expect(findCandidates(folded()).candidates.map((c) => c.folded)).toEqual(['table']);
  const { selection } = compileModel(folded(), resolveOptions({ rank: 1, loss: 'mse' }));
  expect(selection.warnings.join()).toContain('layer "k" is also applied to constants');
});
