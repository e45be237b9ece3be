/** The estimate of `inspect --memory` next to what a profile of ONNX Runtime counts in the same step. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { compile, type InspectedMemory, inspect, type LoraifyError } from '../../src/index.ts';
import { sessionOptions } from '../../src/runtime/session/session.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const scratch = temporaryFolder();
const decoder = join(import.meta.dirname, '../../fixtures/exports/gpt2.ts/model.onnx');
const digits = join(import.meta.dirname, '../../fixtures/demo/digits.onnx');

async function estimate(file: string, options: Parameters<typeof inspect>[1]): Promise<InspectedMemory> {
  const { memory } = await inspect(file, options);
  if (memory === undefined || 'reason' in memory) throw new Error(memory?.reason ?? 'no estimate');
  return memory;
}

const eventSchema = z.object({
  ts: z.number(),
  args: z.object({
    mem_bytes_requested_in_use: z.coerce.number(),
    mem_requested_in_use_delta: z.coerce.number(),
    mem_in_use_peak: z.coerce.number(),
  }),
});

interface Profiled {
  /** What the session holds before the first node runs. */
  readonly before: number;
  /** Bytes that tensors ask for, at most, beyond that. */
  readonly requested: number;
  /** Bytes in use at most, with what the arena rounds up. */
  readonly inUse: number;
}

/** One run of a graph on the CPU, all inputs 1. */
async function profiled(
  folder: string,
  graph: string,
  lengths: Readonly<Record<string, number>>,
  level: 'all' | 'disabled' = 'all',
): Promise<Profiled> {
  const session = await InferenceSession.create(join(folder, `${graph}.onnx`), {
    ...sessionOptions({ provider: 'cpu', threads: 1 }),
    graphOptimizationLevel: level,
    enableProfiling: true,
    profileFilePrefix: join(folder, 'profile'),
  });
  const feeds = session.inputMetadata.map((input) => {
    if (!input.isTensor) throw new Error(`${input.name} is no tensor`);
    const dims = input.shape.map((d) => (typeof d === 'number' ? d : (lengths[d] ?? Number.NaN)));
    const count = dims.reduce((a, b) => a * b, 1);
    const ones =
      input.type === 'int64'
        ? new Tensor('int64', new BigInt64Array(count).fill(1n), dims)
        : input.type === 'bool'
          ? new Tensor('bool', new Uint8Array(count).fill(1), dims)
          : new Tensor('float32', new Float32Array(count).fill(1), dims);
    return [input.name, ones] as const;
  });
  await session.run(Object.fromEntries(feeds));
  await session.release();
  const file = readdirSync(folder).find((f) => f.startsWith('profile')) ?? '';
  const all = z.array(z.unknown()).parse(JSON.parse(readFileSync(join(folder, file), 'utf8')));
  const events = all.flatMap((e) => eventSchema.safeParse(e).data ?? []).sort((a, b) => a.ts - b.ts);
  const [first] = events;
  if (first === undefined) throw new Error('the profile is empty');
  const before = first.args.mem_bytes_requested_in_use - first.args.mem_requested_in_use_delta;
  return {
    before,
    requested: Math.max(...events.map((e) => e.args.mem_bytes_requested_in_use)) - before,
    inUse: Math.max(...events.map((e) => e.args.mem_in_use_peak)),
  };
}

