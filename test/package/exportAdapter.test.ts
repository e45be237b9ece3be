/** Adapters out: every format from a package, read again and run. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { beforeAll, describe, expect, it } from 'vitest';
import { readPeft } from '../../src/adapter/index.ts';
import { parseOnnxAdapter } from '../../src/adapter/onnxAdapter.ts';
import { writeModelFile } from '../../src/emit/index.ts';
import { readNpz } from '../../src/formats/npz.ts';
import { toFloat32 } from '../../src/formats/rawTensor.ts';
import { parseSafetensors } from '../../src/formats/safetensors.ts';
import { compile, type ExportOptions, evaluate, exportAdapter, LoraifyError, merge, predict } from '../../src/index.ts';
import { parseFile } from '../../src/parser/index.ts';
import { coded } from '../support/coded.ts';
import { distance, floats } from '../support/executeGraphs.ts';
import { readPack } from '../support/parityPack.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const own = join(import.meta.dirname, '../../fixtures/peft-pack');
const init = join(own, 'init');
const final = join(own, 'final');
const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);
const dir = at('own.lora');

let feeds: Record<string, Tensor> = {};
let merged: Float32Array;
let base: Float32Array;

const quiet = { logSeverityLevel: 4 } as const;

async function logits(file: string, extra: Record<string, Tensor> = {}): Promise<Float32Array> {
  const session = await InferenceSession.create(file, quiet);
  const given = Object.entries(feeds).filter(([name]) => session.inputNames.includes(name));
  const out = await session.run({ ...Object.fromEntries(given), ...extra });
  await session.release();
  return floats(out.logits);
}

const put = (options: Omit<ExportOptions, 'out'>, name: string) => exportAdapter(dir, { ...options, out: at(name) });

/** The tensors of an adapter file as inputs. */
const fed = (file: string): Record<string, Tensor> =>
  Object.fromEntries(
    [...parseOnnxAdapter(readFileSync(file)).tensors].map(([name, { dims, bytes }]) => [
      name,
      new Tensor('float32', new Float32Array(Uint8Array.from(bytes).buffer), [...dims]),
    ]),
  );

beforeAll(async () => {
  await compile(join(own, 'base.onnx'), { out: dir, adapter: init });
  await merge(dir, { adapter: final, out: at('merged.onnx'), verify: false });
  await put({ format: 'onnx_adapter', adapter: final }, 'final.onnx_adapter');
  feeds = readPack(own, own).batches[0] ?? {};
  merged = await logits(at('merged.onnx'));
  base = await logits(join(own, 'base.onnx'));
  expect(distance(merged, base)).toBeGreaterThan(0.1);
});

describe('adapter files', () => {
  it('hold A [in, r] and B [r, out] with the scale in B, named as in the manifest', () => {
    const { tensors } = parseOnnxAdapter(readFileSync(at('final.onnx_adapter')));
    const { layers } = JSON.parse(readFileSync(join(dir, 'loraify.json'), 'utf8'));
    expect([...tensors.keys()]).toEqual(
      layers.flatMap((l: { A: { name: string }; B: { name: string } }) => [l.A.name, l.B.name]),
    );
    for (const [path, l] of readPeft(final).tensors) {
      const [a, b] = [tensors.get(`${path}.lora_A`), tensors.get(`${path}.lora_B`)];
      expect([a?.dims, b?.dims]).toEqual([
        [l.in, l.rank],
        [l.rank, l.out],
      ]);
      expect(new Float32Array(Uint8Array.from(a?.bytes ?? []).buffer)).toEqual(l.A);
      expect(new Float32Array(Uint8Array.from(b?.bytes ?? []).buffer)).toEqual(l.B.map((x) => x * l.scale));
    }
  });

  it('are the same bytes twice, and the same tensors as safetensors', async () => {
    await put({ format: 'onnx_adapter', adapter: final }, 'again.onnx_adapter');
    expect(readFileSync(at('again.onnx_adapter')).equals(readFileSync(at('final.onnx_adapter')))).toBe(true);
    await put({ format: 'safetensors', adapter: final }, 'final.safetensors');
    const { tensors, metadata } = parseSafetensors(readFileSync(at('final.safetensors')));
    expect(metadata.get('format')).toBe('loraify-adapter/1');
    const plain = (all: Iterable<readonly [string, readonly number[], Uint8Array]>) =>
      [...all].map(([name, dims, bytes]) => [name, dims, Buffer.from(bytes).toString('hex')]).sort();
    expect(plain([...tensors].map(([name, t]) => [name, t.shape, t.data] as const))).toEqual(
      plain(
        [...parseOnnxAdapter(readFileSync(at('final.onnx_adapter'))).tensors].map(
          ([n, t]) => [n, t.dims, t.bytes] as const,
        ),
      ),
    );
  });

  it.each(['final.onnx_adapter', 'final.safetensors'])(
    '%s can be merged like the directory it came from',
    async (name) => {
      await merge(dir, { adapter: at(name), out: at(`${name}.onnx`), verify: false });
      // The scale was rounded into B: one rounding more.
      expect(distance(await logits(at(`${name}.onnx`)), merged)).toBeLessThan(1e-6);
    },
  );

  it('refuse tensors that the package does not have, or lacks', async () => {
    await compile(join(own, 'base.onnx'), { out: at('other.lora'), target: ['fc1'], emit: ['model'] });
    await exportAdapter(at('other.lora'), { format: 'safetensors', out: at('other.safetensors') });
    await expect(merge(dir, { adapter: at('other.safetensors'), out: at('x.onnx') })).rejects.toSatisfy(
      coded('ADAPTER_MISMATCH', 'layer "layers.0.attn.q_proj" is missing'),
    );
    await expect(merge(at('other.lora'), { adapter: at('final.safetensors'), out: at('x.onnx') })).rejects.toSatisfy(
      coded('ADAPTER_MISMATCH', 'no tensor "classifier.lora_A"'),
    );
    await expect(
      merge(dir, { adapter: join(final, 'adapter_model.safetensors'), out: at('x.onnx') }),
    ).rejects.toSatisfy(coded('BAD_ADAPTER', 'key of PEFT', 'directory'));
  });
});

