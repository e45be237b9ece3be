/** loraify/adapter: free of Node, small, and the feeds that it makes from a session's metadata alone. */
import { readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { encodeOnnxAdapter } from '../../src/adapter/onnxAdapter.ts';
import type { PortableTensor } from '../../src/adapter/portable.ts';
import { adapterFeeds, baseFeeds, combineAdapters, type InputMetadata, readAdapter } from '../../src/adapter/web.ts';
import { bytesOf, type RawTensor } from '../../src/formats/rawTensor.ts';
import { encodeSafetensors } from '../../src/formats/safetensors.ts';
import { coded } from '../support/coded.ts';

const root = join(import.meta.dirname, '../..');

/** The module and all that it imports; what is imported as a type alone is gone when it runs. */
function graphOf(entry: string): { readonly files: ReadonlyMap<string, ts.SourceFile>; readonly packages: string[] } {
  const files = new Map<string, ts.SourceFile>();
  const packages: string[] = [];
  const visit = (file: string): void => {
    if (files.has(file)) return;
    const source = ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest, true);
    files.set(file, source);
    for (const s of source.statements) {
      const typeOnly = ts.isImportDeclaration(s)
        ? s.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
        : ts.isExportDeclaration(s) && s.isTypeOnly;
      if (typeOnly || !(ts.isImportDeclaration(s) || ts.isExportDeclaration(s))) continue;
      const to = s.moduleSpecifier;
      if (to === undefined || !ts.isStringLiteral(to)) continue;
      if (to.text.startsWith('.')) visit(posix.join(posix.dirname(file), to.text));
      else packages.push(to.text);
    }
  };
  visit(entry);
  return { files, packages };
}

describe('the entry', () => {
  it('imports neither Node nor protobuf, and names nothing that only Node has', () => {
    const { files, packages } = graphOf('src/adapter/web.ts');
    expect(files.size).toBeGreaterThan(10);
    expect(packages).toEqual(['flatbuffers']);
    const nodes: string[] = [];
    for (const [file, source] of files) {
      const visit = (node: ts.Node): void => {
        if (ts.isIdentifier(node) && /^(Buffer|process|require|__dirname|global|setImmediate)$/.test(node.text))
          nodes.push(`${file}: ${node.text}`);
        if (
          ts.isMetaProperty(node) ||
          (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
        )
          nodes.push(`${file}: ${node.getText()}`);
        ts.forEachChild(node, visit);
      };
      visit(source);
    }
    expect(nodes).toEqual([]);
    // The walk finds what it looks for.
    expect(graphOf('src/adapter/index.ts').packages).toContain('node:fs');
  });

  it('is one file below 31 KB, which imports nothing', async () => {
    const file = join(root, 'dist/web/adapter.js');
    expect(statSync(file).size).toBeLessThan(31_000);
    const text = readFileSync(file, 'utf8');
    expect(ts.preProcessFile(text).importedFiles).toEqual([]);
    expect(text).not.toMatch(/\b(Buffer|process|require)\b/);
    const names = ['LoraifyError', 'adapterFeeds', 'baseFeeds', 'combineAdapters', 'readAdapter'];
    expect(Object.keys(await import(file)).sort()).toEqual(names);
  });
});

const floats = (dims: readonly number[], start: number): Float32Array =>
  Float32Array.from({ length: dims.reduce((n, d) => n * d, 1) }, (_, i) => start + i);
const portable = (dims: readonly number[], start: number): PortableTensor => ({
  type: 'float32',
  dims,
  bytes: bytesOf(floats(dims, start)),
});
const raw = (shape: readonly number[], start: number): RawTensor => ({
  dtype: 'F32',
  shape,
  data: bytesOf(floats(shape, start)),
});
const safetensors = (tensors: Record<string, RawTensor>): Uint8Array =>
  Buffer.concat(encodeSafetensors(Object.entries(tensors)));

const input = (name: string, ...shape: (number | string)[]): InputMetadata => ({ name, type: 'float32', shape });
/** Two linear layers [3, 2] and [2, 4], and a convolution of 2 x 3 x 3 kernels from 2 to 5 channels. */
const inputs: InputMetadata[] = [
  { name: 'x', type: 'float32', shape: ['N', 3] },
  input('m.fc.lora_A', 3, 'lora_r.m.fc'),
  input('m.fc.lora_B', 'lora_r.m.fc', 2),
  input('m.out.lora_A', 2, 'lora_r.m.out'),
  input('m.out.lora_B', 'lora_r.m.out', 4),
];
const conv: InputMetadata[] = [input('c.lora_A', 'lora_r.c', 2, 3, 3), input('c.lora_B', 5, 'lora_r.c', 1, 1)];
const strong: InputMetadata[] = [...inputs, input('lora_strength', 'N'), input('lora_strength.1')];

const file = (tensors: Record<string, PortableTensor>) =>
  readAdapter(encodeOnnxAdapter({ adapterVersion: 1, modelVersion: 1, tensors: new Map(Object.entries(tensors)) }));
const fc = (rank: number, start: number) =>
  file({ 'm.fc.lora_A': portable([3, rank], start), 'm.fc.lora_B': portable([rank, 2], start + 10) });

const peft = (config: object, prefix = 'm.fc') =>
  readAdapter(
    safetensors({
      [`base_model.model.${prefix}.lora_A.weight`]: raw([2, 3], 0),
      [`base_model.model.${prefix}.lora_B.weight`]: raw([2, 2], 10),
    }),
    JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 4, ...config }),
    'a.safetensors',
  );

