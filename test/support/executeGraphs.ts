/** Runs golden graphs on ONNX Runtime: what a text means, beside what it looks like. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect } from 'vitest';
import type { Compiled } from '../../src/compile/compiled.ts';
import { compileModel } from '../../src/compile/compileModel.ts';
import { type CompileOptions, resolveOptions } from '../../src/compile/options.ts';
import { encodeModel, outputLengths } from '../../src/emit/index.ts';
import { factorMatrices, factorShapes, layerOp, sizeOf } from '../../src/graph/layers.ts';
import { constant, type Layer, type Model, replaceUses, type Use } from '../../src/graph/model.ts';
import { stream } from '../../src/graph/random.ts';
import { bytesOf, type Tensor as GraphTensor, numbersOf, tensorOf } from '../../src/graph/tensor.ts';
import { parseText } from '../../src/parser/index.ts';
import type { Chosen, StateLayout } from '../../src/passes/index.ts';
import { type Feeds, randomFeeds, twice } from './graphFeeds.ts';
import { inFloat32, roundingOf, runnable, wide, wideFeeds } from './halfTypes.ts';

/** Sessions as the graphs are, so that a difference is ours. */
export const open = (model: Model): Promise<InferenceSession> =>
  InferenceSession.create(encodeModel(runnable(model)), {
    graphOptimizationLevel: 'disabled',
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });

export async function run(model: Model, feeds: Feeds): Promise<Feeds> {
  const session = await open(model);
  const wanted = Object.fromEntries(session.inputNames.map((n) => [n, feeds[n]]).filter(([, t]) => t !== undefined));
  const result = await session.run(wanted);
  await session.release();
  return result;
}

export function floats(t: Tensor | undefined): Float32Array {
  if (!(t?.data instanceof Float32Array)) throw new Error(`expected float32, got ${t?.type}`);
  return t.data;
}

/** ||a - b|| / ||b||. */
export function distance(a: Float32Array, b: Float32Array): number {
  let [d, n] = [0, 0];
  a.forEach((x, i) => {
    d += (x - (b[i] ?? 0)) ** 2;
    n += (b[i] ?? 0) ** 2;
  });
  return Math.sqrt(d) / (Math.sqrt(n) || 1);
}

/** Replaces the content of B by seeded noise. */
function fillB(model: Model, compiled: Compiled): Map<string, Float32Array> {
  const random = stream(11, 'B');
  return new Map(
    compiled.layers.map((layer) => {
      const value = model.graph.initializers.find((v) => v.name === layer.B);
      const shapes = factorShapes(layer);
      const content = Float32Array.from({ length: layer.rank * layer.out }, () => 0.3 * random.normal());
      if (value !== undefined) value.tensor = tensorOf('float32', shapes.B, [...content]);
      // An embedding starts with an A of zeros: nothing would change.
      const a = model.graph.initializers.find((v) => v.name === layer.A);
      if (layerOp(layer.op).form === 'embedding' && a !== undefined)
        a.tensor = tensorOf('float32', shapes.A, [...tableOf(layer)]);
      return [layer.path, content];
    }),
  );
}

/** An embedding's A, which starts at zero, as some training might have left it. */
export function tableOf(layer: Layer): Float32Array {
  const random = stream(13, `${layer.path}.lora_A`);
  return Float32Array.from({ length: layer.in * layer.rank }, () => random.normal());
}

const floatsIn = (t: GraphTensor): Float32Array => new Float32Array(bytesOf(t).buffer);

/** Gives the weights of each output the length that DoRA's magnitude says. */
function direct(w: number[], { layout, out }: Layer, magnitude: Float32Array): void {
  const inputs = w.length / out;
  const at = (i: number, o: number): number => (layout === 'in_out' ? i * out + o : o * inputs + i);
  for (let o = 0; o < out; o++) {
    const length = Math.hypot(...Array.from({ length: inputs }, (_, i) => w[at(i, o)] ?? 0));
    for (let i = 0; i < inputs; i++) w[at(i, o)] = ((magnitude[o] ?? 0) / length) * (w[at(i, o)] ?? 0);
  }
}

