/**
 * Where nodes ran. A machine without a device has one provider, so what ONNX Runtime writes is read of a run on the CPU, and lines of
 * several providers are put together here in its form.
 */
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { beforeAll, expect, it } from 'vitest';
import { placementText } from '../../../src/cli/format.ts';
import { readManifest } from '../../../src/formats/manifest.ts';
import { Trainer } from '../../../src/index.ts';
import { placementOf } from '../../../src/runtime/session/nodePlacement.ts';
import { openEngine } from '../../../src/runtime/worker/engine.ts';
import { compileDigits, digits } from '../../support/digits.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
let dir = '';
beforeAll(async () => {
  dir = await compileDigits(folder);
});

const event = (index: number, op: string, provider: string): string =>
  `{"cat" : "Node","pid" :1,"tid" :1,"dur" :7,"ts" :9,"ph" : "X","name" :"a \\"${op}\\" ${index}_kernel_time","args" : {"op_name" : "${op}","provider" : "${provider}","node_index" : "${index}","output_type_shape" : [{"float":[2]}]}},`;

it('counts each node once, by provider, and copies for themselves', async () => {
  const [cuda, cpu] = ['CUDAExecutionProvider', 'CPUExecutionProvider'];
  const lines = [
    '[',
    '{"cat" : "Session","pid" :1,"tid" :1,"dur" :7,"ts" :3,"ph" : "X","name" :"session_initialization","args" : {}},',
    ...[1, 2, 1, 2].map((i) => event(i, 'Gemm', cuda)),
    event(3, 'Gather', cpu),
    ...[4, 5, 4].map((i) => event(i, 'Shape', cpu)),
    event(6, 'MemcpyToHost', cuda),
    '{"cat" : "Session","pid" :1,"tid" :1,"dur" :7,"ts" :3,"ph" : "X","name" :"model_run","args" : {}}',
    ']',
  ];
  const found = await placementOf(lines, 'train_k');
  expect(found).toEqual({ graph: 'train_k', nodes: 5, onCpu: { Shape: 2, Gather: 1 }, copies: 1 });
  if (found === undefined) return;
  expect(placementText(found)).toBe('3 of 5 nodes of train_k.onnx on the CPU: 2 Shape, Gather; 1 copy between them');
  expect(placementText({ ...found, onCpu: {}, copies: 0 })).toBe('all 5 nodes of train_k.onnx on the device');
  expect(await placementOf(['[', ']'], 'train')).toBeUndefined();
});

it('is read of the first run of each graph, bodies included, and leaves nothing behind', async () => {
  const profiles = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith('loraify-profile-'));
  const before = profiles();
  const engine = await openEngine(dir, readManifest(dir), { provider: 'cpu', threads: 1, placement: true });
  const [own] = profiles().filter((name) => !before.includes(name));
  try {
    const { size } = engine.manifest.state;
    const zeros = () => new Float32Array(size);
    await engine.setState({ params: zeros(), m: zeros(), v: zeros(), step: 0, lossScale: undefined });
    expect(await engine.placement()).toBeUndefined();
    const feeds = (lead: readonly number[]) => ({
      input: { type: 'float32' as const, dims: [...lead, 2, 64], data: new Float32Array(128 * (lead[0] ?? 1)) },
      labels: { type: 'int64' as const, dims: [...lead, 2], data: new BigInt64Array(2 * (lead[0] ?? 1)) },
    });
    const named = (lead: readonly number[]) => {
      const { input, labels } = feeds(lead);
      return { [engine.manifest.inputs[0]?.name ?? '']: input, labels };
    };
    const setting = { lr: 0, seed: 0 };
    for (let i = 0; i < 2; i++) await engine.step(named([]), setting);
    const single = await engine.placement();
    await engine.steps(named([3]), [setting, setting, setting], [true, true, true]);
    const several = await engine.placement();
    expect(single?.graph).toBe('train');
    expect(several?.graph).toBe('train_k');
    for (const found of [single, several]) {
      expect(found?.nodes).toBeGreaterThan(30);
      expect(Object.values(found?.onCpu ?? {}).reduce((a, b) => a + b, 0)).toBe(found?.nodes);
      expect(found?.onCpu.Gemm).toBeGreaterThan(2);
    }
    expect(several?.onCpu.Scan).toBe(1);
    expect(several?.nodes).toBeLessThan(2 * (single?.nodes ?? 0));
    expect(readdirSync(`${tmpdir()}/${own}`)).toEqual([]);
  } finally {
    await engine.close();
  }
  expect(profiles()).not.toContain(own);
});

it('is not looked for on the CPU', async () => {
  const trainer = await Trainer.open(dir, { threads: 1 });
  try {
    for await (const _ of trainer.fit(digits(0, 8), { steps: 1 })) expect(await trainer.placement()).toBeUndefined();
  } finally {
    await trainer.close();
  }
});
