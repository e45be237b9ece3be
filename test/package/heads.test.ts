/**
 * New heads against PyTorch: loss and first gradients of head, A and B, and the same numbers after a merge. The cases
 * are those of fixtures/heads, whose make.py computes the references.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { writePeft } from '../../src/adapter/index.ts';
import type { CompileOptions } from '../../src/compile/options.ts';
import { toFloat32 } from '../../src/formats/rawTensor.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import { compile, merge } from '../../src/index.ts';
import { peftContent } from '../../src/package/adapters.ts';
import { distance } from '../support/executeGraphs.ts';
import { outputOf, packageGradient } from '../support/packageGradient.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const root = join(import.meta.dirname, '../../fixtures/heads');
const schema = z.object({ model: z.string(), loss: z.number(), options: z.custom<CompileOptions>() });
const cases = readdirSync(root, { withFileTypes: true }).flatMap((d) => (d.isDirectory() ? [d.name] : []));

/** The tensors of a file by PEFT's keys. */
function tensorsOf(file: string): Map<string, Float32Array> {
  const source = openSafetensors(file);
  try {
    return new Map(
      [...source.tensors.keys()].flatMap((key) => {
        const tensor = source.read(key);
        return tensor === undefined ? [] : [[key, toFloat32(tensor)] as const];
      }),
    );
  } finally {
    source.close();
  }
}

/** A case of each form of the head. */
const merged = ['bert-mean', 'bert-tokens', 'bert-embedding', 'own-replaced', 'llama-score', 'conv-max'];

/** Keys without the wrappers that a class of transformers puts around the body. */
const bare = (key: string): string => key.replace(/^base_model\.model\.(?:(?:bert|vit)\.)?/, '');

describe.each(cases)('head %s', (name) => {
  const folder = join(root, name);
  const { model, loss, options } = schema.parse(JSON.parse(readFileSync(join(folder, 'case.json'), 'utf8')));
  const dir = join(temporaryFolder(), 'x.lora');
  const file = join(root, model);
  const batch = join(folder, 'batch.npz');

  it("has PyTorch's loss and gradients of the first step", async () => {
    await compile(file, { ...options, adapter: join(folder, 'init'), emit: ['model', 'grad'], out: dir });
    const found = await packageGradient(dir, batch);
    expect(Math.abs(found.loss / loss - 1)).toBeLessThan(1e-6);
    const written = temporaryFolder();
    writePeft(written, peftContent(found.manifest, found.gradient));
    const ours = tensorsOf(join(written, 'adapter_model.safetensors'));
    const theirs = tensorsOf(join(folder, 'grads.safetensors'));
    expect([...ours.keys()].map(bare).sort()).toEqual([...theirs.keys()].map(bare).sort());
    const byName = new Map([...ours].map(([key, values]) => [bare(key), values]));
    const [a, b] = [...theirs].reduce<[number[], number[]]>(
      ([mine, yours], [key, values]) => [
        [...mine, ...(byName.get(bare(key)) ?? [])],
        [...yours, ...values],
      ],
      [[], []],
    );
    expect(distance(Float32Array.from(a), Float32Array.from(b))).toBeLessThan(1e-6);
  });

  if (!merged.includes(name)) return;
  it('computes the same after a merge, with the head in the file', async () => {
    const out = join(temporaryFolder(), 'merged.onnx');
    const { error = 1 } = await merge(dir, { adapter: 'start', out });
    expect(error).toBeLessThan(1e-5);
    const output = options.head === 'embedding' ? 'sentence_embedding' : 'logits';
    const both = await Promise.all([out, join(dir, 'model.onnx')].map((m) => outputOf(m, batch, output)));
    expect(distance(both[0] ?? new Float32Array(), both[1] ?? new Float32Array())).toBeLessThan(1e-6);
  });
});
