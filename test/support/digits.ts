/** The demo's digits as rows and as a compiled package. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compile } from '../../src/index.ts';

const fixtures = join(import.meta.dirname, '../../fixtures/demo');
export const digitsModel = join(fixtures, 'digits.onnx');

export interface DigitRow {
  readonly image: number[];
  readonly labels: number;
}

/** `count` rows turned by 90 degrees, from row `start` of the file. */
export function digits(start: number, count: number): DigitRow[] {
  const lines = readFileSync(join(fixtures, 'digits.csv'), 'utf8').trim().split('\n').slice(1);
  return lines.slice(start, start + count).map((line) => {
    const cells = line.split(',').map(Number);
    const image = Array.from({ length: 64 }, (_, i) => (cells[8 * (7 - (i % 8)) + Math.floor(i / 8)] ?? 0) / 16);
    return { image, labels: cells[64] ?? 0 };
  });
}

export function writeJsonl(file: string, rows: readonly object[]): string {
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return file;
}

/** A package of the digits model in `folder`. */
export async function compileDigits(folder: string, options: Parameters<typeof compile>[1] = {}): Promise<string> {
  const { dir } = await compile(digitsModel, { out: join(folder, 'digits.lora'), rank: 4, ...options });
  return dir;
}