describeShared('the memory of a step', 'parity/bert_cls', () => {
  const lengths = { batch: 4, seq: 12 };
  it.each([
    ['bert_cls', 'portable', 1, 'open'],
    ['bert_cls', 'cpu', 4, 'open'],
    ['gpt2_lm', 'cpu', 1, 'open'],
    ['llama_lm', 'portable', 2, 'open'],
    ['mlp_classifier', 'portable', 1, 'open'],
    ['gpt2_lm', 'cpu', 1, 'fixed'],
    ['llama_lm', 'portable', 2, 'fixed'],
  ] as const)('%s for %s, %i steps a run, lengths %s', async (pack, target, steps, how) => {
    const source = sharedPath('parity', pack, 'base.onnx');
    const out = join(scratch, `${pack}.${target}.${steps}.${how}`);
    const { batch, seq } = lengths;
    const fixed = how === 'fixed' ? lengths : {};
    const memory = { batch, ...(pack === 'mlp_classifier' ? {} : { seq }), steps };
    const found = await estimate(source, { for: target, ...fixed, memory: how === 'fixed' ? { steps } : memory });
    expect(found.lengths).toEqual({ batch, ...(pack === 'mlp_classifier' ? {} : { seq }) });
    const { manifest } = await compile(source, { for: target, out, ...fixed, emit: [found.graph] });
    // Buffers of known lengths are handed on, and a fused node more or less changes to which value: without the optimizer the plan is known.
    const level = how === 'fixed' ? 'disabled' : 'all';
    const measured = await profiled(out, found.graph, { ...lengths, K: steps }, level);
    // The caller's memory is not in the profile; three vectors and the step count are the state that it feeds.
    const made = found.activations + found.state - (3 * manifest.state.size + 1) * 4;
    // The plan is ONNX Runtime's own; its optimizer has fused some nodes before, which saves or adds a small value here and there.
    expect(Math.abs(made / measured.requested - 1)).toBeLessThan(0.01);
    // Besides packed weights a session holds the graph's scalars.
    expect(measured.before - found.packed).toBeLessThan(1024);
    expect(measured.before).toBeGreaterThanOrEqual(found.packed);
    // The arena hands out multiples of 256 bytes, which is much for models of this size, and free pieces of up to twice what is asked for.
    expect(measured.inUse / (made + found.packed)).toBeGreaterThan(1);
    expect(measured.inUse / (made + found.packed)).toBeLessThan(pack === 'mlp_classifier' ? 1.2 : 1.1);
    expect(found.unknown).toEqual([]);
  });
});

describe('inspect with memory', () => {
  it('adds up, names what it is made of, and grows with the batch alone', async () => {
    const [one, two] = [
      await estimate(digits, { memory: { batch: 8 } }),
      await estimate(digits, { memory: { batch: 16 } }),
    ];
    expect(one.total).toBe(one.weights + one.packed + one.batch + one.state + one.activations);
    expect(one.largest.reduce((n, k) => n + k.bytes, 0)).toBe(one.activations);
    // The learning rate is the same.
    expect(two.batch - 4).toBe(2 * (one.batch - 4));
    expect(two.activations).toBeGreaterThan(one.activations);
    expect([two.weights, two.packed]).toEqual([one.weights, one.packed]);
  });

  it('takes the steps of a run together on CUDA, whose state moves between buffers', async () => {
    const found = await estimate(digits, { for: 'cuda', memory: { batch: 8 } });
    expect([found.graph, found.steps, found.packed]).toEqual(['train_k', 16, 0]);
    const single = await estimate(digits, { for: 'cuda', memory: { batch: 8, steps: 1 } });
    expect(found.batch).toBeGreaterThan(15 * single.batch);
    expect(found.state).toBeGreaterThan(single.state);
  });

  it.each([
    ['open lengths', {}, { batch: 4, seq: 16 }],
    ['open lengths, several steps', {}, { batch: 4, seq: 16, steps: 3 }],
    ['fixed lengths', { batch: 4, seq: 16 }, { batch: 4 }],
    ['fixed lengths, several steps', { batch: 4, seq: 16 }, { steps: 3 }],
  ])('of a package is that of its graphs: %s', async (name, fixed, memory) => {
    const options = { rank: 2, ...fixed };
    const { dir } = await compile(decoder, { ...options, out: join(scratch, name) });
    // Other options of inspect are for another compile.
    expect(await estimate(dir, { memory })).toEqual(await estimate(decoder, { ...options, memory }));
  });

  it('of a package refuses lengths that it has not, and is not known without the graph', async () => {
    const { dir } = await compile(decoder, { batch: 4, seq: 16, emit: ['grad'], out: join(scratch, 'grad') });
    const failure = await inspect(dir, { memory: { batch: 8 } }).catch((error: LoraifyError) => error);
    expect(failure).toMatchObject({ code: 'BAD_OPTION', message: expect.stringContaining('fixes that dim to 4') });
    const { memory } = await inspect(dir, { memory: { steps: 1 } });
    expect(memory).toEqual({ reason: 'BAD_PACKAGE: the package has no train graph; compile with --emit all' });
  });

  it.each([
    [{}, 'needs a number for each dim that the model leaves open: add'],
    [{ batch: 8, sek: 4 }, 'no input has a dim "sek"'],
    [{ batch: 0 }, 'a dim must be a positive integer'],
    [{ batch: 8, seq: 3 }, 'the model fixes that dim to'],
  ])('refuses %j', async (memory, message) => {
    const failure = await inspect(digits, { memory }).catch((error: LoraifyError) => error);
    expect(failure).toMatchObject({ code: 'BAD_OPTION', message: expect.stringContaining(message) });
  });
});
