/**
 * The numbers PyTorch + PEFT gets, on stock ONNX Runtime: losses, gradient norms and tensors, ten AdamW steps, final adapter.
 * The tolerances are float32's: expected.json says how far PyTorch's own float32 run is from float64.
 */
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import type { Compiled } from '../../src/compile/compiled.ts';
import { compileModel } from '../../src/compile/compileModel.ts';
import { resolveOptions } from '../../src/compile/options.ts';
import { encodeModel } from '../../src/emit/index.ts';
import { type RawTensor, toFloat32 } from '../../src/formats/rawTensor.ts';
import { sizeOf, transposed } from '../../src/graph/layers.ts';
import type { Layer, Model } from '../../src/graph/model.ts';
import { storedValues } from '../../src/package/modulesToSave.ts';
import { parseFile } from '../../src/parser/index.ts';
import { distance } from '../support/executeGraphs.ts';
import { type Pack, readPack } from '../support/parityPack.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';

const open = (model: Model | undefined): Promise<InferenceSession> => {
  if (model === undefined) throw new Error('a graph is missing');
  return InferenceSession.create(encodeModel(model), {
    intraOpNumThreads: 1,
    enableMemPattern: false,
    logSeverityLevel: 3,
  });
};
const vector = (data: Float32Array): Tensor => new Tensor('float32', data, [data.length]);
const scalar = (x: number): Tensor => new Tensor('float32', Float32Array.of(x), []);
const floats = (t: Tensor | undefined): Float32Array => {
  if (!(t?.data instanceof Float32Array)) throw new Error(`expected float32, got ${t?.type}`);
  return t.data;
};

const peftKey = ({ path, op }: Layer, part: 'A' | 'B'): string =>
  `base_model.model.${path}.${op === 'Gather' ? `lora_embedding_${part}` : `lora_${part}.weight`}`;

/** Only the feeds that a graph takes. */
const only = (session: InferenceSession, feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(feeds).filter(([name]) => session.inputNames.includes(name)));

/** A tensor of the state: its place, PEFT's key, and PEFT's tensor as the state has it. */
interface Stated {
  readonly slot: { readonly name: string; readonly offset: number; readonly shape: readonly number[] };
  readonly key: string;
  readonly of: (adapter: Pack['init']) => Float32Array | undefined;
  readonly fromPeft: (stored: RawTensor) => Float32Array;
}

function stated({ layout, saved }: Pick<Compiled, 'layout' | 'saved'>): Stated[] {
  const factors = layout.slots.flatMap(({ layer, A, B }): Stated[] =>
    (['A', 'B'] as const).map((part) => {
      const slot = part === 'A' ? A : B;
      const [rows = 1, columns = 1] = slot.shape;
      return {
        slot,
        key: peftKey(layer, part),
        of: (adapter) => adapter.tensors.get(layer.path)?.[part],
        // PEFT stores both transposed, except those of convolutions.
        fromPeft: (t) => (slot.shape.length > 2 ? toFloat32(t) : transposed(toFloat32(t), columns, rows)),
      };
    }),
  );
  const magnitudes = layout.slots.flatMap(({ layer, magnitude }): Stated[] =>
    magnitude === undefined
      ? []
      : [
          {
            slot: magnitude,
            key: `base_model.model.${layer.path}.lora_magnitude_vector`,
            of: (adapter) => adapter.tensors.get(layer.path)?.magnitude,
            fromPeft: toFloat32,
          },
        ],
  );
  const whole = layout.saved.map((slot, i): Stated => {
    const { path: parameter, transposed } = saved[i]?.parameter ?? { path: '', transposed: false };
    const fromPeft = (t: RawTensor): Float32Array =>
      storedValues({ parameter, shape: slot.shape, turned: transposed }, t);
    const of: Stated['of'] = (adapter) => {
      const found = adapter.saved.get(parameter);
      return found === undefined ? undefined : fromPeft(found);
    };
    return { slot, key: `base_model.model.${parameter}`, of, fromPeft };
  });
  return [...factors, ...magnitudes, ...whole];
}

