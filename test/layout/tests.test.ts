/** The layout of test/: a test lies where its subject lies in src/, and what tests share lies in test/support. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { testFolders } from './law.ts';

const root = join(import.meta.dirname, '../..');
const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => /\.\w+$/.test(file))
  .sort();
const inSupport = (file: string): boolean => file.startsWith('support/');
const isTest = (file: string): boolean => file.endsWith('.test.ts');
/** The modules of test/ that a file imports, as paths in test/. */
const importsOf = (file: string): string[] =>
  ts
    .preProcessFile(readFileSync(join(root, 'test', file), 'utf8'), true, true)
    .importedFiles.filter(({ fileName }) => fileName.startsWith('.'))
    .map(({ fileName }) => join('test', dirname(file), fileName).replaceAll('\\', '/'))
    .filter((path) => path.startsWith('test/'))
    .map((path) => path.slice('test/'.length));

describe('test/', () => {
  it('has files', () => {
    expect(files.filter(isTest).length).toBeGreaterThan(100);
    expect(files.filter(inSupport).length).toBeGreaterThan(10);
  });

  it('mirrors src/, but for folders of one kind of test', () => {
    const folders = new Set(
      files.map(dirname).filter((folder) => testFolders[folder.split('/')[0] ?? ''] === undefined),
    );
    expect([...folders].filter((folder) => !existsSync(join(root, 'src', folder)))).toEqual([]);
  });

  it('has no folder of one kind of test that is empty, or that src/ has too', () => {
    for (const folder of Object.keys(testFolders)) {
      expect(files.filter((file) => file.startsWith(`${folder}/`)).length, folder).toBeGreaterThan(0);
      expect(existsSync(join(root, 'src', folder)), folder).toBe(false);
    }
  });

  it('has a file of its subject directly in it only where src/ has', () => {
    const direct = files.filter((file) => !file.includes('/'));
    expect(direct.filter((file) => !existsSync(join(root, 'src', file.replace('.test.ts', '.ts'))))).toEqual([]);
  });
});

describe('helpers', () => {
  it('lie in test/support: beside tests are tables of rows alone', () => {
    const tables = ['layout/law.ts', 'layout/longFunctions.ts', 'layout/prose.ts'];
    const beside = files.filter((file) => file.endsWith('.ts') && !inSupport(file) && !tables.includes(file));
    expect(beside.filter((file) => !/\.(test|rows)\.ts$/.test(file))).toEqual([]);
  });

  it('hold no tests', () => {
    expect(files.filter((file) => inSupport(file) && isTest(file))).toEqual([]);
  });

  it('are imported: by a test, by a table, by another helper or by vitest.config.ts', () => {
    const config = readFileSync(join(root, 'vitest.config.ts'), 'utf8');
    const imported = new Set(files.filter((file) => file.endsWith('.ts')).flatMap(importsOf));
    const unused = files.filter((file) => inSupport(file) && !imported.has(file) && !config.includes(`'test/${file}'`));
    expect(unused).toEqual([]);
  });

  it('are not tests that export', () => {
    expect(
      files
        .filter((file) => file.endsWith('.ts'))
        .flatMap(importsOf)
        .filter(isTest),
    ).toEqual([]);
  });
});