const shapes = (feeds: Record<string, { readonly dims: readonly number[] }>) =>
  Object.fromEntries(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));

describe('feeds', () => {
  it('are the tensors of a file; layers that it lacks have rank 0', () => {
    const feeds = adapterFeeds(fc(2, 1), inputs);
    expect(feeds['m.fc.lora_A']).toEqual({ type: 'float32', dims: [3, 2], data: floats([3, 2], 1), location: 'cpu' });
    expect(feeds['m.fc.lora_B']?.data).toEqual(floats([2, 2], 11));
    expect(feeds['m.out.lora_A']).toMatchObject({ dims: [2, 0], data: new Float32Array(0) });
    expect(feeds['m.out.lora_B']?.dims).toEqual([0, 4]);
    expect(Object.keys(feeds)).toEqual(inputs.slice(1).map((i) => i.name));
  });

  it('are fresh arrays: a worker may take them', () => {
    const adapter = fc(2, 1);
    adapterFeeds(adapter, inputs)['m.fc.lora_A']?.data.fill(7);
    expect(adapterFeeds(adapter, inputs)['m.fc.lora_A']?.data).toEqual(floats([3, 2], 1));
  });

  it('of the base model have rank 0 everywhere', () => {
    expect(shapes(baseFeeds([...inputs, ...conv]))).toEqual({
      'm.fc.lora_A': [3, 0],
      'm.fc.lora_B': [0, 2],
      'm.out.lora_A': [2, 0],
      'm.out.lora_B': [0, 4],
      'c.lora_A': [0, 2, 3, 3],
      'c.lora_B': [5, 0, 1, 1],
    });
  });

  it('of PEFT are transposed, with the scale of its config on B: patterns, rsLoRA', () => {
    const feeds = adapterFeeds(peft({}), inputs);
    expect(feeds['m.fc.lora_A']?.data).toEqual(Float32Array.of(0, 3, 1, 4, 2, 5));
    expect(feeds['m.fc.lora_B']?.data).toEqual(Float32Array.of(20, 24, 22, 26));
    const half = adapterFeeds(peft({ use_rslora: true, alpha_pattern: { 'm.fc': Math.SQRT1_2 } }), inputs);
    expect(half['m.fc.lora_B']?.data).toEqual(Float32Array.of(5, 6, 5.5, 6.5));
    const longer = peft({ r: 3, rank_pattern: { fc: 2 }, lora_alpha: 2 }, 'wrapper.m.fc');
    expect(adapterFeeds(longer, inputs)['m.fc.lora_B']?.data).toEqual(Float32Array.of(10, 12, 11, 13));
  });

  it('with a strength have it on B, or in the input that the model has for it', () => {
    expect(adapterFeeds(fc(1, 1), inputs, { strength: 0.5 })['m.fc.lora_B']?.data).toEqual(Float32Array.of(5.5, 6));
    const feeds = adapterFeeds(fc(1, 1), strong, { strength: 0.5 });
    expect(feeds['m.fc.lora_B']?.data).toEqual(Float32Array.of(11, 12));
    expect(feeds['lora_strength.1']).toMatchObject({ dims: [], data: Float32Array.of(0.5) });
    expect(baseFeeds(strong)['lora_strength.1']?.data).toEqual(Float32Array.of(1));
  });

  it('of several adapters lie side by side along the rank', () => {
    const sum = combineAdapters([{ adapter: fc(1, 1), strength: 2 }, { adapter: fc(2, 4) }]);
    const feeds = adapterFeeds(sum, inputs, { strength: -1 });
    expect(feeds['m.fc.lora_A']).toMatchObject({ dims: [3, 3], data: Float32Array.of(1, 4, 5, 2, 6, 7, 3, 8, 9) });
    expect(feeds['m.fc.lora_B']).toMatchObject({ dims: [3, 2], data: Float32Array.of(-22, -24, -14, -15, -16, -17) });
    expect(adapterFeeds(combineAdapters([{ adapter: sum, strength: -1 }]), inputs)).toEqual(feeds);
    const kernels = (rank: number) =>
      file({ 'c.lora_A': portable([rank, 2, 3, 3], 0), 'c.lora_B': portable([5, rank, 1, 1], 0) });
    const both = adapterFeeds(combineAdapters([{ adapter: kernels(1) }, { adapter: kernels(2) }]), conv);
    expect(shapes(both)).toEqual({ 'c.lora_A': [3, 2, 3, 3], 'c.lora_B': [5, 3, 1, 1] });
    expect(both['c.lora_B']?.data.subarray(0, 6)).toEqual(Float32Array.of(0, 0, 1, 1, 2, 3));
  });

  it('are made with the class that is given', () => {
    class Tensor {
      readonly dims: readonly number[];
      constructor(_type: 'float32', _data: Float32Array, dims: readonly number[]) {
        this.dims = dims;
      }
    }
    const feeds: Record<string, Tensor> = adapterFeeds(fc(1, 1), inputs, { Tensor });
    expect(feeds['m.fc.lora_B']).toBeInstanceOf(Tensor);
    expect(baseFeeds(inputs, { Tensor })['m.fc.lora_B']?.dims).toEqual([0, 2]);
  });

  it('survive being sent to a worker', () => {
    const sum = combineAdapters([{ adapter: fc(1, 1) }, { adapter: peft({}) }]);
    expect(adapterFeeds(structuredClone(sum), inputs)).toEqual(adapterFeeds(sum, inputs));
  });
});