/**
 * The source with W + scale·A·B written into its weights: the definition that a branch is held against. Changes `model`;
 * undefined where a weight cannot take the change.
 */
export function mergedInto(model: Model, compiled: Compiled, bs: ReadonlyMap<string, Float32Array>): Model | undefined {
  const values = [model.graph, ...model.functions.map((f) => f.body)].flatMap((g) => [...g.allGraphs()]);
  for (const { candidate, layer, A, magnitude } of compiled.selection.chosen) {
    const { form } = layerOp(layer.op);
    const content = form === 'embedding' ? tableOf(layer) : new Float32Array(bytesOf(A).buffer);
    const b = bs.get(layer.path) ?? new Float32Array();
    const stored = values
      .flatMap((g) => [...g.initializers, ...g.nodes.flatMap((n) => n.outputs)])
      .find((v) => v.name === layer.weight);
    const attr = stored?.producer?.attrs.get('value');
    const tensor = stored?.tensor ?? (attr?.kind === 'tensor' ? attr.value : undefined);
    if (stored === undefined || tensor === undefined) throw new Error(`no weight ${layer.weight}`);
    // A quantized weight cannot take the change.
    const old = tensor.dtype === 'float32' || tensor.dtype === 'float64' ? numbersOf(tensor) : undefined;
    if (old === undefined) return undefined;
    const { rank } = layer;
    // Of a convolution A is [rank, in·window] and B [out, rank], of everything else they are [in, rank] and [rank, out].
    const inputs = content.length / rank;
    const conv = form === 'conv';
    // Some layers are columns of a wider weight.
    const { from, of } = candidate.products[0]?.part ?? { from: 0, of: layer.out };
    for (let i = 0; i < inputs; i++)
      for (let o = 0; o < layer.out; o++) {
        let sum = 0;
        for (let k = 0; k < rank; k++)
          sum +=
            (content[conv ? k * inputs + i : i * rank + k] ?? 0) * (b[conv ? o * rank + k : k * layer.out + o] ?? 0);
        const at = layer.layout === 'in_out' ? i * of + from + o : o * inputs + i;
        old[at] = (old[at] ?? 0) + layer.scale * sum;
      }
    if (magnitude !== undefined) direct(old, layer, floatsIn(magnitude));
    const changed = tensorOf(tensor.dtype, tensor.dims, old);
    // What shares the weight stays as it is, an embedding or a product: the layer gets a copy.
    const foreign = (u: Use): boolean => (u.node.op === 'Gather') !== (form === 'embedding');
    if ([...stored.uses].some(foreign)) {
      const copy = constant(`${stored.name}.merged`, changed);
      model.graph.initializers.push(copy);
      replaceUses(stored, copy, foreign);
    } else if (stored.tensor !== undefined) stored.tensor = changed;
    else stored.producer?.attrs.set('value', { kind: 'tensor', value: changed, name: '' });
  }
  return model;
}

