import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type PeftAdapter, type PeftContent, peftFiles, readPeft, writePeft } from '../../src/adapter/index.ts';
import { bytesOf, type RawTensor, toFloat32 } from '../../src/formats/rawTensor.ts';
import { openSafetensors, parseSafetensors, writeSafetensors } from '../../src/formats/safetensors.ts';
import { coded } from '../support/coded.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const root = temporaryFolder();
let count = 0;
const fresh = (): string => {
  const folder = join(root, String(count++));
  mkdirSync(folder);
  return folder;
};

const matrix = (rows: number, columns: number, start = 0): RawTensor => ({
  dtype: 'F32',
  shape: [rows, columns],
  data: bytesOf(Float32Array.from({ length: rows * columns }, (_, i) => start + i)),
});

/** A directory with one module `m.fc` [in 3, out 2], r = 2, plus or minus what the case changes. */
function directory(config: object | string, tensors?: Record<string, RawTensor>): string {
  const folder = fresh();
  const text =
    typeof config === 'string' ? config : JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 4, ...config });
  writeFileSync(join(folder, 'adapter_config.json'), text);
  const all = tensors ?? {
    'base_model.model.m.fc.lora_A.weight': matrix(2, 3),
    'base_model.model.m.fc.lora_B.weight': matrix(2, 2, 10),
  };
  writeSafetensors(join(folder, 'adapter_model.safetensors'), Object.entries(all));
  return folder;
}

/** The content that writes an adapter back: A before B, layer after layer. */
function contentOf(adapter: PeftAdapter, knownPaths: Iterable<string> = []): PeftContent {
  let offset = 0;
  const place = (length: number) => {
    const at = { offset };
    offset += length;
    return at;
  };
  const layers = [...adapter.tensors].map(([path, t]) => ({
    path,
    op: t.form === 'embedding' ? 'Gather' : t.form === 'conv' ? 'Conv' : 'MatMul',
    kernel: t.kernel,
    in: t.in,
    out: t.out,
    rank: t.rank,
    alpha: t.alpha,
    A: place(t.A.length),
    B: place(t.B.length),
  }));
  const params = Float32Array.from([...adapter.tensors.values()].flatMap(({ A, B }) => [...A, ...B]));
  return { layers, params, scaling: adapter.useRslora ? 'rslora' : 'standard', knownPaths };
}