describe('models', () => {
  it('baked: the merged logits', async () => {
    const result = await put({ format: 'onnx', adapter: final }, 'baked.onnx');
    expect(result).toEqual({ format: 'onnx', out: at('baked.onnx'), layers: 11, inputs: 'baked', warnings: [] });
    expect(distance(await logits(at('baked.onnx')), merged)).toBeLessThan(1e-5);
  });

  it('required: the tensors of the adapter file are inputs; rank 0 is the base model', async () => {
    const { warnings } = await put({ format: 'onnx', inputs: 'required', adapter: final }, 'required.onnx');
    expect(warnings).toEqual([expect.stringContaining('--format onnx_adapter')]);
    const adapter = fed(at('final.onnx_adapter'));
    const session = await InferenceSession.create(at('required.onnx'), quiet);
    const metadata = session.inputMetadata.map((m) => [m.name, m.isTensor && m.shape]);
    expect(metadata.slice(0, 2).map(([name]) => name)).toEqual(['input_ids', 'attention_mask']);
    expect(metadata[2]).toEqual(['layers.0.attn.q_proj.lora_A', [16, 'lora_r.layers.0.attn.q_proj']]);
    expect(session.inputNames.slice(2)).toEqual(Object.keys(adapter));
    await session.release();
    expect(distance(await logits(at('required.onnx'), adapter), merged)).toBeLessThan(1e-5);
    const none = Object.fromEntries(
      Object.entries(adapter).map(([name, t]) => {
        const dims = name.endsWith('lora_A') ? [t.dims[0] ?? 0, 0] : [0, t.dims[1] ?? 0];
        return [name, new Tensor('float32', new Float32Array(0), dims)];
      }),
    );
    expect(await logits(at('required.onnx'), none)).toEqual(base);
    // Some layers only: their neighbours have another rank.
    const some = { ...none, ...Object.fromEntries(Object.entries(adapter).slice(8)) };
    expect(distance(await logits(at('required.onnx'), some), base)).toBeGreaterThan(0.05);
  });

  it('optional: the base model without an adapter; strength 1 by default', async () => {
    const result = await put({ format: 'onnx', inputs: 'optional', strength: true }, 'optional.onnx');
    expect(result).toMatchObject({ strength: 'lora_strength', warnings: [] });
    expect(await logits(at('optional.onnx'))).toEqual(base);
    const { model, source } = parseFile(at('optional.onnx'));
    const names = model.graph.inputs.map((v) => v.name);
    expect(names).toEqual([
      'input_ids',
      'attention_mask',
      ...Object.keys(fed(at('final.onnx_adapter'))),
      'lora_strength',
    ]);
    expect(model.graph.inputs.slice(2).every((v) => v.tensor !== undefined)).toBe(true);
    source.close();
  });

  it('strength scales the change of the weights', async () => {
    await put({ format: 'onnx', adapter: final, strength: true }, 'strong.onnx');
    await merge(dir, { adapter: { [final]: -0.5 }, out: at('half.onnx') });
    const strength = new Tensor('float32', Float32Array.of(-0.5), []);
    expect(
      distance(await logits(at('strong.onnx'), { lora_strength: strength }), await logits(at('half.onnx'))),
    ).toBeLessThan(1e-5);
  });

  it('keep inputs, outputs and opset of the source', () => {
    const [a, b] = [parseFile(join(own, 'base.onnx')), parseFile(at('required.onnx'))];
    const face = ({ model }: typeof a) => ({
      opsets: [...model.opsets],
      outputs: model.graph.outputs.map((v) => [v.name, v.type]),
      inputs: model.graph.inputs.slice(0, 2).map((v) => [v.name, v.type]),
    });
    expect(face(b)).toEqual(face(a));
    for (const { source } of [a, b]) source.close();
  });

  it('have their weights beside them where the source has', async () => {
    const { model, source } = parseFile(join(own, 'base.onnx'));
    mkdirSync(at('outside'));
    await writeModelFile(model, at('outside/base.onnx'), { external: true });
    source.close();
    await compile(at('outside/base.onnx'), { out: at('outside.lora'), emit: ['model'], adapter: init });
    const { dataFile } = await exportAdapter(at('outside.lora'), {
      format: 'onnx',
      adapter: final,
      out: at('served.onnx'),
    });
    expect(dataFile).toBe('served.onnx.data');
    expect(distance(await logits(at('served.onnx')), merged)).toBeLessThan(1e-5);
  });
});

