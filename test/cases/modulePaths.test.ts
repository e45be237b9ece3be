import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readPeft } from '../../src/adapter/index.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

const inspected = z.object({ layers: z.array(z.object({ path: z.string() })) });

it('sequential-path-ts: the paths of layers in an nn.Sequential are those of PEFT', async () => {
  const cwd = caseFolder('sequential-path-ts');
  const { stdout } = await loraify(['inspect', 'model.onnx', '--json'], { cwd });
  const paths = inspected.parse(JSON.parse(stdout)).layers.map((l) => l.path);
  expect(paths.sort()).toEqual(['ffn.0', 'ffn.2', 'head', 'proj']);
  const { status, stderr } = await loraify(['model.onnx', '--adapter', 'adapter', '-o', 'x.lora'], { cwd });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});

describe('genai-qkv-path: packed projections of the model builder', () => {
  const builder = z.object({
    layers: z.array(z.object({ path: z.string(), columns: z.array(z.number()).optional() })),
  });
  const layersOf = async (folder: string): Promise<z.output<typeof builder>['layers']> =>
    builder.parse(JSON.parse(await readFile(join(folder, 'loraify.json'), 'utf8'))).layers;
  const run = async (args: readonly string[], cwd: string): Promise<string> => {
    const { status, stdout, stderr } = await loraify(args, { cwd });
    expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
    return stdout;
  };
  const attention = 'model.layers.0.self_attn';

  it('PEFT adapters of q and v fit, and come out as they went in', async () => {
    const cwd = caseFolder('genai-qkv-path');
    await run(['model.onnx', '--adapter', 'adapter', '-o', 'x.lora', '--quiet'], cwd);
    expect((await layersOf(join(cwd, 'x.lora'))).map((l) => [l.path, l.columns])).toEqual([
      [`${attention}.q_proj`, [0, 32]],
      [`${attention}.v_proj`, [48, 64]],
      [`${attention}.o_proj`, undefined],
      ['model.layers.0.mlp.gate_proj', undefined],
    ]);
    await run(['export', 'x.lora', '--adapter', 'start', '--format', 'peft', '-o', 'back'], cwd);
    const weights = 'adapter_model.safetensors';
    const [given, back] = [join(cwd, 'adapter', weights), join(cwd, 'back', weights)].map(openSafetensors);
    expect([...(back?.tensors.keys() ?? [])].sort()).toEqual([...(given?.tensors.keys() ?? [])].sort());
    for (const name of given?.tensors.keys() ?? []) expect([name, back?.read(name)]).toEqual([name, given?.read(name)]);
    given?.close();
    back?.close();
  });

  it.each([
    [[], ['q_proj', 'k_proj', 'v_proj', 'o_proj']],
    [
      ['--target', 'q_proj,v_proj'],
      ['q_proj', 'v_proj'],
    ],
    [['--target', 'qkv_proj'], ['qkv_proj']],
  ])('%j gives the names of transformers', async (options, names) => {
    const cwd = caseFolder('genai-qkv-path');
    await run(['model.onnx', '-r', '2', '-o', 'x.lora', '--emit', 'model', '--quiet', ...options], cwd);
    const paths = (await layersOf(join(cwd, 'x.lora'))).map((l) => l.path).filter((path) => path.includes('attn'));
    expect(paths).toEqual(names.map((name) => `${attention}.${name}`));
  });

  it('a family whose own projection is packed keeps it whole', async () => {
    const cwd = caseFolder('genai-qkv-path');
    await writeFile(join(cwd, 'config.json'), '{"model_type": "phi3"}');
    await run(['model.onnx', '-r', '2', '-o', 'x.lora', '--emit', 'model', '--quiet'], cwd);
    expect((await layersOf(join(cwd, 'x.lora')))[0]?.path).toBe(`${attention}.qkv_proj`);
  });

  it('gate and up of a family that packs them are one module in PEFT, and come in as one', async () => {
    const cwd = caseFolder('genai-qkv-path');
    await writeFile(join(cwd, 'config.json'), '{"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}');
    const compiled = await loraify(['model.onnx', '-r', '2', '-o', 'x.lora', '--emit', 'model'], { cwd });
    expect(compiled.stderr).toMatch(/mlp\.gate_proj".* are parts of ".*mlp\.gate_up_proj" in transformers' "phi3"/);
    const exported = await loraify(['export', 'x.lora', '--adapter', 'start', '-o', 'packed'], { cwd });
    expect({ status: exported.status, stderr: exported.stderr }).toEqual({ status: 0, stderr: '' });
    const paths = (folder: string): string[] => [...readPeft(join(cwd, folder)).tensors.keys()];
    const layer = 'model.layers.0';
    const names = [
      ...['qkv_proj', 'o_proj'].map((n) => `self_attn.${n}`),
      ...['gate_up_proj', 'down_proj'].map((n) => `mlp.${n}`),
    ];
    expect(paths('packed').sort()).toEqual(['lm_head', ...names.map((n) => `${layer}.${n}`)].sort());
    expect(readPeft(join(cwd, 'packed')).tensors.get(`${layer}.mlp.gate_up_proj`)?.rank).toBe(4);
    await run(['model.onnx', '--adapter', 'packed', '-o', 'y.lora', '--emit', 'model', '--quiet'], cwd);
    await run(['export', 'y.lora', '--adapter', 'packed', '-o', 'back'], cwd);
    expect(readPeft(join(cwd, 'back')).tensors).toEqual(readPeft(join(cwd, 'packed')).tensors);
  });

  it('modules that the family of the config.json lacks are named, and --prefix changes the beginning', async () => {
    const cwd = caseFolder('genai-qkv-path');
    await writeFile(join(cwd, 'config.json'), '{"model_type": "mixtral"}');
    const compiled = await loraify(['model.onnx', '-r', '2', '-o', 'x.lora', '--emit', 'model'], { cwd });
    expect(compiled.stderr).toMatch(/PEFT does not adapt "model\.layers\.0\.mlp\.gate_proj", .* and ignores/);
    const exported = await loraify(['export', 'x.lora', '--adapter', 'start', '--prefix', 'base', '-o', 'peft'], {
      cwd,
    });
    expect(exported.stderr).toMatch(/PEFT does not adapt/);
    expect(exported.stderr).toMatch(/the names begin with "base\.", .*: --prefix model gives those of its models/);
    expect([...readPeft(join(cwd, 'peft')).tensors.keys()]).toContain('base.layers.0.self_attn.q_proj');
    const refused = await loraify(['export', 'x.lora', '--prefix', 'a', '--format', 'onnx', '-o', 'a.onnx'], { cwd });
    expect([refused.status, refused.stderr]).toEqual([1, expect.stringMatching(/--prefix is for --format peft/)]);
  });

  it('a merge changes the columns of the parts', async () => {
    const cwd = caseFolder('genai-qkv-path');
    await writeFile(join(cwd, 'rows.jsonl'), '{"input_ids": [1, 2, 3, 4, 5, 6]}\n{"input_ids": [9, 8, 7, 6, 5, 4]}\n');
    await run(['model.onnx', '-r', '2', '-o', 'x.lora', '--target', 'q_proj,k_proj,v_proj', '--quiet'], cwd);
    const data = ['--data', 'rows.jsonl', '--quiet'];
    await run(['train', 'x.lora', '--steps', '30', '--lr', '0.05', '-o', 'run', ...data], cwd);
    await run(['merge', 'x.lora', '--adapter', 'run/adapter', '-o', 'merged.onnx', '--quiet'], cwd);
    await run(['merged.onnx', '-r', '2', '-o', 'm.lora', '--quiet'], cwd);
    const loss = async (...args: string[]): Promise<string> =>
      /loss [\d.]+/.exec(await run(['eval', ...args, ...data], cwd))?.[0] ?? '';
    const adapted = await loss('x.lora', '--adapter', 'run/adapter');
    expect(adapted).not.toBe(await loss('x.lora', '--adapter', 'start'));
    expect(await loss('m.lora')).toBe(adapted);
  });
});
