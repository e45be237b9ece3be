/**
 * The numbers of PyTorch + PEFT on a Llama-shaped decoder in float16 and bfloat16. Two runs in one type differ by what its
 * roundings do to each, so the tolerance is twice PyTorch's own distance from float32 on the same weights (expected.json, noise).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { compileModel } from '../../src/compile/compileModel.ts';
import { resolveOptions } from '../../src/compile/options.ts';
import { encodeModel } from '../../src/emit/index.ts';
import { toFloat32 } from '../../src/formats/rawTensor.ts';
import type { Model } from '../../src/graph/model.ts';
import { stream } from '../../src/graph/random.ts';
import { bytesOf } from '../../src/graph/tensor.ts';
import { parseFile } from '../../src/parser/index.ts';
import { lossScaling, type StateLayout } from '../../src/passes/index.ts';
import { distance, floats } from '../support/executeGraphs.ts';
import { numbers } from '../support/gradients/harness.ts';
import { inFloat32 } from '../support/halfTypes.ts';
import { readPack } from '../support/parityPack.ts';

const schema = z.object({
  losses_f32: z.array(z.number()),
  grad_norms_f32: z.array(z.number()),
  losses_without_adapter: z.array(z.number()),
  noise: z.object({
    losses: z.number(),
    grad_norms: z.number(),
    grads0: z.number(),
    change: z.number(),
    logits: z.number(),
  }),
});

const root = join(import.meta.dirname, '../../fixtures/half-pack');
const vector = (data: Float32Array): Tensor => new Tensor('float32', data, [data.length]);
const scalar = (x: number): Tensor => new Tensor('float32', Float32Array.of(x), []);
const one = (t: Tensor | undefined): number => floats(t)[0] ?? Number.NaN;
/** The largest relative difference of two lists. */
const apart = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((x, i) => Math.abs(x / (b[i] ?? Number.NaN) - 1)));

/** PEFT's tensors, which are stored transposed, as the flat vector. */
function flat(layout: StateLayout, of: (path: string, side: 'A' | 'B') => Float32Array): Float32Array {
  const all = new Float32Array(layout.size);
  for (const slots of layout.slots)
    for (const side of ['A', 'B'] as const) all.set(of(slots.layer.path, side), slots[side].offset);
  return all;
}

