/** Files with kohya's keys: read as what PEFT would have, for one of the models that they are for. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readPeft } from '../../src/adapter/index.ts';
import { encodeModel } from '../../src/emit/index.ts';
import { bytesOf, type RawTensor } from '../../src/formats/rawTensor.ts';
import { writeSafetensors } from '../../src/formats/safetensors.ts';
import { stream } from '../../src/graph/random.ts';
import { compile, exportAdapter, inspect, merge } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';
import { coded } from '../support/coded.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();

/** A UNet in miniature: a convolution, one of a single point, and an attention product; weights of no interest. */
const zeros = (n: number): string => `{${Array.from({ length: n }, (_, i) => (i % 7) - 3).join(', ')}}`;
const unet = join(folder, 'unet.onnx');
writeFileSync(
  unet,
  encodeModel(
    parseText(`<ir_version: 8, opset_import: ["" : 17]>
main (float[N,2,4,4] x) => (float[N,4,16] y)
<float[4,2,3,3] "down_blocks.0.conv1.weight" = ${zeros(72)},
 float[4,4,1,1] "down_blocks.0.proj_in.weight" = ${zeros(16)},
 float[16,16] "down_blocks.0.attn1.to_out.0.weight" = ${zeros(256)},
 int64[3] s = {0, 4, 16}>
{
  c = Conv <pads = [1, 1, 1, 1]> (x, "down_blocks.0.conv1.weight")
  p = Conv (c, "down_blocks.0.proj_in.weight")
  r = Reshape (p, s)
  t = Transpose <perm = [1, 0]> ("down_blocks.0.attn1.to_out.0.weight")
  y = MatMul (r, t)
}`),
  ),
);

const random = stream(0, 'kohya');
const values = (shape: readonly number[]): RawTensor => {
  const data = Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, () => random.normal());
  return { dtype: 'F32', shape, data: bytesOf(data) };
};
const alpha = (x: number): RawTensor => ({ dtype: 'F32', shape: [], data: bytesOf(Float32Array.of(x)) });

const conv = [values([2, 2, 3, 3]), values([4, 2, 1, 1])] as const;
const point = [values([2, 4]), values([4, 2])] as const;
const linear = [values([3, 16]), values([16, 3])] as const;
const module = (name: string, [down, up]: readonly [RawTensor, RawTensor], a?: number): [string, RawTensor][] => [
  [`${name}.lora_down.weight`, down],
  [`${name}.lora_up.weight`, up],
  ...(a === undefined ? [] : [[`${name}.alpha`, alpha(a)] as [string, RawTensor]]),
];
const ofUnet = [
  ...module('lora_unet_down_blocks_0_conv1', conv, 1),
  // A window of one point, stored as a matrix.
  ...module('lora_unet_down_blocks_0_proj_in', point, 4),
  ...module('lora_unet_down_blocks_0_attn1_to_out_0', linear),
];
const ofText = module('lora_te_text_model_encoder_layers_0_mlp_fc1', linear, 1);

const file = (name: string, tensors: readonly (readonly [string, RawTensor])[]): string => {
  const path = join(folder, `${name}.safetensors`);
  writeSafetensors(
    path,
    tensors.map(([k, t]): [string, RawTensor] => [k, t]),
  );
  return path;
};

it('compiles, with what is for another model left out and said', async () => {
  const adapter = file('sd', [...ofText, ...ofUnet]);
  const dir = join(folder, 'unet.lora');
  const { manifest, warnings } = await compile(unet, { adapter, out: dir, loss: 'mse' });
  expect(manifest.layers.map((l) => [l.path, l.rank, l.alpha, l.scale])).toEqual([
    ['down_blocks.0.conv1', 2, 1, 0.5],
    ['down_blocks.0.proj_in', 2, 4, 2],
    ['down_blocks.0.attn1.to_out.0', 3, 3, 1],
  ]);
  expect(warnings).toContainEqual(expect.stringContaining('"lora_te"'));
  // As PEFT has it, the same numbers: up is lora_B and down is lora_A.
  const out = join(folder, 'peft');
  await exportAdapter(dir, { format: 'peft', out });
  const raw = readFileSync(join(out, 'adapter_model.safetensors'));
  for (const { data } of [...conv, ...point, ...linear]) expect(raw.includes(Buffer.from(data))).toBe(true);
  expect([...readPeft(out).tensors.values()].map((l) => [l.form, l.scale]).sort()).toEqual([
    ['conv', 0.5],
    ['conv', 2],
    ['linear', 1],
  ]);
});

