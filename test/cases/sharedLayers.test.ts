/** Weights that an exporter or an optimizer wrote once for each use of their layer. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readPeft } from '../../src/adapter/index.ts';
import { floatsOf } from '../../src/formats/rawTensor.ts';
import { transposed } from '../../src/graph/layers.ts';
import { bytesOf } from '../../src/graph/tensor.ts';
import { parseFile } from '../../src/parser/index.ts';
import { caseFolder, cases } from '../support/caseFolder.ts';
import { distance } from '../support/executeGraphs.ts';
import { npzFeeds, packageGradient } from '../support/packageGradient.ts';
import { loraify } from '../support/runCli.ts';

const numbers = z.record(z.string(), z.object({ loss: z.number(), gradient: z.number() }));
const variants = join(cases, 'shared-layer-variants');
const expected = numbers.parse(JSON.parse(readFileSync(join(variants, 'expected.json'), 'utf8')));

async function compiled(cwd: string, model: string, adapter: string): Promise<string> {
  const { status, stderr } = await loraify([model, '--adapter', adapter, '-o', 'x.lora', '--force'], { cwd });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return join(cwd, 'x.lora');
}

/** The stored tensors of a file by name. */
function tensorsOf(file: string): Map<string, Uint8Array> {
  const { model, source } = parseFile(file);
  try {
    return new Map(
      model.graph.initializers.flatMap((v) => (v.tensor === undefined ? [] : [[v.name, bytesOf(v.tensor)]])),
    );
  } finally {
    source.close();
  }
}

describe('shared-layer-folded-twice', () => {
  it('lists one layer with two nodes for each module', async () => {
    const { stdout } = await loraify(['inspect', 'model.onnx', '--json'], {
      cwd: caseFolder('shared-layer-folded-twice'),
    });
    const rows = z.object({ layers: z.array(z.object({ path: z.string(), nodes: z.array(z.string()) })) });
    expect(rows.parse(JSON.parse(stdout)).layers.map((l) => [l.path, l.nodes.length])).toEqual([
      ['ffn', 2],
      ['ffn_output', 2],
      ['head', 1],
    ]);
  });

  it('has the loss and gradient of torch + PEFT, and merges into every copy', async () => {
    const cwd = caseFolder('shared-layer-folded-twice');
    const dir = await compiled(cwd, 'model.onnx', 'adapter');
    const { loss, norm, manifest } = await packageGradient(dir, join(variants, 'folded-twice.npz'));
    expect(loss).toBeCloseTo(0.99202, 5);
    expect(norm).toBeCloseTo(0.63601, 5);
    expect(manifest.copies).toEqual([
      { weight: 'val_6', of: 'val_0' },
      { weight: 'val_8', of: 'val_2' },
    ]);
    const { status } = await loraify(['merge', 'x.lora', '--adapter', 'start', '-o', 'merged.onnx'], { cwd });
    expect(status).toBe(0);
    const [before, after] = [tensorsOf(join(cwd, 'model.onnx')), tensorsOf(join(cwd, 'merged.onnx'))];
    for (const [copy, of] of [
      ['val_6', 'val_0'],
      ['val_8', 'val_2'],
    ] as const) {
      expect(after.get(copy)).toEqual(after.get(of));
      expect(after.get(copy)).not.toEqual(before.get(copy));
    }
  });

  it('trains no weight twice in modules_to_save, and merges it into every copy', async () => {
    const cwd = caseFolder('shared-layer-folded-twice');
    const options = ['--target', 'head', '--modules-to-save', 'ffn', '-o', 'x.lora'];
    expect((await loraify(['model.onnx', ...options], { cwd })).status).toBe(0);
    const { manifest, gradient } = await packageGradient(join(cwd, 'x.lora'), join(variants, 'folded-twice.npz'));
    expect(manifest.saved?.map((s) => [s.parameter, s.shape])).toEqual([
      ['ffn.weight', [32, 48]],
      ['ffn.bias', [48]],
    ]);
    expect(gradient.some((g) => g !== 0)).toBe(true);
    expect((await loraify(['merge', 'x.lora', '--adapter', 'start', '-o', 'merged.onnx'], { cwd })).status).toBe(0);
  });

  it('refuses an adapter if another use of its module has another weight', async () => {
    const cwd = caseFolder('shared-layer-folded-twice');
    const { writeFileSync } = await import('node:fs');
    const bytes = readFileSync(join(cwd, 'model.onnx'));
    const { model, source } = parseFile(join(cwd, 'model.onnx'));
    const copy = model.graph.initializers.find((v) => v.name === 'val_6')?.tensor;
    const at = bytes.indexOf(copy === undefined ? '' : bytesOf(copy), bytes.indexOf(bytesOf(copy ?? never())) + 1);
    source.close();
    bytes.writeFloatLE(9, at);
    writeFileSync(join(cwd, 'model.onnx'), bytes);
    const { status, stderr } = await loraify(['model.onnx', '--adapter', 'adapter', '-o', 'x.lora'], { cwd });
    expect(status).toBe(1);
    expect(stderr).toContain('error[ADAPTER_MISMATCH]');
    expect(stderr).toContain('every use of the module "ffn"');
  });
});