/** B = 0: the source's outputs to the bit. B ≠ 0: those of the source with merged weights, and not those of the source. */
export async function checkAdapted(text: string, options: CompileOptions): Promise<void> {
  const compiled = compileModel(parseText(text), resolveOptions({ ...options, emit: ['model'] }));
  const model = compiled.graphs.get('model');
  if (model === undefined) throw new Error('no model');
  const source = parseText(text);
  const rounding = roundingOf(source);
  // No session computes in bfloat16: both sides are held in float32 then.
  const cannotRun = source.graph.inputs.some((v) => v.dtype === 'bfloat16');
  const runs = (m: Model): Model => (cannotRun ? inFloat32(m) : m);
  const feeds = randomFeeds(runs(source).graph.inputs);
  const base = await run(runs(source), feeds);
  const zero = await run(runs(model), feeds);
  expect(Object.keys(zero)).toEqual(Object.keys(base));
  // The length of a column divided by itself, of which both are rounded: one unit in the last place of the model's type.
  for (const [name, t] of Object.entries(base))
    if (options.dora === true) expect(distance(wide(zero[name]), wide(t)), name).toBeLessThan(rounding ?? 1e-6);
    else expect(zero[name]?.data, `${name} at B = 0`).toEqual(t.data);

  const bs = fillB(model, compiled);
  const adapted = await run(runs(model), feeds);
  const moved = Object.entries(adapted).map(([name, t]) => distance(wide(t), wide(base[name])));
  expect(Math.max(...moved), 'the adapter changes an output').toBeGreaterThan(1e-2);
  const fresh = parseText(text);
  const reference = mergedInto(rounding === undefined ? fresh : inFloat32(fresh), compiled, bs);
  if (reference === undefined) return;
  const expected = await run(reference, rounding === undefined ? feeds : wideFeeds(feeds));
  // Two roundings of float32 in another order, or those of the model's own type.
  for (const [name, t] of Object.entries(expected))
    expect(distance(wide(adapted[name]), wide(t)), name).toBeLessThan(rounding ?? 1e-5);
}

/** What training rewrites for the sake of gradients still computes what model.onnx does with the same factors. */
async function checkForward(
  model: Model,
  evaluation: Model,
  { slots, saved }: StateLayout,
  params: Float32Array,
  feeds: Feeds,
): Promise<void> {
  const all = slots.flatMap(({ A, B, magnitude }) => [A, B, ...(magnitude === undefined ? [] : [magnitude])]);
  for (const { name, offset, shape } of [...all, ...saved]) {
    const value = model.graph.initializers.find((v) => v.name === name);
    if (value?.tensor === undefined) throw new Error(`no ${name}`);
    const content = [...params.subarray(offset, offset + sizeOf(shape))];
    value.tensor = tensorOf(value.tensor.dtype, value.tensor.dims, content);
  }
  // A Conv of float64 runs nowhere.
  if (model.graph.nodes.some((n) => n.op === 'Conv' && n.inputs[0]?.dtype === 'float64')) return;
  const isHalf = roundingOf(model) !== undefined;
  const [ours, theirs] = await Promise.all(
    [evaluation, model].map((m) => run(isHalf ? inFloat32(m) : m, isHalf ? wideFeeds(feeds) : feeds)),
  );
  // Sums of float32 in another order, or products in the type that weights are stored in.
  for (const [name, t] of Object.entries(theirs ?? {}))
    if (ours?.[name] !== undefined)
      expect(distance(wide(ours[name]), wide(t)), `${name} of eval.onnx`).toBeLessThan(roundingOf(evaluation) ?? 1e-5);
}

/** The length of each output's weights under a state, of the layers that have a magnitude. */
function columnLengths(
  chosen: readonly Chosen[],
  { slots }: StateLayout,
  params: Float32Array,
): (Float64Array | undefined)[] {
  return chosen.map(({ candidate, layer }, i) => {
    const slot = slots[i];
    const tensor = candidate.products[0]?.weight.tensor;
    if (slot?.magnitude === undefined || tensor === undefined) return undefined;
    const part = (s: { offset: number; shape: readonly number[] }): Float32Array =>
      params.slice(s.offset, s.offset + sizeOf(s.shape));
    const { form } = layerOp(layer.op);
    const { in: inputs, out, rank, kernel, scale, layout } = layer;
    const factors = factorMatrices({ form, in: inputs, out, rank, kernel, A: part(slot.A), B: part(slot.B) });
    return outputLengths(tensor, { ...factors, out, scale, layout }, layer.path);
  });
}

/**
 * The gradient of grad.onnx against central differences of eval.onnx along random directions, or of its own loss where dropout has it
 * differ from eval.onnx; train.onnx against grad.onnx and
 * update.onnx; train_k.onnx against two steps of train.onnx.
 */