describe.each(['float16', 'bfloat16'])('half-pack %s', (type) => {
  const folder = join(root, type);
  const pack = readPack(folder, folder, root);
  const { noise, ...exact } = schema.parse(JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')));
  const { model } = parseFile(join(folder, 'base.onnx'));
  const options = resolveOptions({ adapter: join(folder, 'init'), maxGradNorm: 0 });
  const { graphs, layout, layers, prepared } = compileModel(model, options);
  const [initial, final] = [pack.init, pack.final].map((adapter) =>
    flat(layout, (path, side) => adapter.tensors.get(path)?.[side] ?? new Float32Array()),
  );
  if (initial === undefined || final === undefined) throw new Error('no adapters');
  const scale = prepared?.lossScaled === true ? { lora_loss_scale: scalar(lossScaling.initial) } : {};
  // bfloat16 computes in float32 here, so that it has the noise of PyTorch's run only, and none against float32.
  const [times, own] = type === 'bfloat16' ? [1.05, 1e-4] : [2, Number.NaN];
  const open = async (which: 'grad' | 'train' | 'eval', from = graphs) => {
    const graph = from.get(which);
    if (graph === undefined) throw new Error(`no ${which}`);
    const session = await InferenceSession.create(encodeModel(graph), { intraOpNumThreads: 1, logSeverityLevel: 3 });
    return (feeds: Readonly<Record<string, Tensor>>) =>
      session.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => session.inputNames.includes(name))));
  };

  it('adapts the modules that PEFT adapts', () => {
    expect(layers.map((l) => l.path).sort()).toEqual([...pack.init.tensors.keys()].sort());
  });

  it('has the gradient of the first step', async () => {
    const grad = await open('grad');
    const ours = floats((await grad({ ...pack.batches[0], ...scale, lora_params: vector(initial) })).lora_grad);
    const theirs = flat(layout, (path, side) => {
      const tensor = pack.grads0.get(`base_model.model.${path}.lora_${side}.weight`);
      if (tensor === undefined) throw new Error(`no gradient of ${path}`);
      const [rows = 1, columns = 1] = tensor.shape;
      const values = toFloat32(tensor);
      return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)] ?? Number.NaN);
    });
    expect(distance(ours, theirs)).toBeLessThan(times * noise.grads0);
  });

  it('takes ten steps to the same losses, norms and adapter', async () => {
    const train = await open('train');
    const zeros = (): Tensor => vector(new Float32Array(layout.size));
    let state: Record<string, Tensor> = {
      ...scale,
      lora_params: vector(initial),
      lora_m: zeros(),
      lora_v: zeros(),
      lora_step: scalar(0),
    };
    const [losses, norms]: [number[], number[]] = [[], []];
    for (const batch of pack.batches) {
      const out = await train({ ...batch, ...state, lora_lr: scalar(pack.expected.optimizer.lr) });
      losses.push(one(out.loss));
      norms.push(one(out.grad_norm));
      state = Object.fromEntries(Object.keys(state).map((k) => [k, out[`${k}_next`] ?? scalar(Number.NaN)]));
    }
    expect(one(state.lora_step), 'no step was skipped').toBe(10);
    expect(apart(losses, pack.expected.losses)).toBeLessThan(times * noise.losses);
    expect(apart(norms, pack.expected.grad_norms)).toBeLessThan(times * noise.grad_norms);
    // Against float32 itself.
    const limit = (of: number): number => (Number.isNaN(own) ? of : own);
    expect(apart(losses, exact.losses_f32)).toBeLessThan(limit(2 * noise.losses));
    expect(apart(norms, exact.grad_norms_f32)).toBeLessThan(limit(2 * noise.grad_norms));
    const from = (v: Float32Array): Float32Array => v.map((x, i) => x - (initial[i] ?? 0));
    expect(distance(from(floats(state.lora_params)), from(final))).toBeLessThan(times * noise.change);
    // What an adapter that never moves would give is further away than that.
    expect(apart(exact.losses_without_adapter, pack.expected.losses)).toBeGreaterThan(4 * noise.losses);
  });

  // The model's own loss in float16 has no slopes to measure; the same weights in float32 do.
  it('has the slopes of the loss in float32', async () => {
    const wide = compileModel(inFloat32(parseFile(join(folder, 'base.onnx')).model), options).graphs.get('eval');
    if (wide === undefined) throw new Error('no evaluation');
    const session = await InferenceSession.create(encodeModel(wide), { intraOpNumThreads: 1, logSeverityLevel: 3 });
    const grad = await open('grad');
    const batch = pack.batches[0] ?? {};
    const gradient = floats((await grad({ ...batch, ...scale, lora_params: vector(final) })).lora_grad);
    const random = stream(23, type);
    for (let trial = 0; trial < 4; trial++) {
      // Signs of the gradient: slopes add up, so that every element counts.
      const drawn = gradient.map((x) => (Math.sign(x) || 1) * Math.abs(random.normal()));
      const length = Math.hypot(...drawn);
      const loss = async (by: number): Promise<number> =>
        one(
          (
            await session.run({
              ...batch,
              lora_params: vector(final.map((p, i) => p + (by * (drawn[i] ?? 0)) / length)),
            })
          ).loss,
        );
      const slope = ((await loss(0.02)) - (await loss(-0.02))) / 0.04;
      const dot = gradient.reduce((n, x, i) => n + (x * (drawn[i] ?? 0)) / length, 0);
      expect(Math.abs(slope - dot) / Math.abs(dot), `${slope} against ${dot}`).toBeLessThan(
        type === 'bfloat16' ? 2e-3 : 5e-3,
      );
    }
  });

  it('learns one batch in 50 steps, with the base as it was', async () => {
    // With the head and ranks of 8, so that there is something to learn with.
    const own = compileModel(parseFile(join(folder, 'base.onnx')).model, resolveOptions({ emit: ['model', 'train'] }));
    const train = await open('train', own.graphs);
    const zeros = (): Tensor => vector(new Float32Array(own.layout.size));
    const start = zeros();
    own.selection.chosen.forEach(({ A }, i) => {
      floats(start).set(new Float32Array(bytesOf(A).buffer), own.layout.slots[i]?.A.offset);
    });
    let state: Record<string, Tensor> = {
      ...scale,
      lora_params: start,
      lora_m: zeros(),
      lora_v: zeros(),
      lora_step: scalar(0),
    };
    const losses: number[] = [];
    for (let i = 0; i < 50; i++) {
      const out = await train({ ...pack.batches[0], ...state, lora_lr: scalar(0.01) });
      losses.push(one(out.loss));
      state = Object.fromEntries(Object.keys(state).map((k) => [k, out[`${k}_next`] ?? scalar(Number.NaN)]));
    }
    expect((losses.at(-1) ?? Number.NaN) / (losses[0] ?? Number.NaN), losses.join(' ')).toBeLessThan(0.5);
    const stored = (m: Model | undefined): Map<string, Uint8Array> =>
      new Map(
        m?.graph.initializers.flatMap((v) => (v.dtype === type && v.tensor ? [[v.name, bytesOf(v.tensor)]] : [])),
      );
    const source = stored(parseFile(join(folder, 'base.onnx')).model);
    const kept = stored(own.graphs.get(type === 'bfloat16' ? 'model' : 'train'));
    expect(kept.size).toBeGreaterThan(own.layers.length);
    for (const [name, bytes] of kept) if (source.has(name)) expect(bytes, name).toEqual(source.get(name));
    for (const { weight } of own.layers) expect(kept.has(weight), weight).toBe(true);
  });

  it('gives the logits of the adapter', async () => {
    const evaluate = await open('eval');
    for (const [name, params] of [
      ['init_logits', initial],
      ['adapter_logits', final],
    ] as const) {
      const { logits } = await evaluate({ ...pack.batches[0], lora_params: vector(params) });
      if (logits === undefined) throw new Error('no logits');
      const theirs = pack.logits.get(name) ?? new Float32Array();
      expect(distance(Float32Array.from(numbers(logits)), theirs), name).toBeLessThan(2 * noise.logits);
    }
  });
});