it('merges into the package of a model, or a combination of it', async () => {
  const dir = join(folder, 'unet.lora');
  const adapter = file('unet', ofUnet);
  const [one, two] = [join(folder, 'one.onnx'), join(folder, 'two.onnx')];
  // Products of numbers up to 3 in one Conv and one MatMul.
  expect((await merge(dir, { adapter, out: one })).error).toBeLessThan(1e-5);
  await merge(dir, { out: two });
  expect(readFileSync(two).equals(readFileSync(one))).toBe(true);
  expect((await merge(dir, { adapter: { [adapter]: 0.5 }, out: two, force: true })).error).toBeLessThan(1e-5);
  expect((await inspect(unet, { adapter })).layers.filter((l) => l.chosen)).toHaveLength(3);
});

describe('what does not fit is named with its tensors', () => {
  it.each([
    [
      'a module that the model lacks',
      module('lora_unet_down_blocks_0_attn1_to_out_1', linear),
      'ADAPTER_MISMATCH',
      ['"lora_unet_down_blocks_0_attn1_to_out_1.lora_down.weight"', 'did you mean "down_blocks_0_attn1_to_out_0"'],
    ],
    [
      'another shape',
      module('lora_unet_down_blocks_0_attn1_to_out_0', [values([3, 8]), values([16, 3])]),
      'ADAPTER_MISMATCH',
      ['"lora_unet_down_blocks_0_attn1_to_out_0" has lora_down [3, 8]', 'is [16, 16]'],
    ],
    [
      'another window',
      module('lora_unet_down_blocks_0_conv1', [values([2, 2, 1, 1]), values([4, 2, 1, 1])]),
      'ADAPTER_MISMATCH',
      ['[2, 2, 1, 1]', 'with kernel 3x3'],
    ],
    [
      'half a pair',
      module('lora_unet_down_blocks_0_attn1_to_out_0', linear).slice(0, 1),
      'BAD_ADAPTER',
      ['"lora_unet_down_blocks_0_attn1_to_out_0.lora_up.weight"'],
    ],
    [
      'an unknown key',
      [...ofUnet, ['lora_unet_down_blocks_0_conv1.lora_dwn.weight', values([1])] as const],
      'BAD_ADAPTER',
      [
        '"lora_unet_down_blocks_0_conv1.lora_dwn.weight"',
        'did you mean "lora_unet_down_blocks_0_conv1.lora_down.weight"',
      ],
    ],
    [
      'an alpha of two numbers',
      [...ofUnet, ['lora_unet_x.alpha', values([2])] as const],
      'BAD_ADAPTER',
      ['"lora_unet_x.alpha" [2]'],
    ],
    ['DoRA', [...ofUnet, ['lora_unet_x.dora_scale', values([2])] as const], 'ADAPTER_UNSUPPORTED', ['dora_scale']],
    ['LoCon', [...ofUnet, ['lora_unet_x.lora_mid.weight', values([2])] as const], 'ADAPTER_UNSUPPORTED', ['lora_mid']],
    [
      'two models of which each fits',
      [...ofUnet, ...ofUnet.map(([k, t]) => [k.replace('lora_unet', 'lora_te1'), t] as const)],
      'ADAPTER_MISMATCH',
      ['"lora_te1" and "lora_unet"'],
    ],
  ] as const)('%s', async (name, tensors, code, words) => {
    const adapter = file(name, tensors);
    await expect(compile(unet, { adapter, dryRun: true, loss: 'mse' })).rejects.toSatisfy(coded(code, ...words));
  });
});
