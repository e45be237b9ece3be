/** Models that contain LoRA already: PEFT models that were exported without merging. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readPeft } from '../../src/adapter/index.ts';
import { readManifest } from '../../src/formats/manifest.ts';
import { parseFile } from '../../src/parser/index.ts';
import { caseFolder, cases } from '../support/caseFolder.ts';
import { distance, floats } from '../support/executeGraphs.ts';
import { npzFeeds, outputOf, packageGradient } from '../support/packageGradient.ts';
import { type Finished, loraify } from '../support/runCli.ts';

const variants = join(cases, 'lora-inside-variants');
const numbers = z.record(z.string(), z.object({ loss: z.number(), gradient: z.number() }));
const expected = numbers.parse(JSON.parse(readFileSync(join(variants, 'expected.json'), 'utf8')));

async function fine(args: readonly string[], cwd: string): Promise<Finished> {
  const done = await loraify(args, { cwd });
  expect({ status: done.status, stderr: done.stderr }).toEqual({ status: 0, stderr: '' });
  return done;
}

function nodesOf(file: string): number {
  const { model, source } = parseFile(file);
  source.close();
  return model.graph.nodes.length;
}

describe('lora-already-inside', () => {
  it('is listed, and its factors are not layers', async () => {
    const cwd = caseFolder('lora-already-inside');
    const { stdout } = await fine(['inspect', 'peft_unmerged.onnx'], cwd);
    expect(stdout).toContain('existing: LoRA on bert.encoder.layer.0.attention.self.query, ');
    expect(stdout).not.toMatch(/default_?1? *│ MatMul/);
    const { stdout: summary } = await fine(['peft_unmerged.onnx', '-r', '4', '--quiet', '-o', 'p'], cwd);
    expect(summary).toContain('is trained on');
    const { layers, lora, saved } = readManifest(join(cwd, 'p'));
    expect(layers.map((l) => [l.peft, l.rank])).toEqual([
      ['bert.encoder.layer.0.attention.self.query', 4],
      ['bert.encoder.layer.0.attention.self.value', 4],
    ]);
    expect(lora.existing?.use).toBe('train');
    expect(saved?.map((s) => s.peft)).toEqual(['classifier.weight', 'classifier.bias']);
  });
});

describe('training on', () => {
  it.each(['script', 'dynamo', 'rslora', 'saved', 'embedding', 'conv', 'shared'])(
    '%s: starts from the function, the factors and the gradient of torch + PEFT, and gives them back',
    async (name) => {
      const cwd = caseFolder('lora-inside-variants');
      const batch = join(cwd, `${name}.npz`);
      const logits = floats(npzFeeds(batch).logits);
      await fine([`${name}.onnx`, '-o', 'x.lora', '--quiet'], cwd);
      const { loss, norm } = await packageGradient(join(cwd, 'x.lora'), batch);
      expect(loss).toBeCloseTo(expected[name]?.loss ?? Number.NaN, 5);
      // The gradient of modules_to_save is in torch's too.
      expect(norm).toBeCloseTo(expected[name]?.gradient ?? Number.NaN, 4);
      expect(distance(await outputOf(join(cwd, 'x.lora/model.onnx'), batch, 'logits'), logits)).toBeLessThan(1e-5);
      await fine(['export', 'x.lora', '--adapter', 'start', '--format', 'peft', '-o', 'back'], cwd);
      const [theirs, ours] = [readPeft(join(cwd, `${name}.adapter`)), readPeft(join(cwd, 'back'))];
      expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort());
      expect([...ours.saved.keys()].sort()).toEqual([...theirs.saved.keys()].sort());
      for (const [path, t] of theirs.tensors) {
        const o = ours.tensors.get(path);
        expect([o?.A, o?.B], path).toEqual([t.A, t.B]);
        expect(o?.scale).toBeCloseTo(t.scale, 5);
      }
      await fine(['merge', 'x.lora', '--adapter', 'start', '-o', 'merged.onnx'], cwd);
      expect(distance(await outputOf(join(cwd, 'merged.onnx'), batch, 'logits'), logits)).toBeLessThan(1e-5);
      expect(nodesOf(join(cwd, 'merged.onnx'))).toBeLessThan(nodesOf(join(cwd, `${name}.onnx`)));
      const { stdout } = await fine(['inspect', 'merged.onnx', '-r', '1', '--json'], cwd);
      expect(JSON.parse(stdout)).not.toHaveProperty('existing');
    },
  );

  it('continues in this program: its own model.onnx has LoRA too', async () => {
    const cwd = caseFolder('lora-inside-variants');
    const batch = join(cwd, 'script.npz');
    await fine(['script.onnx', '-o', 'x.lora', '--quiet'], cwd);
    await fine(['x.lora/model.onnx', '-o', 'again.lora', '--quiet'], cwd);
    const { loss, norm } = await packageGradient(join(cwd, 'again.lora'), batch);
    expect(loss).toBeCloseTo(expected.script?.loss ?? Number.NaN, 5);
    expect(norm).toBeCloseTo(expected.script?.gradient ?? Number.NaN, 4);
  });
});

describe('other uses', () => {
  it.each(['script', 'dora_script', 'dora_dynamo', 'bias'])(
    '%s: keep leaves it alone, and new branches start beside it',
    async (name) => {
      const cwd = caseFolder('lora-inside-variants');
      const batch = join(cwd, `${name}.npz`);
      const logits = floats(npzFeeds(batch).logits);
      await fine([`${name}.onnx`, '--existing-lora', 'keep', '-r', '2', '-o', 'x.lora', '--quiet'], cwd);
      const { layers, skipped } = readManifest(join(cwd, 'x.lora'));
      expect(layers.map((l) => l.peft ?? l.path).sort()).toEqual(
        ['blocks.0.down', 'blocks.0.up', 'blocks.1.down', 'blocks.1.up', 'head'].sort(),
      );
      expect(skipped.map((s) => s.reason)).toContain('part of the LoRA on "blocks.0.up", which is kept');
      expect(distance(await outputOf(join(cwd, 'x.lora/model.onnx'), batch, 'logits'), logits)).toBeLessThan(1e-5);
      await fine(['merge', 'x.lora', '--adapter', 'start', '-o', 'merged.onnx', '--quiet'], cwd);
      expect(distance(await outputOf(join(cwd, 'merged.onnx'), batch, 'logits'), logits)).toBeLessThan(1e-5);
    },
  );

  it.each([
    ['dora_script', [], 'weight-decomposed (DoRA)'],
    ['dora_dynamo', [], 'weight-decomposed (DoRA)'],
    ['bias', [], 'does not have the form base + scale·B(A(x))'],
    ['script', ['--existing-lora', 'refuse'], '--existing-lora refuse'],
    ['script', ['--target', 'up'], '--target chooses modules'],
    ['script', ['--adapter', 'script.adapter'], '--adapter brings another one'],
    ['script', ['--dora'], '--dora starts new layers'],
    ['script', ['--init', 'pissa'], '--init pissa sets A and B'],
  ])('%s %j is refused by name', async (name, options, reason) => {
    const cwd = caseFolder('lora-inside-variants');
    const { status, stderr } = await loraify([`${name}.onnx`, ...options, '-o', 'x.lora'], { cwd });
    expect(status).toBe(1);
    expect(stderr).toContain('error[EXISTING_LORA]: the model already has LoRA on blocks.0.up');
    expect(stderr).toContain(reason);
  });

  it('inspect warns instead', async () => {
    const { status, stderr } = await loraify(['inspect', 'dora_script.onnx'], {
      cwd: caseFolder('lora-inside-variants'),
    });
    expect(status).toBe(0);
    expect(stderr).toContain('cannot be trained on: it is weight-decomposed (DoRA)');
  });
});
