/** model.onnx of real models: at B = 0 the source to the bit, with any B what the source computes with merged weights. */
import { Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { compileModel } from '../../src/compile/compileModel.ts';
import { resolveOptions } from '../../src/compile/options.ts';
import type { Model } from '../../src/graph/model.ts';
import { stream } from '../../src/graph/random.ts';
import { parseFile } from '../../src/parser/index.ts';
import { distance, mergedInto, open } from '../support/executeGraphs.ts';
import { inFloat32, roundingOf, wide, wideFeeds } from '../support/halfTypes.ts';
import { adaptedOnly, type Subject, trainable } from '../support/realModels.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';

type Results = Readonly<Record<string, Tensor>>;

const subjects: readonly Subject[] = [...trainable, ...adaptedOnly];

/** The files hold what the graphs do not read into memory, so a model is parsed anew for each use. */
const source = ({ file }: Subject): Model => parseFile(sharedPath(file)).model;

/** Hands out the value that the subject wants looked at. */
function observe(model: Model, { observed }: Subject): Model {
  const value = model.graph.nodes.flatMap((n) => n.outputs).find((v) => v.name === observed);
  if (value !== undefined) model.graph.outputs.push(value);
  else if (observed !== undefined) throw new Error(`no value ${observed}`);
  return model;
}

const isFloatTensor = (t: Tensor): boolean => t.type === 'float32' || t.type === 'float16';

/** The largest relative change over the float outputs. */
function change(a: Results, b: Results): number {
  const moved = Object.entries(b).flatMap(([name, t]) => (isFloatTensor(t) ? [distance(wide(a[name]), wide(t))] : []));
  return Math.max(...moved);
}

describeShared('model.onnx', 'models', () => {
  it.each(subjects)('$name', async (subject) => {
    const { feeds } = subject;
    const options = resolveOptions({ ...subject.options, emit: ['model'] });
    const compiled = compileModel(source(subject), options);
    const model = compiled.graphs.get('model');
    if (model === undefined) throw new Error('no model');
    const plain = await (await open(observe(source(subject), subject))).run(feeds);
    observe(model, subject);
    const zero = await (await open(model)).run(feeds);
    expect(Object.keys(zero)).toEqual(Object.keys(plain));
    const rounding = roundingOf(source(subject));
    // ONNX Runtime decides by a float16 operator's neighbours whether it computes in float16 or in float32, and casts are neighbours.
    for (const [name, t] of Object.entries(plain))
      if (rounding === undefined) expect(zero[name]?.data, `${name} at B = 0`).toEqual(t.data);
      else expect(distance(wide(zero[name]), wide(t)), `${name} at B = 0`).toBeLessThan(rounding);

    // With B as inputs one session serves all contents.
    const random = stream(11, 'B');
    const bs = new Map<string, Float32Array>();
    const fed: Record<string, Tensor> = {};
    for (const { path, B, rank, out } of compiled.layers) {
      const content = Float32Array.from({ length: rank * out }, () => (subject.deviation ?? 0.02) * random.normal());
      bs.set(path, content);
      fed[B] = new Tensor('float32', content, [rank, out]);
    }
    const bValues = model.graph.initializers.filter((v) => v.name in fed);
    for (const v of bValues) v.tensor = undefined;
    const rest = model.graph.initializers.filter((v) => v.tensor !== undefined);
    model.graph.initializers.length = 0;
    model.graph.initializers.push(...rest);
    model.graph.inputs.push(...bValues);
    const session = await open(model);
    const adapted = await session.run({ ...feeds, ...fed });

    // In half precision the merged weights would be rounded: the source in float32 takes them as they are.
    const takes = rounding === undefined ? source(subject) : inFloat32(source(subject));
    const reference = mergedInto(takes, compiled, bs);
    if (reference === undefined) throw new Error('a weight cannot take the change');
    const expected = await (await open(observe(reference, subject))).run(
      rounding === undefined ? feeds : wideFeeds(feeds),
    );
    for (const [name, t] of Object.entries(expected))
      if (isFloatTensor(t)) expect.soft(distance(wide(adapted[name]), wide(t)), name).toBeLessThan(rounding ?? 1e-5);
    expect.soft(change(adapted, plain), 'the adapter moves an output').toBeGreaterThan(1e-2);

    for (const { path, B } of compiled.layers) {
      const dims = fed[B]?.dims ?? [];
      const without = new Tensor('float32', new Float32Array(bs.get(path)?.length ?? 0), dims);
      const partly = await session.run({ ...feeds, ...fed, [B]: without });
      expect.soft(change(partly, adapted), `without the branch of ${path}`).toBeGreaterThan(0);
    }
  });
});