function never(): never {
  throw new Error('the file has no tensor val_6');
}

describe('other writers of copies', () => {
  it.each([
    ['slim', { ffn: 2, ffn_output: 2 }],
    ['layouts', { proj: 2 }],
    ['equal', { left: 1, right: 1 }],
  ])('%s: has the layers, the loss and the gradient of torch + PEFT', async (name, layers) => {
    const cwd = caseFolder('shared-layer-variants');
    const dir = await compiled(cwd, `${name}.onnx`, `${name}.adapter`);
    const { manifest, loss, gradient } = await packageGradient(dir, join(cwd, `${name}.npz`));
    expect(Object.fromEntries(manifest.layers.map((l) => [l.path, l.nodes.length]))).toEqual(layers);
    expect(loss).toBeCloseTo(expected[name]?.loss ?? Number.NaN, 5);
    const theirs = npzFeeds(join(cwd, `${name}.npz`));
    for (const l of manifest.layers)
      for (const factor of ['A', 'B'] as const) {
        const { offset, shape } = l[factor];
        const [rows = 1, columns = 1] = shape;
        const raw = theirs[`${l.path}.lora_${factor}.weight`]?.data;
        const torch = raw instanceof Float32Array ? transposed(raw, columns, rows) : new Float32Array();
        expect(distance(gradient.slice(offset, offset + rows * columns), torch), l.path).toBeLessThan(1e-5);
      }
    const { status, stdout } = await loraify(['merge', 'x.lora', '--adapter', 'start', '-o', 'merged.onnx'], { cwd });
    expect({ status, stdout }).toMatchObject({ status: 0, stdout: expect.stringContaining('equal to base + adapter') });
  });

  it('merges the transposed copy of a weight as its transpose', async () => {
    const cwd = caseFolder('shared-layer-variants');
    await compiled(cwd, 'layouts.onnx', 'layouts.adapter');
    expect((await loraify(['merge', 'x.lora', '--adapter', 'start', '-o', 'merged.onnx'], { cwd })).status).toBe(0);
    const { model, source } = parseFile(join(cwd, 'merged.onnx'));
    const [a, b] = ['val_0', 'proj.weight'].map((n) => model.graph.initializers.find((v) => v.name === n)?.tensor);
    if (a === undefined || b === undefined) throw new Error('a weight is missing');
    expect(transposed(floatsOf(a), 34, 34)).toEqual(floatsOf(b));
    source.close();
    expect(readPeft(join(cwd, 'x.lora/adapter')).tensors.size).toBe(1);
  });
});