describe('refused', () => {
  const refused = (what: () => unknown, ...expected: [code: string, ...fragments: string[]]) =>
    expect(what).toThrow(expect.toSatisfy(coded(...expected)));

  it('a session without adapter inputs, or with inputs that are not pairs of float32', () => {
    refused(() => baseFeeds(inputs.slice(0, 1)), 'BAD_OPTION', 'no input of the session');
    refused(() => baseFeeds(inputs.slice(0, 2)), 'BAD_OPTION', '"m.fc"', 'A and B');
    refused(() => baseFeeds([{ ...conv[0], name: 'h', type: 'float16' }]), 'BAD_OPTION', '"h" is float16');
  });

  it('tensors that the model has no place for', () => {
    refused(
      () => adapterFeeds(file({ 'm.fc.lora_a': portable([1], 0) }), inputs),
      'ADAPTER_MISMATCH',
      'mean "m.fc.lora_A"',
    );
    refused(
      () => adapterFeeds(file({ 'm.fc.lora_A': portable([3, 1], 0) }), inputs),
      'ADAPTER_MISMATCH',
      '"m.fc.lora_B"',
    );
    const pair = (a: number[], b: number[]) => file({ 'm.fc.lora_A': portable(a, 0), 'm.fc.lora_B': portable(b, 0) });
    refused(() => adapterFeeds(pair([4, 1], [1, 2]), inputs), 'ADAPTER_MISMATCH', 'A of layer', '[3, r]', '[4, 1]');
    refused(() => adapterFeeds(pair([3, 1], [2]), inputs), 'ADAPTER_MISMATCH', 'B of layer', '[r, 2]');
    refused(() => adapterFeeds(pair([3, 1], [2, 2]), inputs), 'ADAPTER_MISMATCH', 'rank 1 in A and rank 2 in B');
    refused(() => adapterFeeds(peft({}, 'm.fd'), inputs), 'ADAPTER_MISMATCH', 'no layer "m.fd"', '"m.fc"');
    refused(() => adapterFeeds(peft({}, 'm.out'), inputs), 'ADAPTER_MISMATCH', 'A of layer "m.out"', '[3, 2]');
    refused(() => adapterFeeds(peft({}, 'c'), conv), 'ADAPTER_MISMATCH', 'A of layer "c"');
  });

  it('strengths that are no numbers', () => {
    refused(() => adapterFeeds(fc(1, 1), inputs, { strength: Number.NaN }), 'BAD_OPTION', 'NaN');
    const sum = combineAdapters([{ adapter: fc(1, 1), strength: Number.POSITIVE_INFINITY }]);
    refused(() => adapterFeeds(sum, inputs), 'BAD_OPTION', 'Infinity');
  });

  it('files of PEFT without their config, and what plain LoRA cannot hold', () => {
    const tensors = safetensors({ 'base_model.model.m.fc.lora_A.weight': raw([2, 3], 0) });
    refused(() => readAdapter(tensors), 'BAD_ADAPTER', 'adapter_config.json');
    refused(() => readAdapter(tensors, '{"peft_type":"LORA","r":2}'), 'BAD_ADAPTER', 'no lora_B');
    refused(() => peft({ use_dora: true }), 'ADAPTER_UNSUPPORTED', 'use_dora');
    refused(() => peft({ r: 'two' }), 'BAD_ADAPTER', '"r" is "two", not a positive integer');
    refused(() => peft({ rank_pattern: { a: 0 } }), 'BAD_ADAPTER', '"rank_pattern.a" is 0');
    refused(() => peft({ peft_type: undefined }), 'BAD_ADAPTER', 'peft_type');
    refused(() => readAdapter(Uint8Array.of(1, 2, 3)), 'BAD_SAFETENSORS', '3 bytes');
    refused(() => readAdapter(new ArrayBuffer(0)), 'BAD_SAFETENSORS', '0 bytes');
  });
});
