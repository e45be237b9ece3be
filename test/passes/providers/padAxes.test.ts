/** Pad with axes becomes Pad without: the same numbers, and no reading beyond the pads at any optimization level. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../../src/emit/index.ts';
import { createBuilder } from '../../../src/graph/builder.ts';
import type { Model } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/index.ts';
import { padAllAxes } from '../../../src/passes/providers/padAxes.ts';
import { inferNode, inferShapes } from '../../../src/passes/shapes/index.ts';

const cases: readonly (readonly [string, string, string])[] = [
  ['constant pads', '{1, 2}', '{2}'],
  ['a negative axis and a cut', '{-1, 1}', '{-2}'],
  ['axes in another order', '{1, 2, 3, 4}', '{3, 1}'],
  ['all axes in another order', '{1, 2, 0, 0, 0, 1, 2, 3}', '{3, 2, 1, 0}'],
];

/** The transposes around the Pad are what ONNX Runtime takes away. */
function model(pads: string, axes: string, computed: boolean): Model {
  const [p, a] = [pads, axes].map((list) => `int64[${list.split(',').length}]`);
  const parsed = parseText(`<ir_version: 8, opset_import: ["" : 18]>
main (float[2,3,4,5] x, int64[N] shift) => (float[A,B,C,D] y)
<${p} given = ${pads}, ${a} axes = ${axes}, float value = {0.5}, int64[4] plain = {2, 3, 4, 5}>
{
  turned = Transpose <perm: ints = [0, 1, 3, 2]> (x)
  moved = Add (given, shift)
  padded = Pad (turned, ${computed ? 'moved' : 'given'}, value, axes)
  y = Transpose <perm: ints = [0, 1, 3, 2]> (padded)
}`);
  return parsed;
}

const run = async (m: Model, level: 'disabled' | 'all', count: number): Promise<Tensor | undefined> => {
  const session = await InferenceSession.create(encodeModel(m), { graphOptimizationLevel: level, logSeverityLevel: 4 });
  const x = new Tensor(
    'float32',
    Float32Array.from({ length: 120 }, (_, i) => i),
    [2, 3, 4, 5],
  );
  const shift = new Tensor('int64', new BigInt64Array(count), [count]);
  return (await session.run(session.inputNames.includes('shift') ? { x, shift } : { x })).y;
};

describe('pads of all axes', () => {
  it.each(cases.flatMap(([is, pads, axes]) => [true, false].map((computed) => [is, pads, axes, computed] as const)))(
    '%s, %s on %s, computed %s',
    async (_, pads, axes, computed) => {
      const count = pads.split(',').length;
      const expected = await run(model(pads, axes, computed), 'disabled', count);
      const whole = model(pads, axes, computed);
      inferShapes(whole.graph);
      padAllAxes(whole.graph, createBuilder(inferNode));
      whole.graph.adopt();
      expect(whole.graph.nodes.find((n) => n.op === 'Pad')?.inputs).toHaveLength(3);
      for (const level of ['disabled', 'all'] as const) {
        const got = await run(whole, level, count);
        expect(got?.dims).toEqual(expected?.dims);
        expect(got?.data).toEqual(expected?.data);
      }
    },
  );

  it('pads that are computed in a body are read there', async () => {
    const parsed = parseText(`<ir_version: 8, opset_import: ["" : 18]>
main (float[2,3] x, int64 trips) => (float[2,6] y)
<bool always = {1}, int64[1] axes = {1}, int64[1] none = {0}>
{
  y = Loop (trips, always, x) <body = again (int64 i, bool on, float[2,N] s) => (bool still, float[2,M] next) {
    still = Identity (on)
    after = Unsqueeze (i, none)
    pads = Concat <axis: int = 0> (none, after)
    next = Pad (s, pads, , axes)
  }>
}`);
    inferShapes(parsed.graph);
    padAllAxes(parsed.graph, createBuilder(inferNode));
    parsed.graph.adopt();
    const x = new Tensor('float32', Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
    const session = await InferenceSession.create(encodeModel(parsed), { logSeverityLevel: 4 });
    const { y } = await session.run({ x, trips: new Tensor('int64', BigInt64Array.of(3n), []) });
    expect(y?.data).toEqual(Float32Array.of(1, 2, 3, 0, 0, 0, 4, 5, 6, 0, 0, 0));
  });
});
