/** Packages of rounded weights on disk: what is in them, that the same compile gives the same bytes, and merges from the source. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeModelFile } from '../../src/emit/index.ts';
import { readManifest } from '../../src/formats/manifest.ts';
import { bytesOf, chunks, rounded } from '../../src/graph/tensor.ts';
import { type CompileOptions, compile, exportAdapter, inspect, merge } from '../../src/index.ts';
import { parseFile } from '../../src/parser/index.ts';
import { packageDigest } from '../../src/runtime/runFolder/fingerprint.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const pack = join(import.meta.dirname, '../../fixtures/peft-pack');
const adapter = join(pack, 'final');

/** The pack's base in a folder of its own, in one file or with external data. */
async function sourceIn(folder: string, external = false): Promise<string> {
  const file = join(folder, 'base.onnx');
  if (existsSync(file)) return file;
  if (!external) copyFileSync(join(pack, 'base.onnx'), file);
  else {
    const { model, source } = parseFile(join(pack, 'base.onnx'));
    await writeModelFile(model, file, { external: true });
    source.close();
  }
  return file;
}

const filesOf = (folder: string, at = ''): [string, Buffer][] =>
  readdirSync(join(folder, at), { withFileTypes: true })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((f) => {
      const name = join(at, f.name);
      return f.isDirectory() ? filesOf(folder, name) : [[name, readFileSync(join(folder, name))] as [string, Buffer]];
    });

const compiled = async (folder: string, name: string, options: CompileOptions, external = false) => {
  const file = await sourceIn(folder, external);
  return compile(file, { out: join(folder, name), adapter: join(pack, 'init'), ...options });
};

describe.each([
  ['one file', false],
  ['external data', true],
])('a package of rounded weights, source in %s', (_, external) => {
  it('has them once, in half the bytes, each rounded once', async () => {
    const folder = temporaryFolder();
    const { dir, manifest } = await compiled(folder, 'half', { precision: 'fp16' }, external);
    const { precision } = manifest;
    expect(precision?.sourceBytes).toBe(2 * (precision?.bytes ?? 0));
    const source = parseFile(join(folder, 'base.onnx'));
    const ours = parseFile(join(dir, 'model.onnx'));
    const exact = new Map(source.model.graph.initializers.map((v) => [v.name, v.tensor]));
    let weights = 0;
    for (const { name, tensor } of ours.model.graph.initializers) {
      if (tensor?.dtype !== 'float16') continue;
      const from = exact.get(name);
      if (from === undefined) throw new Error(`${name} is not of the source`);
      expect(Buffer.compare(bytesOf(tensor), bytesOf(rounded(from, 'float16', name))), name).toBe(0);
      weights++;
    }
    expect(weights).toBe(precision?.weights);
    expect(
      ours.model.graph.initializers.some(
        (v) => v.dtype === 'float32' && (v.shape?.length ?? 0) > 1 && !v.name.includes('lora'),
      ),
    ).toBe(false);
    source.source.close();
    ours.source.close();
    const full = await compile(join(folder, 'base.onnx'), { out: join(folder, 'full'), adapter: join(pack, 'init') });
    const bytes = (at: string): number =>
      filesOf(at).reduce((n, [name, b]) => n + (/bin$|data$|skeleton$/.test(name) ? b.length : 0), 0);
    // The rest is alignment, what is small or stays float32, and the graph of the source.
    expect(bytes(full.dir) - bytes(dir)).toBeGreaterThan(0.8 * (precision?.bytes ?? 0));
  });

  it('merges to the bytes that a package of exact weights merges to', async () => {
    const folder = temporaryFolder();
    const half = await compiled(folder, 'half', { precision: 'bf16', emit: ['model'] }, external);
    const full = await compiled(folder, 'full', { emit: ['model'] }, external);
    const merged = async (dir: string): Promise<[string, Buffer][]> => {
      const out = join(folder, 'out');
      mkdirSync(out);
      const { error } = await merge(dir, { adapter, out: join(out, 'merged.onnx') });
      // What roundings of bfloat16 do to the outputs that they are compared by, and that they are compared at all.
      expect(error).toBeLessThan(5e-2);
      const files = filesOf(out);
      rmSync(out, { recursive: true });
      return files;
    };
    expect(await merged(half.dir)).toEqual(await merged(full.dir));
  });

  it('needs its source for a merge and finds no other one good enough', async () => {
    const folder = temporaryFolder();
    const { dir } = await compiled(folder, 'half', { precision: 'fp16', emit: ['model'] }, external);
    const out = join(folder, 'merged.onnx');
    const away = join(folder, 'away');
    mkdirSync(away);
    for (const name of readdirSync(folder).filter((n) => n.startsWith('base'))) {
      copyFileSync(join(folder, name), join(away, name));
      rmSync(join(folder, name));
    }
    const source = join(away, 'base.onnx');
    await expect(merge(dir, { adapter, out })).rejects.toMatchObject({ code: 'SOURCE_NEEDED' });
    await expect(exportAdapter(dir, { format: 'onnx', out })).rejects.toMatchObject({ code: 'SOURCE_NEEDED' });
    // What needs the graph alone goes on.
    expect((await inspect(dir)).totals.layers).toBeGreaterThan(0);
    await exportAdapter(dir, { format: 'peft', out: join(folder, 'peft') });
    expect((await merge(dir, { adapter, out, source })).layers).toBeGreaterThan(0);
    await exportAdapter(dir, { format: 'onnx', out: join(folder, 'served.onnx'), source });
    // The same graph with one number of a weight changed; another graph.
    const weights = external ? join(away, readdirSync(away).find((n) => n !== 'base.onnx') ?? '') : source;
    const { model, source: read } = parseFile(source);
    const large = model.graph.initializers.find(
      (v) => (v.tensor?.byteLength ?? 0) > 2048 && v.shape?.length === 2,
    )?.tensor;
    if (large?.payload.kind !== 'range') throw new Error('no large weight');
    const bytes = readFileSync(weights);
    bytes.writeFloatLE(bytes.readFloatLE(large.payload.offset) * 1.5 + 1, large.payload.offset);
    read.close();
    writeFileSync(weights, bytes);
    const again = { adapter, out, source, force: true };
    await expect(merge(dir, again)).rejects.toThrow(/weight ".*" differs from the one this package was compiled from/);
    const other = join(folder, 'other.onnx');
    writeFileSync(other, readFileSync(source).subarray(0, -1));
    await expect(merge(dir, { ...again, source: other })).rejects.toMatchObject({ code: 'SOURCE_NEEDED' });
  });
});

