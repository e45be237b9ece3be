/** Help, completion and docs/reference/cli.md: every command, every option and every value that the tables have. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Command, CommandOption } from '../../src/cli/command.ts';
import { flagsOf } from '../../src/cli/commands/completion.ts';
import { commands, globalOptions } from '../../src/cli/commands/index.ts';
import { nameOf, overview, usageOf } from '../../src/cli/help.ts';
import { loraify } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const root = join(import.meta.dirname, '../..');
const named = commands.map((c): [string, Command] => [nameOf(c), c]);
const oneLine = (text: string): string => text.replace(/\s+/g, ' ');

describe('loraify --help', () => {
  it('fits one screen and has every command and an example', async () => {
    const { status, stdout } = await loraify(['--help']);
    expect({ status, stdout }).toEqual({ status: 0, stdout: overview(commands, globalOptions) });
    const lines = stdout.trimEnd().split('\n');
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
    for (const command of commands) expect(stdout).toContain(`  ${usageOf(command)} `);
    expect(stdout).toContain('\nExample:\n  loraify model.onnx ');
  });
});

describe.each(named)('loraify %s --help', (name, { options }) => {
  it('shows every option, and every value with its meaning', async () => {
    const { status, stdout, stderr } = await loraify([name, '--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const text = oneLine(stdout);
    for (const option of [...options, ...globalOptions]) {
      expect(text).toContain(option.positional === true ? ` ${option.name} ` : ` ${flagsOf(option)[0]}`);
      expect(text).toContain(oneLine(option.describe));
      for (const { name: value, help } of option.values ?? []) expect(text).toContain(oneLine(`${value}: ${help}`));
    }
  });

  it('has options with distinct flags and help that is a clause', () => {
    const flags = [...options, ...globalOptions].filter((o) => o.positional !== true).flatMap(flagsOf);
    expect(flags.filter((flag, i) => flags.indexOf(flag) !== i)).toEqual([]);
    for (const { describe: help, values = [] } of options)
      for (const text of [help, ...values.map((v) => v.help)]) expect(text).toMatch(/^\S[\s\S]*[^.\s]$/);
  });
});

describe('loraify completion', () => {
  /** What bash offers for the last word of a command line, for each of several. */
  async function completed(lines: readonly (readonly string[])[]): Promise<string[][]> {
    const { stdout } = await loraify(['completion', 'bash']);
    const file = join(temporaryFolder(), 'completion.sh');
    const reply = ['$', '{COMPREPLY[*]}'].join('');
    const ask = `ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _loraify; echo "${reply}"; }`;
    const quoted = lines.map((line) => `ask ${['loraify', ...line].map((word) => `'${word}'`).join(' ')}`);
    writeFileSync(file, [stdout, ask, ...quoted].join('\n'));
    const { status, stdout: found, stderr } = spawnSync('bash', ['-u', file], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return found.split('\n').map((line) => line.split(' ').filter((word) => word !== ''));
  }

  it('bash: commands, the options of each, and the values of each option', async () => {
    const withValues = named.flatMap(([name, { options }]) =>
      options.flatMap((o): [string, CommandOption][] => (o.values === undefined ? [] : [[name, o]])),
    );
    expect(withValues.length).toBeGreaterThan(15);
    const [first, ...rest] = await completed([
      [''],
      ...named.map(([name]) => [name, '-']),
      ...withValues.map(([name, o]) => [name, ...(o.positional === true ? [] : flagsOf(o).slice(0, 1)), '']),
    ]);
    expect(first).toEqual(named.map(([name]) => name));
    for (const [i, [, { options }]] of named.entries())
      expect(rest[i]).toEqual([
        ...[...options.filter((o) => o.positional !== true), ...globalOptions].flatMap(flagsOf),
        '--help',
      ]);
    for (const [i, [, { values = [] }]] of withValues.entries())
      expect(rest[named.length + i]).toEqual(values.flatMap((v) => (v.isForm === true ? [] : [v.name])));
  });

  it('bash: a model in place of a command, lists, =, and nothing where files are wanted', async () => {
    const lines = [
      ['m.onnx', '--loss', 'caus'],
      ['m.onnx', '--emit', 'train,ev'],
      ['m.onnx', '--loss', '=', 'hu'],
      ['m.onnx', '--precision', '='],
      ['m.onnx', '--adapter', ''],
      ['mod'],
    ];
    const wanted = [['causal-lm'], ['train,eval'], ['huber'], ['fp32', 'fp16', 'bf16'], [], []];
    expect((await completed(lines)).slice(0, lines.length)).toEqual(wanted);
  });

  it('zsh: the same function, by bashcompinit', async () => {
    const [bash, zsh] = await Promise.all(['bash', 'zsh'].map((shell) => loraify(['completion', shell])));
    expect(zsh?.stdout.endsWith(bash?.stdout ?? '?')).toBe(true);
    expect(zsh?.stdout).toMatch(/^autoload -Uz compinit bashcompinit\n/);
  });

  it('refuses another shell', async () => {
    const { status, stderr } = await loraify(['completion', 'fish']);
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining('is one of bash, zsh') });
  });
});

describe('docs/reference/cli.md', () => {
  it('is what the option tables say (npm run docs writes it)', async () => {
    const { cliPage }: { cliPage(tables: object): string } = await import(
      pathToFileURL(join(root, 'scripts/cli-doc.mjs')).href
    );
    expect(readFileSync(join(root, 'docs/reference/cli.md'), 'utf8')).toBe(
      cliPage({ commands, globalOptions, usageOf, flagsOf }),
    );
  });
});
