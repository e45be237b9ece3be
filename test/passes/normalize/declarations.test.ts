import { expect, it } from 'vitest';
import type { Dim } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/parseText.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';

/** The shape of `h` and the reports, where the file declares it as `declared`. */
function shapeOf(declared: string, nodes = 'h = Relu (x)'): { shape: readonly Dim[] | undefined; reports: string[] } {
  const model = parseText(`<ir_version: 8, opset_import: ["" : 18]>
g (float[N, S, 4] x, int64[2] s) => (float[N, S, 4] y) <float${declared} h> { ${nodes}
  y = Tanh (h) }`);
  const reports: string[] = [];
  normalize(model, { report: (text) => reports.push(text) });
  return { shape: model.graph.nodes.find((n) => n.op === 'Tanh')?.inputs[0]?.shape, reports };
}

it.each(['[N, 5, 4]', '[N, S, 3]', '[N, S]'])('%s is ignored beside [N, S, 4], and that is reported', (declared) => {
  const { shape, reports } = shapeOf(declared);
  expect(shape).toEqual(['N', 'S', 4]);
  expect(reports).toEqual([`the model declares "h" as ${declared}, but it is [N, S, 4]: the declaration is ignored`]);
});

it('completes what inference does not know', () => {
  expect(shapeOf('[2, 8]', 'h = Reshape (x, s)')).toMatchObject({ shape: [2, 8] });
});