function packTests(folder: string, base = folder): void {
  const pack: Pack = readPack(folder, base);
  const { model } = parseFile(join(base, 'base.onnx'));
  const compiled = compileModel(
    model,
    resolveOptions({
      adapter: join(folder, 'init'),
      maxGradNorm: 0,
      weightDecay: pack.expected.optimizer.weight_decay,
    }),
  );
  const { graphs, layers, layout } = compiled;
  const tensors = stated(compiled);
  const initial = new Float32Array(layout.size);
  const final = new Float32Array(layout.size);
  for (const { slot, of } of tensors)
    for (const [to, from] of [
      [initial, pack.init],
      [final, pack.final],
    ] as const)
      to.set(of(from) ?? [], slot.offset);

  it('adapts the modules that PEFT adapts', () => {
    expect(layers.map((l) => l.path).sort()).toEqual([...pack.init.tensors.keys()].sort());
    expect(tensors.map((t) => t.key).sort()).toEqual([...pack.grads0.keys()].sort());
  });

  it('has the gradient of every tensor at the first step', async () => {
    const session = await open(graphs.get('grad'));
    const out = await session.run(only(session, { ...pack.batches[0], lora_params: vector(initial) }));
    const gradient = floats(out.lora_grad);
    for (const { slot, key, fromPeft } of tensors) {
      const stored = pack.grads0.get(key);
      if (stored === undefined) throw new Error(`no gradient ${key}`);
      const theirs = fromPeft(stored);
      const ours = gradient.slice(slot.offset, slot.offset + sizeOf(slot.shape));
      expect(theirs.length, key).toBe(ours.length);
      const zero = theirs.every((x) => x === 0);
      if (zero) expect(Math.max(...ours.map(Math.abs)), key).toBe(0);
      else expect(distance(ours, theirs), key).toBeLessThan(1e-4);
    }
  });

  it('takes ten steps with the same losses and norms, to the same adapter', async () => {
    const session = await open(graphs.get('train'));
    let state: Record<string, Tensor> = {
      lora_params: vector(initial),
      lora_m: vector(new Float32Array(layout.size)),
      lora_v: vector(new Float32Array(layout.size)),
      lora_step: scalar(0),
    };
    for (const [i, batch] of pack.batches.entries()) {
      const out = await session.run(only(session, { ...batch, ...state, lora_lr: scalar(pack.expected.optimizer.lr) }));
      const [loss, norm] = [floats(out.loss)[0] ?? Number.NaN, floats(out.grad_norm)[0] ?? Number.NaN];
      const [theirs, theirNorm] = [pack.expected.losses[i] ?? 0, pack.expected.grad_norms[i] ?? 0];
      expect(Math.abs(loss - theirs) / theirs, `loss of step ${i}: ${loss} against ${theirs}`).toBeLessThan(1e-4);
      expect(Math.abs(norm - theirNorm) / theirNorm, `norm of step ${i}: ${norm} against ${theirNorm}`).toBeLessThan(
        1e-4,
      );
      state = Object.fromEntries(Object.keys(state).map((k) => [k, out[`${k}_next`] ?? scalar(0)]));
    }
    const ours = floats(state.lora_params);
    for (const { slot } of tensors) {
      const part = (v: Float32Array): Float32Array => v.slice(slot.offset, slot.offset + sizeOf(slot.shape));
      const [mine, theirs, start] = [part(ours), part(final), part(initial)];
      const change = Math.hypot(...theirs.map((x, k) => x - (start[k] ?? 0)));
      const off = Math.hypot(...theirs.map((x, k) => x - (mine[k] ?? 0)));
      expect(off / change, slot.name).toBeLessThan(2e-3);
    }
  });

  it('gives the logits of the final adapter', async () => {
    const session = await open(graphs.get('eval'));
    for (const [name, params] of [
      ['init_logits', initial],
      ['merged_logits', final],
      ['adapter_logits', final],
    ] as const) {
      const theirs = pack.logits.get(name === 'merged_logits' ? 'logits' : name);
      if (theirs === undefined) continue;
      const out = await session.run(only(session, { ...pack.batches[0], lora_params: vector(params) }));
      expect(distance(floats(out.logits), theirs), name).toBeLessThan(1e-5);
    }
  });
}

describe.each(['conv', 'embedding', 'attention'])('peft-layers, %s', (name) =>
  packTests(join(import.meta.dirname, '../../fixtures/peft-layers', name)),
);
const dora = (name: string): string => join(import.meta.dirname, '../../fixtures/peft-dora', name);
describe.each(['mixed', 'conv', 'embedding'])('peft-dora, %s', (name) => packTests(dora(name)));
describe('peft-dora, LoRA with modules_to_save', () => packTests(dora('saved'), dora('mixed')));
describe('peft-pack', () => packTests(join(import.meta.dirname, '../../fixtures/peft-pack')));

const shared = ['mlp_classifier', 'bert_cls', 'gpt2_lm', 'llama_lm'];
const variants = ['bert_cls', 'llama_lm'];
describeShared('shared packs', ['parity'], () => {
  describe.each(shared)('%s', (name) => packTests(sharedPath('parity', name)));
  describe.each(variants)('%s, B at random', (name) =>
    packTests(sharedPath('parity', name, 'random_b'), sharedPath('parity', name)),
  );
});