describe('reading', () => {
  it('transposes into the layout of a branch', () => {
    const layer = readPeft(directory({})).tensors.get('m.fc');
    expect(layer).toEqual({
      form: 'linear',
      in: 3,
      out: 2,
      rank: 2,
      alpha: 4,
      scale: 2,
      A: Float32Array.of(0, 3, 1, 4, 2, 5),
      B: Float32Array.of(10, 12, 11, 13),
    });
  });

  it('takes convolutions as they lie and transposes embeddings, and writes both back to the byte', () => {
    const key = (name: string): string => `base_model.model.m.${name}`;
    const folder = directory('{"peft_type":"LORA","r":2,"lora_alpha":4}', {
      [key('conv.lora_A.weight')]: { ...matrix(2, 12), shape: [2, 3, 2, 2] },
      [key('conv.lora_B.weight')]: { ...matrix(4, 2), shape: [4, 2, 1, 1] },
      [key('line.lora_A.weight')]: { ...matrix(2, 3), shape: [2, 3, 1] },
      [key('line.lora_B.weight')]: { ...matrix(2, 2), shape: [2, 2, 1] },
      [key('table.lora_embedding_A')]: matrix(2, 3),
      [key('table.lora_embedding_B')]: matrix(2, 2, 10),
    });
    const read = readPeft(folder);
    expect(read.tensors.get('m.conv')).toMatchObject({ form: 'conv', in: 3, out: 4, kernel: [2, 2] });
    expect([...(read.tensors.get('m.conv')?.A ?? [])]).toEqual(Array.from({ length: 24 }, (_, i) => i));
    expect(read.tensors.get('m.table')).toMatchObject({
      ...{ form: 'embedding', in: 3, out: 2 },
      A: Float32Array.of(0, 3, 1, 4, 2, 5),
      B: Float32Array.of(10, 12, 11, 13),
    });
    const back = fresh();
    writePeft(back, contentOf(read));
    const bytes = (where: string): Buffer => readFileSync(join(where, 'adapter_model.safetensors'));
    expect(bytes(back)).toEqual(bytes(folder));
  });

  it.each([
    ['a B that is no point', [4, 2, 2, 2], 'lora_A [2, 3, 2, 2] but lora_B [4, 2, 2, 2]'],
    ['a B without a window', [16, 2], 'tensors of two kinds: conv and linear'],
  ])('refuses a convolution with %s', (_, shape, words) => {
    const size = shape.reduce((n, d) => n * d, 1);
    const folder = directory('{"peft_type":"LORA","r":2}', {
      'base_model.model.m.lora_A.weight': { ...matrix(2, 12), shape: [2, 3, 2, 2] },
      'base_model.model.m.lora_B.weight': { ...matrix(1, size), shape },
    });
    expect(() => readPeft(folder)).toThrow(words);
  });

  it('reads the settings, with the defaults of PEFT', () => {
    const { tensors: _, ...settings } = readPeft(directory({ layers_to_transform: 3, layers_pattern: 'h' }));
    expect(settings).toEqual({
      rank: 2,
      alpha: 4,
      useRslora: false,
      dropout: 0,
      rankPattern: new Map(),
      alphaPattern: new Map(),
      targetModules: undefined,
      excludeModules: undefined,
      layersToTransform: [3],
      layersPattern: ['h'],
      otherFields: {},
      changedBase: undefined,
      useDora: false,
      modulesToSave: [],
      saved: new Map(),
      copies: new Map(),
    });
    expect(readPeft(directory('{"peft_type": "LORA"}', {}))).toMatchObject({ rank: 8, alpha: 8 });
  });

  it('tolerates the name of an adapter in the keys, and half precision', () => {
    const ones = Uint8Array.from({ length: 6 * 2 }, (_, i) => (i % 2 ? 0x3c : 0));
    const folder = directory(
      {},
      {
        'base_model.model.m.fc.lora_A.default.weight': { dtype: 'F16', shape: [2, 3], data: ones },
        'base_model.model.m.fc.lora_B.default.weight': { dtype: 'BF16', shape: [2, 2], data: new Uint8Array(8) },
      },
    );
    expect([...(readPeft(folder).tensors.get('m.fc')?.A ?? [])]).toEqual([1, 1, 1, 1, 1, 1]);
  });

  it('follows rank_pattern and alpha_pattern in the order of the file', () => {
    const config =
      '{"peft_type":"LORA","r":9,"lora_alpha":1,"use_rslora":true,"rank_pattern":{".*fc":2,"0":5},"alpha_pattern":{"x":7,"fc":6}}';
    const adapter = readPeft(directory(config));
    expect([...adapter.rankPattern.keys()]).toEqual(['.*fc', '0']);
    expect(adapter.tensors.get('m.fc')).toMatchObject({ rank: 2, alpha: 6, scale: 6 / Math.sqrt(2) });
  });

  it.each([
    [{ lora_bias: true }, 'lora_bias'],
    [{ bias: 'all' }, 'bias "all"'],
    [{ target_parameters: ['w'] }, 'target_parameters'],
    [{ trainable_token_indices: [1] }, 'trainable_token_indices'],
    [{ layer_replication: [[0, 1]] }, 'layer_replication'],
    [{ alora_invocation_tokens: [1] }, 'alora_invocation_tokens'],
    [{ use_bdlora: { x: 1 } }, 'use_bdlora'],
    [{ peft_type: 'IA3' }, 'peft_type IA3'],
    [{ init_lora_weights: 'pissa_niter_4' }, 'pissa_niter_4'],
  ])('refuses %j by name', (config, feature) => {
    expect(() => readPeft(directory(config))).toThrow(expect.toSatisfy(coded('ADAPTER_UNSUPPORTED', feature)));
  });

  const magnitude = { ...matrix(2, 1), shape: [2] };
  const pair = {
    'base_model.model.m.fc.lora_A.weight': matrix(2, 3),
    'base_model.model.m.fc.lora_B.weight': matrix(2, 2, 10),
  };
  it.each([
    [{ use_dora: true }, {}, ['use_dora', 'm.fc.lora_magnitude_vector']],
    [{}, { 'm.fc.lora_magnitude_vector': magnitude }, ['m.fc.lora_magnitude_vector', 'use_dora']],
    [{ use_dora: true }, { 'x.lora_magnitude_vector': magnitude }, ['x.lora_magnitude_vector', 'lora_A']],
    [{ use_dora: true }, { 'm.fc.lora_magnitude_vector': matrix(3, 1) }, ['[3, 1]', '2 outputs']],
    [{ modules_to_save: ['head'] }, {}, ['modules_to_save', 'head']],
  ])('refuses %j with the tensors %j', (config, tensors, words) => {
    const own = Object.fromEntries(Object.entries(tensors).map(([k, v]) => [`base_model.model.${k}`, v]));
    expect(() => readPeft(directory(config, { ...pair, ...own }))).toThrow(
      expect.toSatisfy(coded('BAD_ADAPTER', ...words)),
    );
  });

  it.each(['', '.default', '.default.weight', '.weight'])('reads a magnitude with "%s" behind its name', (end) => {
    const key = `base_model.model.m.fc.lora_magnitude_vector${end}`;
    const { tensors, useDora } = readPeft(directory({ use_dora: true }, { ...pair, [key]: magnitude }));
    expect(useDora).toBe(true);
    expect(tensors.get('m.fc')?.magnitude?.length).toBe(2);
  });

  it.each(['', 'modules_to_save.default.'])('reads whole weights, "%s" in their names', (middle) => {
    const key = `base_model.model.head.${middle}weight`;
    const { saved, modulesToSave } = readPeft(
      directory({ modules_to_save: ['head'] }, { ...pair, [key]: matrix(2, 2) }),
    );
    expect([...saved.keys()]).toEqual(['head.weight']);
    expect(modulesToSave).toEqual(['head']);
  });

  it('passes over fields that say nothing', () => {
    const config = { modules_to_save: [], layer_replication: null, use_dora: false, bias: 'none', unknown_field: null };
    expect(readPeft(directory({ ...config, init_lora_weights: 'gaussian' })).tensors.size).toBe(1);
  });

  it('refuses an unknown field that says something', () => {
    expect(() => readPeft(directory({ unknown_field: 1 }))).toThrow(
      expect.toSatisfy(coded('ADAPTER_UNSUPPORTED', 'unknown_field')),
    );
  });

  const prefix = 'base_model.model.';
  it.each([
    ['m.fc.base_layer.bias', 'm.fc.bias'],
    ['m.fc.base_layer.weight', 'm.fc.weight'],
    ['m.fc.original_module.weight', 'm.fc.weight'],
    ['head.weight', 'head.weight'],
  ])('reads %s as a copy of the base', (key, parameter) => {
    const { copies } = readPeft(directory({}, { ...pair, [prefix + key]: matrix(2, 2) }));
    expect([...copies.keys()]).toEqual([parameter]);
    copies.get(parameter)?.open((read) => expect(read(1, 2)).toMatchObject({ dtype: 'F32', shape: [2] }));
  });

  it.each([
    ['m.fc.lora_B.bias', { ...matrix(2, 1), shape: [2] }, 'lora_bias'],
    ['m.fc.bias', { ...matrix(2, 1), shape: [2] }, 'bias'],
    ['emb.token_adapter.trainable_tokens_delta', matrix(2, 2), 'trainable_token_indices'],
  ])('refuses the key %s', (key, tensor, feature) => {
    expect(() => readPeft(directory({}, { [prefix + key]: tensor }))).toThrow(
      expect.toSatisfy(coded('ADAPTER_UNSUPPORTED', feature, key)),
    );
  });

  it.each([
    ['no JSON', '{', undefined, 'not JSON'],
    ['NaN', '{"peft_type":"LORA","lora_alpha":NaN}', undefined, 'not JSON'],
    ['no object', '[]', undefined, 'not a JSON object'],
    ['no peft_type', '{}', undefined, 'peft_type'],
    ['a fractional rank', { r: 1.5 }, undefined, '"r"'],
    ['a rank of zero', { rank_pattern: { a: 0 } }, undefined, 'rank_pattern.a'],
    ['another rank than the config', { r: 3 }, undefined, 'rank 2'],
    ['an unknown key', {}, { [`${prefix}fc.lora_A`]: matrix(2, 3) }, 'fc.lora_A'],
    ['A without B', {}, { [`${prefix}m.lora_A.weight`]: matrix(2, 3) }, 'no lora_B'],
    [
      'two adapters',
      {},
      { [`${prefix}m.lora_A.weight`]: matrix(2, 3), [`${prefix}m.lora_A.x.weight`]: matrix(2, 3) },
      'two tensors',
    ],
    [
      'integers',
      {},
      {
        [`${prefix}m.lora_A.weight`]: { dtype: 'I32' as const, shape: [2, 1], data: new Uint8Array(8) },
        [`${prefix}m.lora_B.weight`]: matrix(2, 2),
      },
      'I32',
    ],
    [
      'ranks that differ',
      {},
      { [`${prefix}m.lora_A.weight`]: matrix(2, 3), [`${prefix}m.lora_B.weight`]: matrix(2, 3) },
      'lora_B [2, 3]',
    ],
  ])('refuses %s', (_, config, tensors, reason) => {
    expect(() => readPeft(directory(config, tensors))).toThrow(expect.toSatisfy(coded('BAD_ADAPTER', reason)));
  });

  it('says which file is missing', () => {
    const folder = fresh();
    expect(() => readPeft(folder)).toThrow(expect.toSatisfy(coded('BAD_ADAPTER', 'adapter_config.json')));
    writeFileSync(join(folder, 'adapter_config.json'), '{"peft_type":"LORA"}');
    expect(() => readPeft(folder)).toThrow(expect.toSatisfy(coded('BAD_ADAPTER', 'adapter_model.safetensors')));
    writeFileSync(join(folder, 'adapter_model.bin'), '');
    expect(() => readPeft(folder)).toThrow(expect.toSatisfy(coded('ADAPTER_UNSUPPORTED', 'adapter_model.bin')));
  });
});

