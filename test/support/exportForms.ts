/** Models as `export --format onnx` makes them: their graphs, and what they compute. */
import { Tensor } from 'onnxruntime-node';
import { expect } from 'vitest';
import { compileModel, select } from '../../src/compile/compileModel.ts';
import { treatExistingLora } from '../../src/compile/existingLora.ts';
import { chooseModulesToSave } from '../../src/compile/modulesToSave.ts';
import { type CompileOptions, resolveOptions } from '../../src/compile/options.ts';
import { factorShapes, layerOp, rankAxes, sizeOf } from '../../src/graph/layers.ts';
import type { Model } from '../../src/graph/model.ts';
import { stream } from '../../src/graph/random.ts';
import { bytesOf, tensorOf } from '../../src/graph/tensor.ts';
import { serve } from '../../src/package/exportAdapter.ts';
import type { ServeOptions } from '../../src/package/exportOptions.ts';
import { parseText } from '../../src/parser/index.ts';
import { type Chosen, findCandidates, type OnPass } from '../../src/passes/index.ts';
import { distance, floats, mergedInto, run, tableOf } from './executeGraphs.ts';
import { randomFeeds } from './graphFeeds.ts';

export const exportForms = [
  'baked',
  'required',
  'optional',
  'baked-strength',
  'required-strength',
  'optional-strength',
] as const;
export type ExportForm = (typeof exportForms)[number];

const settings: Readonly<Record<ExportForm, ServeOptions>> = {
  baked: { inputs: 'baked', strength: false },
  required: { inputs: 'required', strength: false },
  optional: { inputs: 'optional', strength: false },
  'baked-strength': { inputs: 'baked', strength: true },
  'required-strength': { inputs: 'required', strength: true },
  'optional-strength': { inputs: 'optional', strength: true },
};

interface Served {
  readonly model: Model;
  readonly chosen: readonly Chosen[];
  readonly strength: string | undefined;
}

/** B is noise that does not depend on the form. */
export function servedGraph(text: string, options: CompileOptions, form: ExportForm, onPass?: OnPass): Served {
  const model = parseText(text);
  const random = stream(3, 'served');
  const resolved = resolveOptions(options);
  const found = findCandidates(model);
  const existing = treatExistingLora(model, resolved);
  const whole = chooseModulesToSave(model, found.candidates, resolved, undefined, existing);
  const { chosen } = select(model, found, resolved, undefined, whole, existing);
  const trained = chosen.map(({ candidate, layer, A }) => {
    const { rank, out } = layer;
    const B = tensorOf(
      'float32',
      factorShapes(layer).B,
      Array.from({ length: rank * out }, () => 0.3 * random.normal()),
    );
    // An embedding starts with an A of zeros: nothing would change.
    const table = layerOp(layer.op).form === 'embedding';
    const filled = table ? tensorOf('float32', factorShapes(layer).A, [...tableOf(layer)]) : A;
    return { candidate, layer: { ...layer, alpha: rank, scale: 1 }, A: filled, B };
  });
  const strength = serve(model, trained, settings[form], undefined, onPass);
  return { model, chosen: trained, strength };
}

const content = (t: Chosen['A']): Float32Array => new Float32Array(bytesOf(t).buffer);

/**
 * Fed or baked, an adapter gives the outputs of the source with merged weights; rank 0 gives those of the source; strength scales
 * the change of the weights; layers may differ in rank.
 */
