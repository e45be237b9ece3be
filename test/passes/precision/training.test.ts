/** Training with weights in half precision next to float32: gradients, a hundred steps, and graphs for a GPU between casts on the CPU. */
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { type CompileOptions, resolveOptions } from '../../../src/compile/options.ts';
import { encodeModel } from '../../../src/emit/index.ts';
import { sizeOf } from '../../../src/graph/layers.ts';
import { stream } from '../../../src/graph/random.ts';
import { parseFile } from '../../../src/parser/index.ts';
import { lossScaling } from '../../../src/passes/index.ts';
import { distance, floats } from '../../support/executeGraphs.ts';
import { runnable } from '../../support/halfTypes.ts';
import { readPack } from '../../support/parityPack.ts';
import { describeShared, sharedPath } from '../../support/sharedMaterial.ts';

type Feeds = Readonly<Record<string, Tensor>>;
const vector = (data: Float32Array): Tensor => new Tensor('float32', data, [data.length]);
const scalar = (x: number): Tensor => new Tensor('float32', Float32Array.of(x), []);
const one = (t: Tensor | undefined): number => floats(t)[0] ?? Number.NaN;

/** The graphs of a pack's base with an adapter that has begun to move. */
function graphsOf(folder: string, extra: CompileOptions) {
  const { model, source } = parseFile(join(folder, 'base.onnx'));
  const options = resolveOptions({ adapter: join(folder, 'init'), emit: ['grad', 'train'], ...extra });
  const { graphs, layout, prepared } = compileModel(model, options);
  const random = stream(3, 'precision');
  const params = Float32Array.from({ length: layout.size }, () => 0.05 * random.normal());
  const zeroB = Float32Array.from(params);
  for (const { B } of layout.slots) zeroB.fill(0, B.offset, B.offset + sizeOf(B.shape));
  const scale = prepared?.lossScaled === true ? { lora_loss_scale: scalar(lossScaling.initial) } : {};
  const open = async (which: 'grad' | 'train') => {
    const graph = graphs.get(which);
    if (graph === undefined) throw new Error(`no ${which}`);
    const bytes = encodeModel(runnable(graph));
    const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1, logSeverityLevel: 3 });
    const known = new Set(session.inputNames);
    return (feeds: Feeds) => session.run(Object.fromEntries(Object.entries(feeds).filter(([n]) => known.has(n))));
  };
  return { graphs, open, source, params: vector(params), start: vector(zeroB), scale };
}

async function gradientOf(folder: string, extra: CompileOptions) {
  const { open, params, scale, source } = graphsOf(folder, extra);
  const [batch] = readPack(folder).batches;
  const out = await (await open('grad'))({ ...batch, ...scale, lora_params: params });
  source.close();
  return { gradient: floats(out.lora_grad), loss: one(out.loss) };
}

/** Losses of steps over the pack's batches, with A and B at random; `fresh`: on the first batch alone, with B zero. */
async function lossesOf(folder: string, extra: CompileOptions, steps: number, fresh = false): Promise<number[]> {
  const { open, params, start, scale, source } = graphsOf(folder, extra);
  const batches = readPack(folder).batches.slice(0, fresh ? 1 : undefined);
  const train = await open('train');
  const zeros = (): Tensor => vector(new Float32Array(params.size));
  let state: Feeds = {
    ...scale,
    lora_params: fresh ? start : params,
    lora_m: zeros(),
    lora_v: zeros(),
    lora_step: scalar(0),
  };
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const out = await train({ ...batches[step % batches.length], ...state, lora_lr: scalar(fresh ? 1e-4 : 1e-3) });
    losses.push(one(out.loss));
    state = Object.fromEntries(Object.keys(state).map((k) => [k, out[`${k}_next`] ?? scalar(Number.NaN)]));
  }
  source.close();
  expect(one(state.lora_step), 'no step was skipped').toBe(steps);
  return losses;
}

/** Half a unit in the last place, relative: what one rounding to the type does at most. */
const unit = { fp16: 2 ** -11, bf16: 2 ** -8 };

const forms = [
  { precision: 'fp16', for: 'portable' },
  { precision: 'bf16', for: 'portable' },
  // As on a GPU, where activations and gradients are rounded too.
  { precision: 'fp16', for: 'cuda' },
  { precision: 'bf16', for: 'cuda' },
] as const;

function compareGradients(folder: string): void {
  it('the gradient is that of float32, but for roundings', async () => {
    const exact = await gradientOf(folder, {});
    for (const form of forms) {
      const { gradient, loss } = await gradientOf(folder, form);
      const off = distance(gradient, exact.gradient) / unit[form.precision];
      // About ten products behind one another on the way there and back, whose weights and operands are rounded each for itself: errors
      // of a unit add up as roots do.
      console.log(
        folder.slice(-16),
        form,
        off.toFixed(2),
        (Math.abs(loss / exact.loss - 1) / unit[form.precision]).toFixed(3),
      );
      expect(off, `gradient of ${form.precision} for ${form.for}, in units`).toBeLessThan(8);
      expect(off, 'weights are rounded').toBeGreaterThan(0.01);
      expect(Math.abs(loss / exact.loss - 1) / unit[form.precision], 'loss, in units').toBeLessThan(1);
    }
  });
}

function compareSteps(folder: string): void {
  it('a hundred steps lose and gain what those of float32 do', async () => {
    const exact = await lossesOf(folder, {}, 100);
    const moved = Math.abs((exact.at(-1) ?? Number.NaN) / (exact[0] ?? Number.NaN) - 1);
    for (const form of forms) {
      const losses = await lossesOf(folder, form, 100);
      const off = Math.max(...losses.map((x, i) => Math.abs(x / (exact[i] ?? Number.NaN) - 1)));
      // A loss is a mean over many rounded numbers: it is off by less than one of them, and stays so.
      expect(off / unit[form.precision], `${form.precision} for ${form.for}, in units`).toBeLessThan(1);
      expect(moved).toBeGreaterThan(10 * off);
    }
  });
}

function compareStart(folder: string): void {
  it('a branch that has hardly moved is not rounded away beside its base', async () => {
    const exact = await lossesOf(folder, {}, 8, true);
    const fell = (losses: readonly number[]): number => (losses[0] ?? Number.NaN) - (losses.at(-1) ?? Number.NaN);
    for (const form of forms) {
      const off = Math.abs(fell(await lossesOf(folder, form, 8, true)) / fell(exact) - 1);
      // The loss falls by a few hundredths of a percent, of which a rounded sum of logits hides some: with the branch added to a
      // rounded base a third to a half of it would be missing.
      expect(off, `${form.precision} for ${form.for}`).toBeLessThan(form.precision === 'bf16' ? 0.15 : 0.02);
    }
  });
}

describe('text classifier', () => {
  const own = join(import.meta.dirname, '../../../fixtures/peft-pack');
  compareGradients(own);
  compareSteps(own);
});
describeShared('parity packs', 'parity', () => {
  describe.each(['gpt2_lm', 'llama_lm', 'mlp_classifier'])('%s', (name) => {
    compareGradients(sharedPath('parity', name));
  });
  describe('gpt2_lm', () => {
    compareSteps(sharedPath('parity', 'gpt2_lm'));
    compareStart(sharedPath('parity', 'gpt2_lm'));
  });
  describe('llama_lm', () => {
    compareStart(sharedPath('parity', 'llama_lm'));
  });
});
