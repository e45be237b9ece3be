import { expect, it } from 'vitest';
import type { Dim, Value } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/parseText.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';

/** The shapes of the first input and of the output, where the file has these symbols. */
function shapesOf(x: string, y: string, mask = x): unknown {
  const model = parseText(`<ir_version: 8, opset_import: ["" : 18]>
g (float[a, b] x, float[c, d] m) => (float[e, f] y) { h = Add (x, x)
  y = Add (h, m) }`);
  const rename = (v: Value | undefined, text: string): void => {
    const shape = text.split(' ').map((d): Dim => (d === 'null' ? null : /^\d+$/.test(d) ? Number(d) : d));
    if (v !== undefined) v.type = { kind: 'tensor', dtype: 'float32', shape };
  };
  const { graph } = model;
  rename(graph.inputs[0], x);
  rename(graph.inputs[1], mask);
  rename(graph.outputs[0], y);
  normalize(model);
  return [graph.inputs[0], graph.outputs[0]].map((v) => v?.shape);
}

it.each(['?', '-1', 'None', 'null', 'unknown', 'dynamic', '*'])('two axes called %s are two lengths', (name) => {
  expect(shapesOf(`${name} ${name}`, `${name} ${name}`, '1 1')).toEqual([
    ['x_0', 'x_1'],
    ['x_0', 'x_1'],
  ]);
});

it('a placeholder says nothing about an output or another input', () => {
  expect(shapesOf('? ?', '? ?')).toEqual([
    ['x_0', 'x_1'],
    [null, null],
  ]);
});

it.each(['N S', 's0 s1', 'unk__1 unk__2', 'p2o.DynamicDimension.0 p2o.DynamicDimension.1'])(
  '%s are symbols',
  (names) => {
    expect(shapesOf(names, names)).toEqual([names.split(' '), names.split(' ')]);
  },
);

it('numbered names that one input has twice are placeholders, real symbols are not', () => {
  expect(shapesOf('unk__1 unk__1', 'unk__1 unk__1', '1 1')).toEqual([
    ['x_0', 'x_1'],
    ['x_0', 'x_1'],
  ]);
  expect(shapesOf('N N', 'N N')).toEqual([
    ['N', 'N'],
    ['N', 'N'],
  ]);
});

it('a name that the model has already is not taken twice', () => {
  expect(shapesOf('? x_0', 'y_0 x_0', '1 1')).toEqual([
    ['x_0.1', 'x_0'],
    ['x_0.1', 'x_0'],
  ]);
});
