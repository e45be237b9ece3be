/** Blocks `ts` and `js` of all pages are programs that type-check against the built library. */
import { posix } from 'node:path';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { pages, root } from '../support/pages.ts';

/** By file name: beside its page, so that packages resolve as they do there. */
const programs = new Map(
  pages.flatMap((p) =>
    p.blocks.flatMap(({ lang, text }, i): [string, string][] =>
      lang === 'ts' || lang === 'js' ? [[posix.join(root, `${p.file}.${i}.${lang}`), text]] : [],
    ),
  ),
);

it('are found', () => {
  expect(programs.size).toBeGreaterThan(3);
});

it('type-check', () => {
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2023,
    lib: ['lib.es2023.d.ts'],
    module: ts.ModuleKind.NodeNext,
    types: ['node'],
    strict: true,
    allowJs: true,
    checkJs: true,
    skipLibCheck: true,
    noEmit: true,
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.getCurrentDirectory = () => root;
  host.fileExists = (file) => programs.has(file) || fileExists(file);
  host.readFile = (file) => programs.get(file) ?? readFile(file);
  const program = ts.createProgram([...programs.keys()], options, host);
  // A parameter of a JavaScript function has no type to write.
  const untyped = 7006;
  const faults = ts
    .getPreEmitDiagnostics(program)
    .filter((d) => d.code !== untyped || d.file?.fileName.endsWith('.ts') === true)
    .map((d) => `${d.file?.fileName.slice(root.length + 1)}: ${ts.flattenDiagnosticMessageText(d.messageText, '\n')}`);
  expect(faults).toEqual([]);
});
