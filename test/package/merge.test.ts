/** Packages on disk: compile, merge, export, and the same bytes twice. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { afterAll, describe, expect, it } from 'vitest';
import { readPeft } from '../../src/adapter/index.ts';
import { writeModelFile } from '../../src/emit/index.ts';
import { compile, exportAdapter, inspect, merge } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';
import { distance } from '../support/executeGraphs.ts';
import { readPack } from '../support/parityPack.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';

const scratch = mkdtempSync(join(tmpdir(), 'loraify-merge-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const own = join(import.meta.dirname, '../../fixtures/peft-pack');

const files = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((f) => statSync(join(dir, f)).isFile())
    .sort();

function packTests(name: string, folder: string, base = folder): void {
  const dir = join(scratch, `${name}.lora`);
  it('compiles, and the merge of the trained adapter has its logits', async () => {
    const pack = readPack(folder, base);
    const { manifest } = await compile(join(base, 'base.onnx'), { out: dir, adapter: join(folder, 'init') });
    expect(manifest.layers.length).toBe(pack.init.tensors.size);
    const out = join(scratch, `${name}.onnx`);
    const result = await merge(dir, { adapter: join(folder, 'final'), out });
    expect(result.error).toBeLessThan(1e-5);
    const session = await InferenceSession.create(out, { logSeverityLevel: 4 });
    const feeds: Record<string, Tensor> = Object.fromEntries(
      Object.entries(pack.batches[0] ?? {}).filter(([n]) => session.inputNames.includes(n)),
    );
    const logits = (await session.run(feeds)).logits;
    const theirs = pack.logits.get('logits');
    if (!(logits?.data instanceof Float32Array) || theirs === undefined) throw new Error('no logits');
    expect(distance(logits.data, theirs)).toBeLessThan(1e-5);
  });

  it('exports an adapter that reads back as it was', async () => {
    const out = join(scratch, `${name}.adapter`);
    await exportAdapter(dir, { format: 'peft', adapter: join(folder, 'final'), out });
    const [a, b] = [readPeft(join(folder, 'final')), readPeft(out)];
    expect([...b.tensors].sort()).toEqual([...a.tensors].sort());
  });

  it('inspects the package as it inspects the model', async () => {
    const [a, b] = [await inspect(join(base, 'base.onnx')), await inspect(dir)];
    expect({ ...b, file: '' }).toEqual({ ...a, file: '' });
  });
}

describe.each(['conv', 'embedding', 'attention'])('layers of a %s', (name) => {
  const folder = join(import.meta.dirname, '../../fixtures/peft-layers', name);
  packTests(name, folder);

  it('come back from adapter files as they were', async () => {
    const dir = join(scratch, `${name}.lora`);
    const merged = async (adapter: string): Promise<Buffer> => {
      const out = join(scratch, `${name}.merged.onnx`);
      await merge(dir, { adapter, out, force: true, verify: false });
      return readFileSync(out);
    };
    const wanted = await merged(join(folder, 'final'));
    for (const format of ['onnx_adapter', 'safetensors'] as const) {
      const out = join(scratch, `${name}.${format}`);
      await exportAdapter(dir, { format, adapter: join(folder, 'final'), out });
      // alpha / rank is 2: a scale that changes no mantissa on its way into B.
      expect((await merged(out)).equals(wanted), format).toBe(true);
    }
  });

  it('are left alone without a target', async () => {
    const { layers } = await inspect(join(folder, 'base.onnx'));
    const others = layers.filter((l) => l.op === 'Conv' || l.op === 'Gather');
    expect(others.length).toBeGreaterThan(0);
    for (const l of others) expect([l.chosen, l.reason]).toEqual([false, 'only with --target']);
  });
});

describe('own pack', () => {
  packTests('own', own);

  it('gives the same bytes for the same input and options', async () => {
    const [a, b] = [join(scratch, 'a.lora'), join(scratch, 'b.lora')];
    for (const out of [a, b]) await compile(join(own, 'base.onnx'), { out, rank: 4, seed: 7 });
    expect(files(b)).toEqual(files(a));
    for (const f of files(a)) expect(readFileSync(join(b, f)).equals(readFileSync(join(a, f))), f).toBe(true);
  });

  it('merges B = 0 into the very bytes of the source', async () => {
    const dir = join(scratch, 'zero.lora');
    await compile(join(own, 'base.onnx'), { out: dir });
    const out = join(scratch, 'zero.onnx');
    await merge(dir, { adapter: 'start', out });
    expect(readFileSync(out).equals(readFileSync(join(own, 'base.onnx')))).toBe(true);
  });
});

describe('half packs', () => {
  const packed = async (type: string): Promise<{ dir: string; adapter: string }> => {
    const folder = join(import.meta.dirname, '../../fixtures/half-pack', type);
    const { dir, warnings } = await compile(join(folder, 'base.onnx'), {
      out: join(scratch, `${type}.lora`),
      adapter: join(folder, 'init'),
    });
    expect(warnings.some((w) => w.startsWith('bfloat16 computes in float32'))).toBe(type === 'bfloat16');
    const { warnings: seen } = await inspect(join(folder, 'base.onnx'), { adapter: join(folder, 'init') });
    expect(seen).toEqual(warnings);
    return { dir, adapter: join(folder, 'final') };
  };

  it('are merged in float16, as close as its roundings allow', async () => {
    const { dir, adapter } = await packed('float16');
    const { error } = await merge(dir, { adapter, out: join(scratch, 'half.onnx') });
    // Weights and results are rounded to 2^-11.
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(2e-3);
  });

  it('are merged in bfloat16, which ONNX Runtime cannot run', async () => {
    const { dir, adapter } = await packed('bfloat16');
    const { error, warnings } = await merge(dir, { adapter, out: join(scratch, 'brain.onnx') });
    expect(error).toBeUndefined();
    expect(warnings[0]).toMatch(/^not verified: .*Could not find an implementation/);
  });
});

describeShared('shared packs', ['parity'], () => {
  describe.each(['mlp_classifier', 'bert_cls', 'gpt2_lm', 'llama_lm'])('%s', (name) =>
    packTests(name, sharedPath('parity', name)),
  );
});

it('a merge whose outputs hold no floats is not called verified', async () => {
  const file = join(scratch, 'classes.onnx');
  const model = parseText(`<ir_version: 8, opset_import: ["" : 17]>
main (float[N,2] x) => (int64[N] y) <float[2,3] W = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6}>
{
  [fc] z = MatMul (x, W)
  y = ArgMax <axis = 1, keepdims = 0> (z)
}`);
  await writeModelFile(model, file, { external: false });
  const dir = join(scratch, 'classes.lora');
  await compile(file, { out: dir, rank: 2, emit: ['model'] });
  const { error, warnings } = await merge(dir, { adapter: 'start', out: join(scratch, 'classes-merged.onnx') });
  expect(error).toBeUndefined();
  expect(warnings.slice(1)).toEqual(['not verified: none of its outputs has floats to compare']);
});
