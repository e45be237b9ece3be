/** Blocks `console` of all pages are run in order, page by page, in a folder with the demo's files: they print what the page shows. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { type Page, pages, type Run, root, runsOf } from '../support/pages.ts';
import { loraify } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const sessions = pages
  .map((p): [string, Page, Run[]] => [p.file, p, p.blocks.filter((b) => b.lang === 'console').flatMap(runsOf)])
  .filter(([, , runs]) => runs.length > 0);

/** Numbers, and the widths that depend on them, differ from processor to processor. */
const masked = (text: string): string =>
  text
    .replace(/-?\d[\d,.]*(?:e[+-]?\d+)?/gi, '#')
    .replace(/─+/g, '─')
    .replace(/[ \t]+/g, ' ')
    .trimEnd();

/** The shown text as an expression: a line `…` stands for any lines. */
const pattern = (shown: string): RegExp =>
  new RegExp(
    `^${masked(shown)
      .split('\n')
      .map((line) => (line.trim() === '…' ? '(?:.*\n)*?' : `${line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\n`))
      .join('')}$`,
  );

let demo = '';
beforeAll(() => {
  demo = execFileSync(process.execPath, [join(root, 'examples/demo.mjs')], { cwd: folder, encoding: 'utf8' });
});

it('the README shows what the demo prints', () => {
  const shown = pages.find((p) => p.file === 'README.md')?.blocks.find((b) => b.lang === '')?.text ?? '';
  const printed = masked(demo).split('\n');
  expect(shown.split('\n').length).toBeGreaterThan(5);
  expect(
    masked(shown)
      .split('\n')
      .filter((line) => !printed.includes(line)),
  ).toEqual([]);
});

it('sessions are found', () => {
  expect(sessions.map(([file]) => file)).toEqual(expect.arrayContaining(['README.md', 'docs/guide/train.md']));
});

it.each(sessions)('%s shows what its commands print', async (file, _, runs) => {
  const cwd = join(folder, file.replaceAll('/', '-'));
  mkdirSync(cwd);
  for (const name of ['fixtures', 'examples']) symlinkSync(join(root, name), join(cwd, name));
  cpSync(join(folder, 'demo.run'), join(cwd, 'demo.run'), { recursive: true });
  for (const { command, output } of runs) {
    const [npx, program, ...args] = command.trim().split(/\s+/);
    expect([npx, program], command).toEqual(['npx', 'loraify']);
    const { status, stdout, stderr } = await loraify(args, { cwd });
    expect(status, `${command}\n${stderr}`).toBe(0);
    if (!pattern(output).test(`${masked(stdout)}\n`)) expect(masked(stdout), command).toBe(masked(output));
  }
});