describe('combinations', () => {
  it('are exported as they are merged, ranks of their own', async () => {
    const adapter = { [final]: 0.75, [init]: -0.5 };
    await merge(dir, { adapter, combination: 'cat', out: at('cat.onnx') });
    const expected = await logits(at('cat.onnx'));
    await put({ format: 'onnx_adapter', adapter, combination: 'cat' }, 'cat.onnx_adapter');
    const tensors = fed(at('cat.onnx_adapter'));
    expect(tensors['layers.0.attn.q_proj.lora_A']?.dims).toEqual([16, 8]);
    expect(tensors['layers.1.mlp.fc1.lora_A']?.dims).toEqual([16, 4]);
    expect(distance(await logits(at('required.onnx'), tensors), expected)).toBeLessThan(1e-5);
    await put({ format: 'peft', adapter, combination: 'cat' }, 'cat-peft');
    expect(readPeft(at('cat-peft')).tensors.get('layers.1.mlp.fc1')).toMatchObject({ rank: 4, alpha: 4, scale: 1 });
    await merge(dir, { adapter: at('cat-peft'), out: at('cat2.onnx') });
    expect(distance(await logits(at('cat2.onnx')), expected)).toBeLessThan(1e-6);
  });

  it('are evaluated and predicted with as they are merged, where the ranks are those of the package', async () => {
    const adapter = { [final]: 0.75, [init]: -0.5 };
    await merge(dir, { adapter, combination: 'linear', out: at('linear.onnx') });
    const names = ['input_ids', 'attention_mask', 'labels'];
    const rows = Array.from({ length: feeds.input_ids?.dims[0] ?? 0 }, (_, i) =>
      Object.fromEntries(
        names.map((name) => {
          const { data, dims } = feeds[name] ?? { data: [], dims: [] };
          const size = data.length / (dims[0] ?? 1);
          const row = Array.from(data, Number).slice(i * size, (i + 1) * size);
          return [name, dims.length === 1 ? row[0] : row];
        }),
      ),
    );
    const data = at('rows.jsonl');
    writeFileSync(data, rows.map((row) => JSON.stringify(row)).join('\n'));
    await predict(dir, { data, adapter, out: at('linear.npz') });
    const found = readNpz(at('linear.npz')).get('logits');
    if (found === undefined) throw new Error('no logits were written');
    expect(distance(toFloat32(found), await logits(at('linear.onnx')))).toBeLessThan(1e-5);
    const [sum, one] = [await evaluate(dir, { data, adapter }), await evaluate(dir, { data, adapter: final })];
    expect(sum.loss).not.toBeCloseTo(one.loss, 3);
    const file = await evaluate(dir, { data, adapter: at('final.onnx_adapter') });
    expect(file.loss).toBeCloseTo(one.loss, 6);
    await expect(predict(dir, { data, adapter, combination: 'cat', out: at('cat.npz') })).rejects.toSatisfy(
      (error) =>
        coded('ADAPTER_MISMATCH', 'has rank 4 in the package, rank 8 in the combination')(error) &&
        error instanceof LoraifyError &&
        error.hint.includes('loraify export --format onnx'),
    );
  });
});

describe('refusals', () => {
  it('options of models for other formats', async () => {
    await expect(put({ format: 'peft', strength: true }, 'p')).rejects.toSatisfy(coded('BAD_OPTION', '--strength'));
    await expect(put({ format: 'safetensors', inputs: 'baked' }, 'p')).rejects.toSatisfy(
      coded('BAD_OPTION', '--inputs'),
    );
    await expect(put({ format: 'peft', adapter: { [final]: Number.NaN } }, 'p')).rejects.toSatisfy(
      coded('BAD_OPTION', final),
    );
  });

  it.each(['onnx', 'onnx_adapter', 'safetensors', 'peft'] as const)(
    '%s: nothing is overwritten, except with force',
    async (format) => {
      const name = `there.${format}`;
      if (format === 'peft') mkdirSync(at(name));
      else writeFileSync(at(name), 'mine');
      await expect(put({ format }, name)).rejects.toSatisfy(coded('TARGET_EXISTS', name));
      if (format !== 'peft') expect(readFileSync(at(name), 'utf8')).toBe('mine');
      await put({ format, force: true }, name);
      expect(existsSync(at(name))).toBe(true);
    },
  );

  it('the adapter or the package as the target', async () => {
    await expect(put({ format: 'peft', adapter: final, force: true }, 'own.lora')).rejects.toSatisfy(
      coded('TARGET_NOT_REPLACEABLE'),
    );
    const file = at('final.safetensors');
    await expect(put({ format: 'onnx', adapter: file, force: true }, 'final.safetensors')).rejects.toSatisfy(
      coded('TARGET_NOT_REPLACEABLE'),
    );
  });
});
