/**
 * Golden graphs: every folder of fixtures/<area>/ is a case. `input.onnx.txt` is compiled with `options.json`; each stage's text is
 * compared with `<stage>.onnx.txt` (an error with `error.txt`), the set of files is compared too, what was printed is parsed
 * again, and the graphs are run. `npm run golden` rewrites the files.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { compileModel } from '../../src/compile/compileModel.ts';
import { type CompileOptions, emittable, resolveOptions } from '../../src/compile/options.ts';
import { printModel } from '../../src/emit/index.ts';
import { LoraifyError } from '../../src/errors.ts';
import type { Model } from '../../src/graph/model.ts';
import { parseText } from '../../src/parser/index.ts';
import { checkAdapted, checkGradient } from '../support/executeGraphs.ts';
import { checkServed, exportForms, servedGraph } from '../support/exportForms.ts';

const root = join(import.meta.dirname, '../../fixtures');
const areas = ['lora', 'train', 'speed', 'errors', 'export'];

const caseOptions = z.looseObject({
  stages: z.array(z.enum(emittable)).default([]),
  exports: z.array(z.enum(exportForms)).default([]),
});

interface Case {
  readonly folder: string;
  readonly text: string;
  readonly options: CompileOptions;
  readonly stages: readonly (typeof emittable)[number][];
  readonly exports: readonly (typeof exportForms)[number][];
}

function load(folder: string): Case {
  const { stages, exports, ...options } = caseOptions.parse(
    JSON.parse(readFileSync(join(folder, 'options.json'), 'utf8')),
  );
  return { folder, text: readFileSync(join(folder, 'input.onnx.txt'), 'utf8'), options, stages, exports };
}

const print = (model: Model): string => printModel(model, { comments: true });

function compiled(c: Case, extra: CompileOptions = {}): ReturnType<typeof compileModel> {
  return compileModel(parseText(c.text), resolveOptions({ ...c.options, emit: [...c.stages], ...extra }));
}

function errorText(error: unknown): string {
  if (!(error instanceof LoraifyError)) throw error;
  const place = [
    error.node === undefined ? [] : [`  node "${error.node}"`],
    error.where === undefined ? [] : [`  ${error.where}`],
  ].flat();
  return [`error[${error.code}]: ${error.message}`, ...place, `hint: ${error.hint}`, ''].join('\n');
}

/** A file that nothing compares any more is as wrong as a changed one. A missing one fails where it is compared. */
function stale(folder: string, files: readonly string[]): void {
  expect(readdirSync(folder).filter((f) => !files.includes(f))).toEqual([]);
}

for (const area of areas) {
  const folders = readdirSync(join(root, area), { withFileTypes: true }).filter((d) => d.isDirectory());
  describe.each(folders.map((d) => d.name))(`${area}/%s`, (name) => {
    const c = load(join(root, area, name));

    if (area === 'errors') {
      it('is refused with the same words', async () => {
        let text = '';
        try {
          compiled(c);
        } catch (error) {
          text = errorText(error);
        }
        expect(text, 'an error').not.toBe('');
        await expect(text).toMatchFileSnapshot(join(c.folder, 'error.txt'));
        stale(c.folder, ['error.txt', 'input.onnx.txt', 'options.json']);
      });
      return;
    }

    if (area === 'export') {
      it('is exported as the same text', async () => {
        for (const form of c.exports)
          await expect(print(servedGraph(c.text, c.options, form).model)).toMatchFileSnapshot(
            join(c.folder, `${form}.onnx.txt`),
          );
        stale(c.folder, ['input.onnx.txt', 'options.json', ...c.exports.map((form) => `${form}.onnx.txt`)]);
      });
      it('computes what the source with changed weights computes', () => checkServed(c.text, c.options));
      return;
    }

    it('compiles to the same text', async () => {
      const { graphs, found, selection } = compiled(c);
      for (const stage of c.stages) {
        const model = graphs.get(stage);
        if (model === undefined) throw new Error(`no graph ${stage}`);
        await expect(print(model)).toMatchFileSnapshot(join(c.folder, `${stage}.onnx.txt`));
      }
      const skipped = [
        ...found.skipped.map((s) => `${s.op} ${s.node}: ${s.reason}`),
        ...[...selection.left].map(([path, reason]) => `${path}: ${reason}`),
      ];
      if (skipped.length > 0)
        await expect(`${skipped.join('\n')}\n`).toMatchFileSnapshot(join(c.folder, 'skipped.txt'));
      const files = [
        'input.onnx.txt',
        'options.json',
        ...(skipped.length > 0 ? ['skipped.txt'] : []),
        ...c.stages.map((s) => `${s}.onnx.txt`),
      ];
      stale(c.folder, files);
    });

    it('prints what it parses', () => {
      for (const stage of c.stages) {
        const file = join(c.folder, `${stage}.onnx.txt`);
        if (!existsSync(file)) continue;
        const model = compiled(c).graphs.get(stage);
        if (model === undefined) throw new Error(`no graph ${basename(file)}`);
        const full = printModel(model, { full: true, comments: false });
        expect(printModel(parseText(full), { full: true, comments: false })).toBe(full);
      }
    });

    if (area === 'lora')
      it('computes what the source with changed weights computes', () => checkAdapted(c.text, c.options));
    if (area === 'train' || area === 'speed')
      it('has the gradient of its loss, and steps that agree', () => checkGradient(c.text, c.options));
  });
}