describe('writing', () => {
  const layer = (path: string, rank: number, alpha: number, offset = 0) => ({
    op: 'MatMul',
    path,
    in: 2,
    out: 3,
    rank,
    alpha,
    A: { offset },
    B: { offset: offset + 2 * rank },
  });
  const params = Float32Array.from({ length: 100 }, (_, i) => i);
  const config = (content: Partial<PeftContent>) => {
    const files = peftFiles({ layers: [], params, scaling: 'standard', knownPaths: [], ...content });
    return JSON.parse(Buffer.concat(files[1]?.chunks ?? []).toString());
  };

  it('stores [r, in] and [out, r]', () => {
    const folder = fresh();
    writePeft(folder, { layers: [layer('a.b', 2, 4, 10)], params, scaling: 'standard', knownPaths: [] });
    expect(readdirSync(folder).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    const { tensors, metadata } = parseSafetensors(readFileSync(join(folder, 'adapter_model.safetensors')));
    expect([...metadata]).toEqual([['format', 'pt']]);
    const values = [...tensors].map(([key, t]) => [key, t.shape, [...toFloat32(t)]]);
    expect(values).toEqual([
      ['base_model.model.a.b.lora_A.weight', [2, 2], [10, 12, 11, 13]],
      ['base_model.model.a.b.lora_B.weight', [3, 2], [14, 17, 15, 18, 16, 19]],
    ]);
  });

  it('writes patterns for layers that differ, anchored and escaped', () => {
    const layers = [layer('a.0', 2, 4), layer('x.a.0', 4, 4), layer('b+c', 2, 8), layer('d', 2, 4)];
    const written = config({ layers });
    expect(written).toMatchObject({
      r: 2,
      lora_alpha: 4,
      rank_pattern: { '^x\\.a\\.0': 4 },
      alpha_pattern: { '^b\\+c': 8 },
      target_modules: ['a.0', 'x.a.0', 'b+c', 'd'],
    });
    const folder = fresh();
    writePeft(folder, { layers, params, scaling: 'standard', knownPaths: [] });
    const read = readPeft(folder);
    for (const { path, rank, alpha } of layers) expect(read.tensors.get(path)).toMatchObject({ rank, alpha });
  });

  it('says the scaling in the way of PEFT', () => {
    const layers = [layer('a', 4, 2), layer('b', 8, 2)];
    expect(config({ layers, scaling: 'rslora' })).toMatchObject({ use_rslora: true, lora_alpha: 2, alpha_pattern: {} });
    const plain = config({ layers, scaling: 'alpha' });
    expect(plain).toMatchObject({ use_rslora: false, r: 4, lora_alpha: 8, alpha_pattern: { '^b': 16 } });
  });

  it('anchors the targets where a module without an adapter ends in one of them', () => {
    const layers = [layer('0', 2, 4), layer('a.b', 2, 4)];
    expect(config({ layers, knownPaths: ['0', 'a.b', 'c.1'] }).target_modules).toEqual(['0', 'a.b']);
    expect(config({ layers, knownPaths: ['c.0'] }).target_modules).toBe('^(?:0|a\\.b)$');
    expect(config({ layers, knownPaths: ['ca.b'] }).target_modules).toEqual(['0', 'a.b']);
    expect(config({ layers: [layer('x.0', 2, 4), layer('0', 2, 4)], knownPaths: ['x.0'] }).target_modules).toEqual([
      'x.0',
      '0',
    ]);
  });

  it('prints like Python: sorted keys, ASCII, a float dropout, no newline at the end', () => {
    const [, file] = peftFiles({ layers: [layer('é.😀', 2, 4)], params, scaling: 'standard', knownPaths: [] });
    const text = Buffer.concat(file?.chunks ?? []).toString();
    expect(text).toContain('"lora_dropout": 0.0,');
    expect(text).toContain('"target_modules": [\n    "\\u00e9.\\ud83d\\ude00"\n  ],');
    expect(text.startsWith('{\n  "alora_invocation_tokens": null,\n  "alpha_pattern": {},\n')).toBe(true);
    expect(text.endsWith('"velora_config": null\n}')).toBe(true);
    expect(config({ dropout: 0.05, init: 'gaussian' })).toMatchObject({
      lora_dropout: 0.05,
      init_lora_weights: 'gaussian',
    });
  });

  it('refuses two layers of one path and offsets outside the vector', () => {
    expect(() => config({ layers: [layer('a', 2, 4), layer('a', 2, 4)] })).toThrow(
      expect.toSatisfy(coded('BAD_ADAPTER', '"a"')),
    );
    expect(() => config({ layers: [layer('a', 2, 4, 95)] })).toThrow(expect.toSatisfy(coded('BAD_ADAPTER', 'outside')));
  });
});

describeShared(
  'adapters that PEFT wrote',
  ['bert_cls', 'gpt2_lm', 'llama_lm', 'mlp_classifier'].map((pack) => `parity/${pack}/init`),
  () => {
    it.each(['bert_cls', 'gpt2_lm', 'llama_lm', 'mlp_classifier'])(
      '%s: read and written again they are equal',
      (pack) => {
        const source = sharedPath('parity', pack, 'init');
        const folder = fresh();
        writePeft(folder, contentOf(readPeft(source)));
        const [before, after] = [source, folder].map((dir) => readFileSync(join(dir, 'adapter_model.safetensors')));
        expect(after).toEqual(before);
        const [theirs, ours] = [source, folder].map((dir) =>
          JSON.parse(readFileSync(join(dir, 'adapter_config.json'), 'utf8')),
        );
        for (const config of [theirs, ours]) config.target_modules.sort(); // PEFT saves a set
        expect(ours).toEqual({ ...theirs, auto_mapping: null });
      },
    );

    it('fit the shapes of the map that was made with them', () => {
      const expected = JSON.parse(readFileSync(sharedPath('parity/bert_cls/expected.json'), 'utf8'));
      const { tensors } = readPeft(sharedPath('parity/bert_cls/init'));
      expect(expected.targets).toBeDefined();
      const file = openSafetensors(sharedPath('parity/bert_cls/grads0.safetensors'));
      expect(file.tensors.size).toBe(2 * tensors.size);
      file.close();
    });
  },
);
