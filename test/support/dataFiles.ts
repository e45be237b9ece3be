/** Data files of a test, and what it expects of their readers. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { FieldSpec } from '../../src/runtime/data/index.ts';
import { coded } from './coded.ts';
import { temporaryFolder } from './temporaryFolder.ts';

/** New files in a folder of their own: `place` gives a path, `file` writes one too. */
export function dataFiles(): {
  readonly folder: string;
  readonly place: (extension: string) => string;
  readonly file: (extension: string, content: string | Uint8Array) => string;
} {
  const folder = temporaryFolder();
  let count = 0;
  const place = (extension: string): string => join(folder, `${count++}${extension}`);
  const file = (extension: string, content: string | Uint8Array): string => {
    const path = place(extension);
    writeFileSync(path, content);
    return path;
  };
  return { folder, place, file };
}

export const field = (name: string, type: string, ...shape: FieldSpec['shape']): FieldSpec => ({ name, type, shape });

/** For expect(...).toThrow: BAD_DATA with these fragments. */
export const bad = (...fragments: string[]): unknown => expect.toSatisfy(coded('BAD_DATA', ...fragments));
