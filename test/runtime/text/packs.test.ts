/** Conversations trained from the files of a user: the losses and evaluations that TRL's SFTTrainer got. */

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { compile, evaluate, merge, openPackage, train } from '../../../src/index.ts';
import { describeShared, sharedPath } from '../../support/sharedMaterial.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const judged = z.object({ loss: z.number(), weight: z.number(), examples: z.number(), perplexity: z.number() });
const set = z.object({ losses: z.array(z.number()), eval: z.object({ before: judged, after: judged }) });
const recorded = set.extend({ assistant_only: set });

describeShared('sft_messages', 'textpacks/sft_messages', () => {
  const folder = temporaryFolder();
  const pack = (name: string): string => sharedPath('textpacks', 'sft_messages', name);
  const compiled = compile(pack('base.onnx'), {
    tokenizer: pack('tok'),
    loss: 'causal-lm',
    adapter: pack('init'),
    out: join(folder, 'pkg'),
  });

  it('has the files of the tokenizer in the package, byte for byte', async () => {
    const { dir } = await compiled;
    const { manifest } = await openPackage(dir);
    expect(manifest.tokenizer).toBe('tokenizer');
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'])
      expect(readFileSync(join(dir, 'tokenizer', name)).equals(readFileSync(pack(`tok/${name}`)))).toBe(true);
  });

  it.each([false, true])('trains as TRL does (assistant only: %s)', async (assistantOnly) => {
    const { dir } = await compiled;
    const all = recorded.parse(JSON.parse(readFileSync(pack('expected.json'), 'utf8')));
    const expected = assistantOnly ? all.assistant_only : all;
    const out = join(folder, `run ${assistantOnly}`);
    const how = { batchSize: 4, assistantOnly };
    const options = { ...how, data: pack('train.jsonl'), steps: 10, learningRate: 1e-3, shuffle: false, out };
    const { adapter } = await train(dir, options);
    const lines = readFileSync(join(out, 'log.jsonl'), 'utf8').trim().split('\n');
    const losses = lines.map((line) => z.object({ loss: z.number() }).parse(JSON.parse(line)).loss);
    expect(losses).toHaveLength(10);
    for (const [i, loss] of losses.entries()) expect(Math.abs(loss / (expected.losses[i] ?? 0) - 1)).toBeLessThan(1e-5);
    const before = await evaluate(dir, { ...how, data: pack('eval.jsonl'), adapter: 'start' });
    const after = await evaluate(dir, { ...how, data: pack('eval.jsonl'), adapter });
    for (const [found, wanted] of [[before, expected.eval.before] as const, [after, expected.eval.after] as const]) {
      expect(found.examples).toBe(wanted.examples);
      expect(found.weight).toBe(wanted.weight);
      expect(Math.abs(found.loss / wanted.loss - 1)).toBeLessThan(2e-5);
    }
  });

  it('gives the tokenizer to a merged model', async () => {
    const { dir } = await compiled;
    mkdirSync(join(folder, 'merged'));
    const { warnings } = await merge(dir, { adapter: 'start', out: join(folder, 'merged/model.onnx'), verify: false });
    expect(warnings).not.toContainEqual(expect.stringContaining('stays'));
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'])
      expect(readFileSync(join(folder, 'merged', name)).equals(readFileSync(pack(`tok/${name}`)))).toBe(true);
    writeFileSync(join(folder, 'merged', 'tokenizer.json'), '{}');
    const again = await merge(dir, { adapter: 'start', out: join(folder, 'merged/other.onnx'), verify: false });
    expect(again.warnings).toContainEqual(expect.stringMatching(/another tokenizer\.json and stays/));
    expect(readFileSync(join(folder, 'merged', 'tokenizer.json'), 'utf8')).toBe('{}');
  });

  it('refuses text where the package has no tokenizer', async () => {
    const { dir } = await compile(pack('base.onnx'), {
      tokenizer: 'none',
      loss: 'causal-lm',
      out: join(folder, 'bare'),
    });
    await expect(evaluate(dir, { data: pack('eval.jsonl') })).rejects.toMatchObject({
      code: 'BAD_DATA',
      hint: expect.stringContaining('--tokenizer'),
    });
  });

  it('finds the tokenizer beside the model and in the folder above it', async () => {
    const above = join(folder, 'hub');
    mkdirSync(join(above, 'onnx'), { recursive: true });
    copyFileSync(pack('base.onnx'), join(above, 'onnx', 'model.onnx'));
    copyFileSync(pack('tok/tokenizer.json'), join(above, 'tokenizer.json'));
    const { manifest } = await compile(join(above, 'onnx', 'model.onnx'), { dryRun: true });
    expect(manifest.tokenizer).toBe('tokenizer');
    writeFileSync(join(above, 'broken.json'), '{');
    await expect(
      compile(join(above, 'onnx', 'model.onnx'), { dryRun: true, tokenizer: join(above, 'broken.json') }),
    ).rejects.toMatchObject({ code: 'BAD_OPTION' });
  });
});