export async function checkGradient(text: string, options: CompileOptions): Promise<void> {
  const { graphs, layout, prepared, saved, selection } = compileModel(
    parseText(text),
    resolveOptions({ ...options, emit: ['all'] }),
  );
  const slopes = prepared?.seeded === true ? 'grad' : 'eval';
  const [model, grad, evaluation, train, update, scan] = (
    ['model', 'grad', 'eval', 'train', 'update', 'train_k'] as const
  ).map((g) => graphs.get(g));
  if (!model || !grad || !evaluation || !train || !update || !scan || !prepared) throw new Error('a graph is missing');
  const { names } = prepared;
  // A loss in half precision has no slopes to measure.
  const isStored = options.precision !== undefined && options.precision !== 'fp32';
  const isHalf = isStored || roundingOf(parseText(text)) !== undefined;
  const exact = isStored
    ? inFloat32(slopes === 'grad' ? grad : evaluation)
    : isHalf
      ? compileModel(inFloat32(parseText(text)), resolveOptions({ ...options, emit: [slopes] })).graphs.get(slopes)
      : graphs.get(slopes);
  if (exact === undefined) throw new Error('no evaluation');
  const random = stream(5, 'state');
  const params = new Float32Array(layout.size);
  saved.forEach(({ tensor }, i) => {
    params.set(numbersOf(tensor) ?? [], layout.saved[i]?.offset);
  });
  selection.chosen.forEach(({ layer, A, magnitude }, i) => {
    const slot = layout.slots[i];
    if (slot === undefined) return;
    const table = layerOp(layer.op).form === 'embedding';
    params.set(table ? tableOf(layer) : new Float32Array(bytesOf(A).buffer), slot.A.offset);
    for (let k = 0; k < sizeOf(slot.B.shape); k++) params[slot.B.offset + k] = 0.3 * random.normal();
    if (magnitude !== undefined) params.set(floatsIn(magnitude), slot.magnitude?.offset);
  });
  const vector = (data: Float32Array): Tensor => new Tensor('float32', data, [data.length]);
  const scalar = (x: number): Tensor => new Tensor('float32', Float32Array.of(x), []);
  const batch = randomFeeds(grad.graph.inputs);
  const scale = prepared.lossScaled ? { [names.lora_loss_scale]: scalar(1024) } : {};
  const p = { [names.lora_params]: vector(params), ...scale };
  const g0 = await run(grad, { ...batch, ...p });
  const gradient = floats(g0[names.lora_grad]);
  const lossName = grad.graph.outputs[0]?.name ?? names.loss;
  // What is bound, a cache say, training has no inputs for. What else it lacks would have no part in the loss.
  if (prepared.bindings.bound.length === 0)
    await checkForward(model, evaluation, layout, params, { ...randomFeeds(model.graph.inputs), ...batch, ...p });

  if (prepared.choice.kind !== 'external') {
    // DoRA's gradient takes the lengths of the columns for constants: a magnitude that grows as they do keeps their quotient.
    const start = columnLengths(selection.chosen, layout, params);
    const still = (at: Float32Array): Float32Array => {
      const moved = at.slice();
      columnLengths(selection.chosen, layout, at).forEach((lengths, i) => {
        const offset = layout.slots[i]?.magnitude?.offset ?? 0;
        lengths?.forEach((n, o) => {
          moved[offset + o] = ((at[offset + o] ?? 0) * n) / (start[i]?.[o] ?? 1);
        });
      });
      return moved;
    };
    const loss = async (at: Float32Array): Promise<number> =>
      floats(
        (await run(exact, { ...wideFeeds(batch), ...scale, [names.lora_params]: vector(still(at)) }))[names.loss],
      )[0] ?? Number.NaN;
    for (let trial = 0; trial < 3; trial++) {
      const direction = Float32Array.from(params, () => random.normal());
      // Float32 losses near 1: 1e-2 balances rounding (1e-7 / 1e-2) against curvature (1e-4).
      const h = 1e-2 / Math.sqrt(params.length);
      const slope =
        ((await loss(params.map((x, i) => x + h * (direction[i] ?? 0)))) -
          (await loss(params.map((x, i) => x - h * (direction[i] ?? 0))))) /
        (2 * h);
      const dot = gradient.reduce((n, x, i) => n + x * (direction[i] ?? 0), 0);
      const size = Math.hypot(...gradient) * Math.sqrt(params.length);
      expect(Math.abs(slope - dot) / Math.max(size, 1e-3), `direction ${trial}: ${slope} against ${dot}`).toBeLessThan(
        isHalf ? 2e-2 : 2e-3,
      );
    }
  }

  const noise = (): Float32Array => Float32Array.from(params, () => 0.01 * random.normal());
  const state = {
    ...p,
    [names.lora_m]: vector(noise()),
    [names.lora_v]: vector(noise().map((x) => x * x)),
    [names.lora_step]: scalar(3),
  };
  const lr = { [names.lora_lr]: scalar(0.01) };
  const whole = await run(train, { ...batch, ...state, ...lr });
  const halves = await run(update, { ...state, ...lr, [names.lora_grad]: vector(gradient) });
  expect(whole[lossName]?.data).toEqual(g0[lossName]?.data);
  for (const [name, t] of Object.entries(halves)) expect(floats(whole[name]), name).toEqual(floats(t));

  const next = (r: Feeds): Feeds =>
    Object.fromEntries(
      Object.keys(state).flatMap((k) => (r[`${k}_next`] === undefined ? [] : [[k, r[`${k}_next`] ?? scalar(0)]])),
    );
  const second = await run(train, { ...batch, ...next(whole), ...lr });
  const fed = new Set(scan.graph.inputs.map((v) => v.name));
  const stacked = Object.fromEntries(
    Object.entries({ ...batch, ...lr })
      .filter(([n]) => fed.has(n) && n !== names.lora_params)
      .map(([n, t]) => [n, twice(t)]),
  );
  const both = await run(scan, {
    ...stacked,
    ...state,
    [names.lora_apply]: new Tensor('bool', Uint8Array.of(1, 1), [2]),
  });
  for (const [name, t] of Object.entries(next(second)))
    expect(floats(both[`${name}_next`]), `${name} after two steps of the Scan`).toEqual(floats(t));
  expect([...floats(both[names.grad_norm])]).toEqual([
    ...floats(whole[names.grad_norm]),
    ...floats(second[names.grad_norm]),
  ]);

  // A step that only gathers, then one that applies: the same batch twice has the gradient of one.
  const gathered = await run(scan, {
    ...stacked,
    ...state,
    [names.lora_apply]: new Tensor('bool', Uint8Array.of(0, 1), [2]),
  });
  for (const [name, t] of Object.entries(next(whole)))
    expect(distance(floats(gathered[`${name}_next`]), floats(t)), `${name} gathered`).toBeLessThan(1e-5);

  if (!prepared.lossScaled) return;
  // A gradient that is not finite: no step, half the scale. (One that a scale made so: test/runtime/worker/lossScale.test.ts.)
  const poisoned = { ...state, [names.lora_params]: vector(params.with(0, Number.NaN)) };
  const refused = await run(train, { ...batch, ...poisoned, ...lr });
  const refusedK = await run(scan, {
    ...stacked,
    ...poisoned,
    [names.lora_apply]: new Tensor('bool', Uint8Array.of(1, 1), [2]),
  });
  for (const [result, scaleAfter] of [
    [refused, 512],
    [refusedK, 256],
  ] as const)
    for (const [name, t] of Object.entries({ ...poisoned, [names.lora_loss_scale]: scalar(scaleAfter) }))
      expect(floats(result[`${name}_next`]), `${name} after an overflow`).toEqual(floats(t));
}
