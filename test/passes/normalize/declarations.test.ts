import { expect, it } from 'vitest';
import type { Dim } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/parseText.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';

interface Found {
  readonly shape: readonly Dim[] | undefined;
  readonly reports: readonly string[];
}

/** The shape of the input of the last Tanh, in the main graph or a body, and the reports. */
function shapeIn(text: string): Found {
  const model = parseText(text);
  const reports: string[] = [];
  normalize(model, { report: (r) => reports.push(r) });
  const shape = model.graph.allNodes().findLast((n) => n.op === 'Tanh')?.inputs[0]?.shape;
  return { shape, reports };
}

/** The shape of `h` and the reports, where the file declares it as `declared`. */
const shapeOf = (declared: string, nodes = 'h = Relu (x)', opset = 18): Found =>
  shapeIn(`<ir_version: 8, opset_import: ["" : ${opset}]>
g (float[N, S, 4] x, int64[2] s) => (float[] y) <float${declared} h> { ${nodes}
  y = Tanh (h) }`);

const ignored = (name: string, declared: string, real: string): string =>
  `the model declares "${name}" as ${declared}, but it is ${real}: the declaration is ignored`;

it.each(['[N, 5, 4]', '[N, S, 3]', '[N, S]'])('%s is ignored beside [N, S, 4], and that is reported', (declared) => {
  expect(shapeOf(declared)).toEqual({ shape: ['N', 'S', 4], reports: [ignored('h', declared, '[N, S, 4]')] });
});

it('completes what inference does not know', () => {
  expect(shapeOf('[2, 8]', 'h = Reshape (x, s)')).toMatchObject({ shape: [2, 8], reports: [] });
});

it('a number is ignored beside an expression of the lengths of inputs', () => {
  const found = shapeOf('[10, 4]', 'c = Constant <value: tensor = int64[2] {-1, 4}> ()\n h = Reshape (x, c)');
  expect(found).toEqual({ shape: ['N*S', 4], reports: [ignored('h', '[10, 4]', '[N*S, 4]')] });
});

it('a declaration behind an operator of an older form is compared as well', () => {
  const found = shapeOf('[N, 1, 5, 4]', 'h = Unsqueeze <axes = [1]> (x)', 11);
  expect(found).toEqual({ shape: ['N', 1, 'S', 4], reports: [ignored('h', '[N, 1, 5, 4]', '[N, 1, S, 4]')] });
});

it('an example length that a declaration had wrong is not believed where nothing confirms it', () => {
  const text = (first: string): string => `<ir_version: 8, opset_import: ["" : 18]>
g (float[N, S, 4] x, int64[3] s) => (float[N, S, 4] y) <float[N, ${first}, 4] a, float[N, 5, 7] h> {
  a = Relu (x)
  h = Reshape (a, s)
  y = Tanh (h) }`;
  expect(shapeIn(text('5')).shape).toEqual(['N', null, 7]);
  expect(shapeIn(text('6')).shape).toEqual(['N', 5, 7]);
  expect(shapeIn(text('S')).shape).toEqual(['N', 5, 7]);
});

it('a declared output is compared', () => {
  const found = shapeIn(`<ir_version: 8, opset_import: ["" : 18]>
g (float[N, S, 4] x) => (float[N, 5, 4] y, float[] z) { y = Relu (x)
  z = Tanh (y) }`);
  expect(found).toEqual({ shape: ['N', 'S', 4], reports: [ignored('y', '[N, 5, 4]', '[N, S, 4]')] });
});

it('declarations in the body of a loop give way to the types that the loop passes to it', () => {
  const found = shapeIn(`<ir_version: 8, opset_import: ["" : 18]>
g (float[N, S, 4] x, int64 m, bool go) => (float[N, S, 4] y) {
  y = Loop <body = b (int64 i, bool c, float[1, 5, 4] v) => (bool d, float[1, 5, 4] w) <float[1, 5, 4] h> {
    d = Identity (c)
    h = Relu (v)
    w = Tanh (h)
  }> (m, go, x) }`);
  expect(found.shape).toEqual(['N', 'S', 4]);
  expect(found.reports).toContain(ignored('h', '[1, 5, 4]', '[N, S, 4]'));
});

it('declarations in a branch are compared, and complete what inference does not know', () => {
  const branch = (declared: string, node: string): Found =>
    shapeIn(`<ir_version: 8, opset_import: ["" : 18]>
g (float[N, S, 4] x, int64[2] s, bool go) => (y) {
  y = If (go) <then_branch = t () => (float[] p) <float${declared} h> { h = ${node}
    p = Tanh (h) },
    else_branch = e () => (float[] q) { q = Identity (x) }> }`);
  expect(branch('[N, 5, 4]', 'Relu (x)')).toEqual({
    shape: ['N', 'S', 4],
    reports: [ignored('h', '[N, 5, 4]', '[N, S, 4]')],
  });
  expect(branch('[3, 8]', 'Reshape (x, s)')).toEqual({ shape: [3, 8], reports: [] });
});

it('declarations in a function body are compared with the types of its call', () => {
  const found = shapeIn(`<ir_version: 8, opset_import: ["" : 18, "f" : 1]>
g (float[N, S, 4] x) => (float[N, S, 4] y) { y = f.F (x) }
<domain: "f", opset_import: ["" : 18]>
F (v) => (w) <float[2, 5, 4] h> { h = Relu (v)
  w = Tanh (h) }`);
  expect(found.shape).toEqual(['N', 'S', 4]);
  expect(found.reports).toHaveLength(1);
});