export async function checkServed(text: string, options: CompileOptions): Promise<void> {
  const source = parseText(text);
  const feeds = randomFeeds(source.graph.inputs);
  const base = await run(source, feeds);
  const baked = servedGraph(text, options, 'baked');
  const expected = await mergedOutputs(text, options, baked.chosen, feeds, 1);
  const half = await mergedOutputs(text, options, baked.chosen, feeds, 0.5);

  const adapter = tensors(baked.chosen, (t) => t);
  const none = tensors(baked.chosen, (t, axis) => new Tensor('float32', new Float32Array(0), t.dims.with(axis, 0)));
  // The last layer in a larger rank than the others: the same product, with zeros at its end.
  const wider = { ...adapter, ...tensors(baked.chosen.slice(-1), padded) };

  const same = (name: string, got: Record<string, Tensor>, wanted: Record<string, Tensor>): void => {
    expect(Object.keys(got), name).toEqual(Object.keys(wanted));
    // Two roundings of float32 in another order.
    for (const [output, t] of Object.entries(wanted))
      expect(distance(floats(got[output]), floats(t)), `${output}, ${name}`).toBeLessThan(1e-5);
  };
  const exact = (name: string, got: Record<string, Tensor>): void => {
    for (const [output, t] of Object.entries(base))
      expect(floats(got[output]), `${output}, ${name}`).toEqual(floats(t));
  };
  same('baked', await run(baked.model, feeds), expected);

  const required = servedGraph(text, options, 'required').model;
  same('required', await run(required, { ...feeds, ...adapter }), expected);
  same('required, mixed ranks', await run(required, { ...feeds, ...wider }), expected);
  exact('required, rank 0', await run(required, { ...feeds, ...none }));
  exact('optional, by default', await run(servedGraph(text, options, 'optional').model, feeds));

  const scaled = servedGraph(text, options, 'required-strength');
  const at = (x: number) => ({ [scaled.strength ?? '']: new Tensor('float32', Float32Array.of(x), []) });
  same('strength 1', await run(scaled.model, { ...feeds, ...adapter, ...at(1) }), expected);
  same('strength 1/2', await run(scaled.model, { ...feeds, ...adapter, ...at(0.5) }), half);
  exact('strength 0', await run(scaled.model, { ...feeds, ...adapter, ...at(0) }));
  const inside = servedGraph(text, options, 'baked-strength');
  const factor = { [inside.strength ?? '']: new Tensor('float32', Float32Array.of(0.5), []) };
  same('baked, strength 1/2', await run(inside.model, { ...feeds, ...factor }), half);
  exact('optional with strength, by default', await run(servedGraph(text, options, 'optional-strength').model, feeds));
}

/** By the names of the inputs; `change` is told the rank axis. */
function tensors(chosen: readonly Chosen[], change: (t: Tensor, axis: number) => Tensor): Record<string, Tensor> {
  const of = (t: Chosen['A']): Tensor => new Tensor('float32', content(t), [...t.dims]);
  return Object.fromEntries(
    chosen.flatMap(({ layer, A, B }) => [
      [layer.A, change(of(A), rankAxes(layer.op).A)],
      [layer.B, change(of(B), rankAxes(layer.op).B)],
    ]),
  );
}

/** Rank r becomes r + 3. Behind a second rank axis all lengths are 1. */
function padded(t: Tensor, axis: number): Tensor {
  const values = floats(t);
  const old = t.dims[axis] ?? 0;
  const dims = t.dims.with(axis, old + 3);
  const more = new Float32Array(sizeOf(dims));
  if (axis === 0) more.set(values);
  else for (let i = 0; i * old < values.length; i++) more.set(values.subarray(i * old, (i + 1) * old), i * (old + 3));
  return new Tensor('float32', more, dims);
}

async function mergedOutputs(
  text: string,
  options: CompileOptions,
  chosen: readonly Chosen[],
  feeds: Record<string, Tensor>,
  strength: number,
): Promise<Record<string, Tensor>> {
  const compiled = compileModel(
    parseText(text),
    resolveOptions({ ...options, scaling: 'alpha', alpha: 1, emit: ['model'] }),
  );
  const bs = new Map(chosen.map(({ layer, B }) => [layer.path, content(B).map((x) => x * strength)]));
  const merged = mergedInto(parseText(text), compiled, bs);
  if (merged === undefined) throw new Error('the weights cannot take the change');
  return run(merged, feeds);
}
