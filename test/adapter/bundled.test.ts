/** dist/web/adapter.js: loraify/adapter as a page imports it. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');

it('the entry of a page is one file below 31 KB, which imports nothing', async () => {
  const file = join(root, 'dist/web/adapter.js');
  expect(statSync(file).size).toBeLessThan(31_000);
  const text = readFileSync(file, 'utf8');
  expect(ts.preProcessFile(text).importedFiles).toEqual([]);
  expect(text).not.toMatch(/\b(Buffer|process|require)\b/);
  const names = ['LoraifyError', 'adapterFeeds', 'baseFeeds', 'combineAdapters', 'readAdapter'];
  expect(Object.keys(await import(file)).sort()).toEqual(names);
});
