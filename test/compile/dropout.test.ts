/** Dropout as an option and as a field of PEFT's config, and the graphs for each provider. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../src/compile/compileModel.ts';
import { resolveOptions } from '../../src/compile/options.ts';
import { encodeModel, printModel } from '../../src/emit/index.ts';
import { stream } from '../../src/graph/random.ts';
import { compile } from '../../src/index.ts';
import { parseFile } from '../../src/parser/index.ts';
import { targets } from '../../src/passes/index.ts';
import { executionOrder } from '../../src/passes/memory/order.ts';
import { coded } from '../support/coded.ts';
import { readPack } from '../support/parityPack.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const pack = join(import.meta.dirname, '../../fixtures/peft-pack');

/** The pack's initial adapter as if it had been trained with this dropout. */
function adapter(dropout: number): string {
  const dir = join(folder, `adapter-${dropout}`);
  cpSync(join(pack, 'init'), dir, { recursive: true });
  const file = join(dir, 'adapter_config.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), lora_dropout: dropout }));
  return dir;
}

const compiled = (name: string, options: Parameters<typeof compile>[1]) =>
  compile(join(pack, 'base.onnx'), { ...options, out: join(folder, name) });

it('is what the adapter was trained with, unless it is said', async () => {
  const { manifest, dir } = await compiled('own.lora', { adapter: adapter(0.05) });
  expect(manifest.lora.dropout).toBe(0.05);
  expect(manifest.names.seed).toBe('lora_seed');
  expect(JSON.parse(readFileSync(join(dir, 'adapter/adapter_config.json'), 'utf8')).lora_dropout).toBe(0.05);
  const said = await compiled('said.lora', { adapter: adapter(0.05), dropout: 0 });
  expect(said.manifest.lora.dropout).toBe(0);
  expect(said.manifest.names.seed).toBeUndefined();
});

it('leaves something of a branch', async () => {
  await expect(compiled('all.lora', { adapter: adapter(1) })).rejects.toSatisfy(coded('BAD_OPTION', 'lora_dropout'));
  await expect(compiled('one.lora', { dropout: 1 })).rejects.toSatisfy(coded('BAD_OPTION', 'dropout'));
});

describe('for each provider', () => {
  const graphsFor = (target: (typeof targets)[number], dropout: number) => {
    const { model, source } = parseFile(join(pack, 'base.onnx'));
    const options = resolveOptions({ adapter: join(pack, 'init'), for: target, dropout, emit: ['grad', 'eval'] });
    const { graphs, layout } = compileModel(model, options);
    const [grad, evaluation] = [graphs.get('grad'), graphs.get('eval')];
    if (grad === undefined || evaluation === undefined) throw new Error('no graphs');
    return { grad, evaluation, layout, source };
  };

  it('has the gradient of the portable graph for the same seed', async () => {
    const { batches } = readPack(pack);
    const found = new Map<string, { loss: number; gradient: Float32Array }>();
    for (const target of targets) {
      const { grad, layout, source } = graphsFor(target, 0.3);
      const session = await InferenceSession.create(encodeModel(grad), { intraOpNumThreads: 1, logSeverityLevel: 3 });
      source.close();
      const random = stream(3, 'targets');
      const params = Float32Array.from({ length: layout.size }, () => 0.05 * random.normal());
      const all: Record<string, Tensor> = {
        ...batches[0],
        lora_params: new Tensor('float32', params, [layout.size]),
        lora_seed: new Tensor('int32', Int32Array.of(9), []),
      };
      const fed = new Set(session.inputNames);
      const { loss, lora_grad: gradient } = await session.run(
        Object.fromEntries(Object.entries(all).filter(([name]) => fed.has(name))),
      );
      await session.release();
      if (!(gradient?.data instanceof Float32Array)) throw new Error('no gradient');
      found.set(target, { loss: Number(loss?.data[0]), gradient: gradient.data });
    }
    const portable = found.get('portable') ?? { loss: 0, gradient: new Float32Array() };
    for (const [target, { loss, gradient }] of found) {
      const off = Math.hypot(...gradient.map((x, i) => x - (portable.gradient[i] ?? 0)));
      // Float32 sums in another order.
      expect(off / Math.hypot(...portable.gradient), target).toBeLessThan(1e-5);
      expect(Math.abs(loss / portable.loss - 1), target).toBeLessThan(1e-5);
    }
  });

  // ONNX Runtime's order of running, which the order of the file decides: test/passes/optimize/schedule.test.ts.
  it.each(['portable', 'cuda'] as const)(
    'keeps no mask and no masked value of the forward for the backward: %s',
    (target) => {
      const { grad, source } = graphsFor(target, 0.3);
      source.close();
      const order = executionOrder(grad.graph);
      const at = new Map(order.map((n, i) => [n, i]));
      const lives = order.flatMap((node, i) => {
        const rows =
          node.outputs[0]?.shape?.length === 2 && node.outputs[0].shape[1] !== 1 && node.outputs[0].shape[0] !== 1;
        if (node.metadata.get('loraify.rule') !== 'lower/dropout' || !rows) return [];
        return [Math.max(...[...(node.outputs[0]?.uses ?? [])].map((u) => at.get(u.node) ?? i)) - i];
      });
      expect(lives.length).toBeGreaterThan(50);
      // Each is read by one of the next few nodes, of hundreds.
      expect(Math.max(...lives)).toBeLessThan(10);
    },
  );

  it('evaluates by the graph without dropout', () => {
    for (const target of targets) {
      const [dropped, plain] = [graphsFor(target, 0.3), graphsFor(target, 0)];
      expect(printModel(dropped.evaluation)).toBe(printModel(plain.evaluation));
      for (const { source } of [dropped, plain]) source.close();
    }
  });
});

it('is refused beside DoRA, which drops the input of the base as well', async () => {
  await expect(compiled('dora.lora', { dora: true, dropout: 0.1 })).rejects.toSatisfy(coded('BAD_OPTION', 'DoRA'));
  const { manifest } = await compiled('dora-none.lora', { dora: true, dropout: 0 });
  expect(manifest.lora.dora).toBe(true);
});