describe('a package of rounded weights', () => {
  it('is the same bytes every time, and a run knows its weights again', async () => {
    const folder = temporaryFolder();
    const dirs: string[] = [];
    for (const name of ['one', 'two'])
      dirs.push((await compiled(folder, name, { precision: 'bf16', for: 'cuda' })).dir);
    const [one = '', two = ''] = dirs;
    expect(filesOf(one)).toEqual(filesOf(two));
    const digest = packageDigest(one, readManifest(one));
    expect(packageDigest(two, readManifest(two))).toBe(digest);
    const file = join(two, 'weights.bin');
    const bytes = readFileSync(file);
    bytes[0] = 1 ^ (bytes[0] ?? 0);
    writeFileSync(file, bytes);
    expect(packageDigest(two, readManifest(two))).not.toBe(digest);
  });

  it('is not written where a weight does not fit, which is named', async () => {
    const folder = temporaryFolder();
    const file = await sourceIn(folder);
    const { model, source } = parseFile(file);
    const value = model.graph.initializers.find((v) => v.tensor?.dims.length === 2 && v.dtype === 'float32');
    const tensor = value?.tensor;
    if (value === undefined || tensor?.payload.kind !== 'range') throw new Error('no weight');
    const bytes = readFileSync(file);
    bytes.writeFloatLE(1e5, tensor.payload.offset + 4);
    source.close();
    writeFileSync(file, bytes);
    const out = join(folder, 'half');
    await expect(compile(file, { out, precision: 'fp16' })).rejects.toMatchObject({
      code: 'PRECISION_RANGE',
      where: value.name,
    });
    expect(readdirSync(folder)).toEqual(['base.onnx']);
    const { manifest } = await compile(file, { out, precision: 'bf16' });
    expect(statSync(join(out, manifest.precision?.file ?? '')).size).toBeGreaterThan(0);
    const made = parseFile(join(out, 'model.onnx'));
    const half = made.model.graph.initializers.find((v) => v.name === value.name)?.tensor;
    expect(half && [...chunks(half)].length).toBe(1);
    made.source.close();
  });

  it('may start from the weight: what is taken out is rounded, the source has all of it', async () => {
    const folder = temporaryFolder();
    const file = await sourceIn(folder);
    const { dir } = await compile(file, {
      out: join(folder, 'half'),
      init: 'pissa',
      precision: 'bf16',
      emit: ['model'],
    });
    const out = join(folder, 'merged.onnx');
    const { error } = await merge(dir, { adapter: 'start', out });
    expect(error).toBeLessThan(5e-2);
    // The adapter has not moved, so nothing is added.
    expect(Buffer.compare(readFileSync(out), readFileSync(file))).toBe(0);
  });

  it('says what asking again changes: nothing, or why it is refused', async () => {
    const half = join(import.meta.dirname, '../../fixtures/half-pack/bfloat16/base.onnx');
    const same = await compile(half, { precision: 'bf16', dryRun: true });
    expect(same.manifest.precision).toBeUndefined();
    expect(same.warnings.join()).toContain('--precision bf16 changes nothing: the weights are bfloat16 already');
    await expect(compile(half, { precision: 'fp16', dryRun: true })).rejects.toMatchObject({ code: 'BAD_OPTION' });
    await expect(inspect(half, { precision: 'fp16' })).rejects.toMatchObject({ code: 'BAD_OPTION' });
  });
});
