/** `dump` and `timings`: one file and one row for every pass that ran, named by it; and the page that lists the passes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { compile } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';
import { stages } from '../../src/passes/index.ts';
import { digitsModel } from '../support/digits.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const root = join(import.meta.dirname, '../..');

it.each(['portable', 'cuda', 'webgpu'] as const)(
  'writes a file and times a row for each pass that ran (%s)',
  async (target) => {
    const dump = join(folder, `dump-${target}`);
    const { timings = [] } = await compile(digitsModel, {
      for: target,
      dropout: 0.1,
      dryRun: true,
      dump,
      timings: true,
    });
    const files = readdirSync(dump).sort();
    expect(files).toEqual(
      timings.map(({ stage, pass }, i) => `${String(i).padStart(3, '0')}-${stage}-${pass}.onnx.txt`),
    );
    const listed = new Set(stages.flatMap((s) => s.passes.map((p) => `${s.name}/${p.name}`)));
    expect(timings.map((t) => `${t.stage}/${t.pass}`).filter((name) => !listed.has(name))).toEqual([]);
    // Every entry without a condition ran, in the stages of this compile.
    const ran = new Set(timings.map((t) => `${t.stage}/${t.pass}`));
    const always = stages.flatMap((s) =>
      ['head', 'fix-lengths', 'serve'].includes(s.name)
        ? []
        : s.passes.flatMap((p) => (p.when === undefined ? [`${s.name}/${p.name}`] : [])),
    );
    expect(always.filter((name) => !ran.has(name))).toEqual([]);
    expect(timings.every((t) => t.milliseconds >= 0)).toBe(true);
    // A graph of plain operators can be read again.
    const last = files.filter((f) => f.includes('-grad-')).at(-1) ?? '';
    expect(
      parseText(readFileSync(join(dump, last), 'utf8'), { elided: 'zeros' }).graph.outputs.map((o) => o.name),
    ).toEqual(['loss', 'weight', 'lora_grad']);
  },
);

it('reports no times unless asked for', async () => {
  expect((await compile(digitsModel, { dryRun: true })).timings).toBeUndefined();
});

it('are the passes that docs/explain/architecture.md lists (npm run docs writes it)', async () => {
  const script: { withPipeline(page: string, list: typeof stages): string } = await import(
    new URL('../../scripts/pipeline-doc.mjs', import.meta.url).href
  );
  const page = readFileSync(join(root, 'docs/explain/architecture.md'), 'utf8');
  expect(script.withPipeline(page, stages)).toBe(page);
});
