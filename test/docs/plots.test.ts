/** The plots of docs/plots are those of the data in bench/results, and runs of several machines come into one. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const root = join(import.meta.dirname, '../..');
const folder = temporaryFolder();
const node = (...args: readonly string[]): string =>
  execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
const read = (file: string): string => readFileSync(file, 'utf8');

it('plots are those of the recorded data, small, and shown', () => {
  node('bench/plots.mjs', '--out', folder);
  const kept = join(root, 'docs/plots');
  expect(readdirSync(folder).sort()).toEqual(readdirSync(kept).sort());
  const page = read(join(root, 'docs/performance.md'));
  for (const file of readdirSync(kept)) {
    expect(read(join(kept, file)), `${file}: node bench/plots.mjs draws it anew`).toBe(read(join(folder, file)));
    expect(read(join(kept, file))).not.toMatch(/NaN|Infinity|undefined/);
    expect(statSync(join(kept, file)).size, file).toBeLessThan(60_000);
    expect(page).toContain(`](plots/${file})`);
  }
});

it('curves of several runs are one table and one plot', () => {
  const losses = (by: number): number[] => Array.from({ length: 10 }, (_, i) => (3 - i / 10) * (1 + by));
  const file = (name: string, runs: Readonly<Record<string, number>>, steps = 10): string => {
    const data = { workload: 'w', steps, rate: 1e-4 };
    const list = Object.entries(runs).map(([name, by]) => ({ name, losses: losses(by) }));
    writeFileSync(join(folder, name), JSON.stringify({ ...data, runs: list }));
    return join(folder, name);
  };
  const files = [file('a.json', { 'CPU fp32': 0, 'CUDA fp32': 1 }), file('b.json', { 'CUDA fp32': 1e-3 })];
  const plot = join(folder, 'curves.svg');
  const table = node('bench/curves.mjs', '--data', ...files, '--plot', plot);
  expect(table).toContain('| CPU fp32 | 3.0000 | 2.1000 |  |  |');
  // A later file replaces the run of an earlier one.
  expect(table).toContain('| CUDA fp32 | 3.0030 | 2.1021 | 1.0e-3 | 1.0e-3 |');
  const svg = read(plot);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  // Two curves of losses and one of distances, of ten points each.
  const paths = [...svg.matchAll(/mark-line role-mark[^>]*><path [^>]*d="(M[^"]*)"/g)].map(
    (m) => m[1]?.split('L').length,
  );
  expect(paths).toEqual([10, 10, 10]);
  const other = file('c.json', { 'CPU fp32': 0 }, 9);
  expect(() => node('bench/curves.mjs', '--data', ...files, other)).toThrow(/c\.json is not of w with 10 steps/);
});
