/** Training graphs of real models on ONNX Runtime: all load, gradients are those of the loss, one batch is learnt. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import type { Compiled } from '../../src/compile/compiled.ts';
import { compileModel } from '../../src/compile/compileModel.ts';
import { type Emittable, emittable, resolveOptions } from '../../src/compile/options.ts';
import { encodeModel } from '../../src/emit/index.ts';
import { sizeOf } from '../../src/graph/layers.ts';
import type { Model } from '../../src/graph/model.ts';
import { stream } from '../../src/graph/random.ts';
import { bytesOf } from '../../src/graph/tensor.ts';
import { parseFile } from '../../src/parser/index.ts';
import { lossScaling } from '../../src/passes/index.ts';
import { floats } from '../support/executeGraphs.ts';
import { inFloat32, roundingOf } from '../support/halfTypes.ts';
import { type Feeds, type Trainable, trainable } from '../support/realModels.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';

const vector = (data: Float32Array): Tensor => new Tensor('float32', data, [data.length]);
const scalar = (x: number): Tensor => new Tensor('float32', Float32Array.of(x), []);

/** A session that is fed what it takes out of `feeds`. */
async function opened(
  compiled: Compiled,
  which: Emittable,
): Promise<(feeds: Feeds) => Promise<Record<string, Tensor>>> {
  const graph = compiled.graphs.get(which);
  if (graph === undefined) throw new Error(`no graph ${which}`);
  const session = await InferenceSession.create(encodeModel(graph), { intraOpNumThreads: 1, logSeverityLevel: 3 });
  return (feeds) =>
    session.run(Object.fromEntries(Object.entries(feeds).filter(([n]) => session.inputNames.includes(n))));
}

/** The flat vector with A at its start and B drawn with this deviation. */
function start({ selection, layout }: Compiled, deviation: number): Float32Array {
  const random = stream(13, 'B');
  const params = new Float32Array(layout.size);
  selection.chosen.forEach(({ A }, i) => {
    const slot = layout.slots[i];
    if (slot === undefined) return;
    params.set(new Float32Array(bytesOf(A).buffer), slot.A.offset);
    const length = sizeOf(slot.B.shape);
    if (deviation > 0)
      params.set(
        Float32Array.from({ length }, () => deviation * random.normal()),
        slot.B.offset,
      );
  });
  return params;
}

const source = ({ file }: Trainable): Model => parseFile(sharedPath(file)).model;
const compiledOf = (model: Model, { options = {} }: Trainable): Compiled =>
  compileModel(model, resolveOptions(options));

/** What graphs with a loss scale are fed at first. */
const scaleOf = ({ prepared }: Compiled): Feeds =>
  prepared?.lossScaled === true ? { lora_loss_scale: scalar(lossScaling.initial) } : {};

/**
 * Along random directions whose elements have the gradient's signs: slopes add up instead of cancelling, so that float32 losses
 * can show them, and every element of a wrong gradient counts.
 */
async function checkGradient(compiled: Compiled, subject: Trainable): Promise<void> {
  const { feeds, labels, reach = 0.03 } = subject;
  // The slopes of a loss in half precision drown in its roundings; the same weights in float32 show them.
  const isHalf = roundingOf(source(subject)) !== undefined;
  const smooth = isHalf ? compiledOf(inFloat32(source(subject)), subject) : compiled;
  const [grad, evaluate] = [await opened(compiled, 'grad'), await opened(smooth, 'eval')];
  const params = start(compiled, 0.02);
  const at = (x: Float32Array): Feeds => ({ ...feeds, labels, lora_params: vector(x), ...scaleOf(compiled) });
  const gradient = floats((await grad(at(params))).lora_grad);
  const random = stream(17, 'directions');
  for (let trial = 0; trial < 3; trial++) {
    const direction = gradient.map((x) => (x === 0 ? random.normal() : Math.sign(x) * Math.abs(random.normal())));
    const length = Math.sqrt(direction.reduce((n, x) => n + x * x, 0));
    const loss = async (way: number): Promise<number> => {
      const moved = params.map((p, i) => p + (way * (direction[i] ?? 0)) / length);
      return floats((await evaluate(at(moved))).loss)[0] ?? Number.NaN;
    };
    // The five-point stencil is exact to the fourth power, so it may reach far enough for float32.
    const near = (await loss(reach)) - (await loss(-reach));
    const far = (await loss(2 * reach)) - (await loss(-2 * reach));
    const slope = (8 * near - far) / (12 * reach);
    const dot = gradient.reduce((n, x, i) => n + (x * (direction[i] ?? 0)) / length, 0);
    expect(Math.abs(slope - dot) / Math.abs(dot), `direction ${trial}: ${slope} against ${dot}`).toBeLessThan(
      isHalf ? 2e-2 : 2e-3,
    );
  }
}

async function checkTraining(compiled: Compiled, { feeds, labels }: Trainable): Promise<void> {
  const step = await opened(compiled, 'train');
  const zeros = (): Tensor => vector(new Float32Array(compiled.layout.size));
  const batch = { ...feeds, labels };
  const initial = {
    lora_params: vector(start(compiled, 0)),
    lora_m: zeros(),
    lora_v: zeros(),
    lora_step: scalar(0),
    ...scaleOf(compiled),
  };
  const still = await step({ ...batch, ...initial, lora_lr: scalar(0) });
  expect(still.lora_params_next?.data, 'with a learning rate of 0').toEqual(initial.lora_params.data);

  let state: Record<string, Tensor> = initial;
  const losses: number[] = [];
  for (let i = 0; i < 50; i++) {
    const out = await step({ ...batch, ...state, lora_lr: scalar(1e-2) });
    losses.push(floats(out.loss)[0] ?? Number.NaN);
    state = Object.fromEntries(Object.keys(state).map((k) => [k, out[`${k}_next`] ?? scalar(0)]));
  }
  expect((losses.at(-1) ?? Number.NaN) / (losses[0] ?? 0), losses.join(' ')).toBeLessThan(0.5);
}

describeShared('training graphs', ['models', 'parity'], () => {
  describe.each(trainable)('$name', (subject) => {
    const compiled = compiledOf(source(subject), subject);

    it('load in ONNX Runtime, all of them', async () => {
      for (const which of emittable) await opened(compiled, which);
    });

    it('have the gradient of their loss', () => checkGradient(compiled, subject));

    it('learn one batch', () => checkTraining(compiled, subject));
  });
});
