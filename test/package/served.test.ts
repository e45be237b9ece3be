/** One model, its adapters as inputs, on both of ONNX Runtime's JavaScript packages: the feeds of loraify/adapter against merged models. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as node from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { beforeAll, describe, expect, it } from 'vitest';
import { adapterFeeds, baseFeeds, combineAdapters, readAdapter } from '../../src/adapter/web.ts';
import { compile, exportAdapter, merge } from '../../src/index.ts';
import { coded } from '../support/coded.ts';
import { distance } from '../support/executeGraphs.ts';
import { readPack } from '../support/parityPack.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const own = join(import.meta.dirname, '../../fixtures/peft-pack');
const [init, final] = [join(own, 'init'), join(own, 'final')];
const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);

// The wasm build: no worker threads of its own in the test.
web.env.wasm.numThreads = 1;

beforeAll(async () => {
  const dir = at('own.lora');
  await compile(join(own, 'base.onnx'), { out: dir, adapter: init, emit: ['model'] });
  await merge(dir, { adapter: final, out: at('merged.onnx'), verify: false });
  const adapter = { [final]: 0.75, [init]: -0.5 };
  await merge(dir, { adapter, combination: 'cat', out: at('sum.onnx'), verify: false });
  await merge(dir, { adapter: { [final]: 0.3 }, out: at('weak.onnx'), verify: false });
  for (const format of ['onnx_adapter', 'safetensors'] as const)
    await exportAdapter(dir, { format, adapter: final, out: at(`final.${format}`) });
  await exportAdapter(dir, { format: 'onnx', inputs: 'required', out: at('required.onnx') });
  await exportAdapter(dir, { format: 'onnx', inputs: 'required', strength: true, out: at('strong.onnx') });
  await exportAdapter(dir, { format: 'onnx', inputs: 'optional', out: at('optional.onnx') });
});

const directory = (dir: string) =>
  readAdapter(
    readFileSync(join(dir, 'adapter_model.safetensors')),
    readFileSync(join(dir, 'adapter_config.json'), 'utf8'),
  );

// The same program for both; the types of the two packages are one.
describe.each([
  ['onnxruntime-node', node],
  ['onnxruntime-web (wasm)', web],
])('%s', (_, { InferenceSession, Tensor }) => {
  const batch = readPack(own, own).batches[0] ?? {};
  const given = Object.fromEntries(
    ['input_ids', 'attention_mask'].flatMap((name) => {
      const t = batch[name];
      return t?.data instanceof BigInt64Array ? [[name, new Tensor('int64', t.data, t.dims)]] : [];
    }),
  );
  const open = (name: string) =>
    InferenceSession.create(new Uint8Array(readFileSync(at(name))), { logSeverityLevel: 4 });
  const run = async (session: node.InferenceSession, feeds: Record<string, node.Tensor> = {}) => {
    const { logits } = await session.run({ ...given, ...feeds });
    if (!(logits?.data instanceof Float32Array)) throw new Error('the model has no float32 logits');
    return logits.data;
  };

  it.each(['required.onnx', 'strong.onnx'])('%s: as merged; the base; the sum; a strength', async (name) => {
    const session = await open(name);
    const inputs = session.inputMetadata;
    const logits = async (file: string) => run(await open(file));
    const [base, merged] = [await run(session, baseFeeds(inputs, { Tensor })), await logits('merged.onnx')];
    expect(distance(merged, base)).toBeGreaterThan(0.1);
    const files = ['onnx_adapter', 'safetensors'].map((f) => readAdapter(readFileSync(at(`final.${f}`))));
    for (const adapter of [...files, directory(final)]) {
      // The products of one branch, added in another order than in the merged weight.
      expect(distance(await run(session, adapterFeeds(adapter, inputs, { Tensor })), merged)).toBeLessThan(1e-5);
      const weak = adapterFeeds(adapter, inputs, { Tensor, strength: 0.3 });
      expect(distance(await run(session, weak), await logits('weak.onnx'))).toBeLessThan(1e-5);
    }
    const sum = combineAdapters([
      { adapter: directory(final), strength: 0.75 },
      { adapter: directory(init), strength: -0.5 },
    ]);
    expect(distance(await run(session, adapterFeeds(sum, inputs, { Tensor })), await logits('sum.onnx'))).toBeLessThan(
      1e-5,
    );
    // Back to the base, bit for bit.
    expect(await run(session, baseFeeds(inputs, { Tensor }))).toEqual(base);
  });

  it('rank 0 is the source model; plain objects are feeds as well', async () => {
    const session = await open('required.onnx');
    const source = await InferenceSession.create(new Uint8Array(readFileSync(join(own, 'base.onnx'))));
    expect(await run(session, baseFeeds(session.inputMetadata, { Tensor }))).toEqual(await run(source));
    const plain = adapterFeeds(directory(final), session.inputMetadata);
    const { logits } = await Reflect.apply(session.run, session, [{ ...given, ...plain }]);
    expect(distance(logits.data, await run(await open('merged.onnx')))).toBeLessThan(1e-5);
  });

  it('models whose adapter is not an input that JavaScript can feed are refused', async () => {
    for (const name of ['merged.onnx', 'optional.onnx']) {
      const { inputMetadata } = await open(name);
      expect(() => baseFeeds(inputMetadata, { Tensor })).toThrow(
        expect.toSatisfy(coded('BAD_OPTION', 'no input of the session')),
      );
    }
  });
});
