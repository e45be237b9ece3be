/** A decoder exported with its cache against the same decoder exported without one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import type { Compiled } from '../../../../src/compile/compiled.ts';
import { compileModel } from '../../../../src/compile/compileModel.ts';
import { type CompileOptions, resolveOptions } from '../../../../src/compile/options.ts';
import { encodeModel } from '../../../../src/emit/index.ts';
import { stream } from '../../../../src/graph/random.ts';
import { parseText } from '../../../../src/parser/index.ts';
import { distance, floats } from '../../../support/executeGraphs.ts';

const read = (...path: string[]): string => readFileSync(join(import.meta.dirname, ...path), 'utf8');
const cachedText = read('../../../../fixtures/train/cache-decoder/input.onnx.txt');
const plainText = read('plain.onnx.txt');

const compiled = (text: string, options: CompileOptions = {}): Compiled =>
  compileModel(parseText(text), resolveOptions({ rank: 2, emit: ['eval', 'grad'], ...options }));

async function run(
  from: Compiled,
  which: 'eval' | 'grad',
  feeds: Record<string, Tensor>,
): Promise<Record<string, Tensor>> {
  const model = from.graphs.get(which);
  if (model === undefined) throw new Error(`no ${which}`);
  const session = await InferenceSession.create(encodeModel(model), { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const result = await session.run(Object.fromEntries(session.inputNames.map((n) => [n, feeds[n] ?? missing(n)])));
  await session.release();
  return result;
}

function missing(name: string): never {
  throw new Error(`nothing to feed to ${name}`);
}

const ints = (rows: readonly (readonly number[])[]): Tensor =>
  new Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]?.length ?? 0]);

const mask = [
  [1, 1, 1, 1, 1],
  [1, 1, 1, 0, 0],
  [0, 0, 1, 1, 1],
];
// transformers: position_ids = mask.cumsum(-1) - 1; position_ids.masked_fill_(mask == 0, 1)
const positions = [
  [0, 1, 2, 3, 4],
  [0, 1, 2, 1, 1],
  [1, 1, 0, 1, 2],
];
const ids = [
  [0, 1, 2, 3, 4],
  [4, 2, 1, 0, 0],
  [0, 0, 3, 1, 2],
];

it('has the same layers, losses and gradients', async () => {
  const [cached, plain] = [compiled(cachedText), compiled(plainText)];
  expect(cached.layers.map((l) => l.path)).toEqual(plain.layers.map((l) => l.path));
  expect(cached.prepared?.choice.kind).toBe('causal-lm');
  expect(cached.graphs.get('eval')?.graph.outputs.map((v) => v.name)).toEqual(['loss', 'weight', 'logits']);
  const random = stream(1, 'state');
  const params = new Tensor(
    'float32',
    Float32Array.from({ length: cached.layout.size }, () => 0.3 * random.normal()),
    [cached.layout.size],
  );
  const labels = ints(ids.map((row, i) => row.map((t, j) => (mask[i]?.[j] === 0 ? -100 : t))));
  const fed = { input_ids: ints(ids), attention_mask: ints(mask), labels, lora_params: params };
  const given = { ...fed, position_ids: ints(positions) };
  for (const which of ['eval', 'grad'] as const) {
    const [a, b] = [await run(cached, which, fed), await run(plain, which, given)];
    expect(Object.keys(a)).toEqual(Object.keys(b));
    // The same operators on the same numbers: what the optimizer of ONNX Runtime fuses may differ in the last bit.
    for (const [name, t] of Object.entries(b)) expect(distance(floats(a[name]), floats(t)), name).toBeLessThan(1e-6);
  }
});

it('what is bound is listed, what stays can be left out of the data', () => {
  const { prepared, graphs } = compiled(cachedText);
  expect(prepared?.bindings.bound.map(({ name, value }) => `${name}: ${value}`)).toEqual([
    'position_ids: cumulative sum of "attention_mask" minus 1',
    'past_key_values.0.key: length 0',
    'past_key_values.0.value: length 0',
  ]);
  expect(prepared?.bindings.bound[1]?.shape).toEqual(['N', 2, 'P', 2]);
  expect(prepared?.bindings.absent).toEqual(new Map([['attention_mask', { value: 'ones', like: 'input_ids' }]]));
  expect(graphs.get('grad')?.graph.inputs.map((v) => `${v.name} ${v.shape}`)).toEqual([
    'input_ids N,S',
    'attention_mask N,S',
    'labels N,S',
    `lora_params ${prepared?.layout.size}`,
  ]);
  const open = compiled(cachedText, { bind: { position_ids: 'input' } });
  expect(open.graphs.get('eval')?.graph.inputs.map((v) => v.name)).toContain('position_ids');
  expect(open.prepared?.bindings.absent.get('position_ids')).toEqual({ value: 'positions', like: 'input_ids' });
});

it('an output that was asked for stays, and model.onnx keeps all', () => {
  const { graphs } = compileModel(
    parseText(cachedText),
    resolveOptions({ rank: 2, emit: ['model', 'eval'], loss: 'mse', lossOutput: 'present.0.key' }),
  );
  expect(graphs.get('eval')?.graph.outputs.map((v) => v.name)).toContain('present.0.key');
  expect(graphs.get('model')?.graph.inputs.map((v) => v.name)).toContain('past_key_values.0.key');
});
