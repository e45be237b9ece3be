/** Every page: links, anchors, file names, commands and options are those that exist. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Command } from '../../src/cli/command.ts';
import { commands, globalOptions } from '../../src/cli/commands/index.ts';
import { kebab } from '../../src/cli/options.ts';
import { catalogue } from '../../src/errors.ts';
import { order } from '../layout/law.ts';
import { commandsOf, type Page, pageOf, pages, root, tracked } from '../support/pages.ts';

const each = pages.map((p): [string, Page] => [p.file, p]);
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const packageJson: { scripts: Record<string, string>; files: string[] } = JSON.parse(read('package.json'));
/** Pages about the data of one test, and pages that a script writes. */
const isPlain = ({ file }: Page): boolean => !/^fixtures\/|^docs\/reference\/(?:cli|errors|operators)\.md$/.test(file);

describe('links', () => {
  it.each(each)('of %s lead to files and headings that exist', (file, { links }) => {
    const broken = links.filter((link) => {
      if (/^https?:/.test(link)) return false;
      const [path = '', anchor] = link.split('#');
      const to = path === '' ? file : posix.normalize(posix.join(dirname(file), path));
      if (!existsSync(join(root, to))) return true;
      return anchor !== undefined && !pages.find((p) => p.file === to)?.anchors.has(anchor);
    });
    expect(broken).toEqual([]);
  });

  it('lead to every page of docs/ from its index', () => {
    const linked = pageOf('docs/index.md').links.map((link) => posix.join('docs', link));
    const rest = pages.map((p) => p.file).filter((file) => file.startsWith('docs/') && file !== 'docs/index.md');
    expect(rest.filter((file) => !linked.includes(file))).toEqual([]);
  });

  it('work in the published package: README, changelog and docs/ are part of it', () => {
    expect(packageJson.files).toEqual(expect.arrayContaining(['README.md', 'CHANGELOG.md', 'docs']));
  });
});

describe('files', () => {
  const isFile = /^(?:[\w.-]+\/)+(?:[\w.-]+\.(?:ts|mjs|py|md|json|onnx|csv))?$|^[\w-]+\.(?:ts|mjs|py)$/;
  const known = tracked.map((file) => `/${file}`);
  /** What a command or the build makes, and files of other projects. */
  const made = /^(?:dist|loraify|demo\.run|digits\.run|adapter|tokenizer|checkpoints|onnxruntime|node_modules)\//;

  it.each(each.filter(([, p]) => isPlain(p)))('that %s names exist', (_, { spans }) => {
    const names = spans.filter((span) => isFile.test(span) && !made.test(span));
    const isThere = (name: string): boolean =>
      known.some((file) => (name.endsWith('/') ? file.includes(`/${name}`) : file.endsWith(`/${name}`)));
    const missing = names.filter((name) => !isThere(name));
    expect(missing).toEqual([]);
  });
});

const cli = new Map(
  commands.flatMap((c) => [c.usage].flat().map((usage): [string, Command] => [usage.split(' ')[0] ?? '', c])),
);
const everywhere = ['version', 'help', ...globalOptions.map((o) => o.name)];
const flagsOf = ({ options }: Command): string[] => [
  ...everywhere,
  ...options.flatMap(({ name, alias }) => [kebab(name), `no-${kebab(name)}`, ...(alias === undefined ? [] : [alias])]),
];

/** What is wrong with a command, or nothing. */
function fault([program = '', ...args]: readonly string[]): string | undefined {
  const [first = ''] = args;
  if (program === 'npx') return first === 'loraify' ? fault(args) : runner(args);
  if (program === 'npm') return npm(args);
  if (program === 'node' || program === 'python') return script(args);
  if (program === 'pip') return first === 'install' ? undefined : `pip ${first}`;
  if (program !== 'loraify') return `unknown program ${program}`;
  const command = cli.get(first) ?? cli.get('compile');
  if (command === undefined) return 'no command';
  const flags = flagsOf(command);
  const given = args.flatMap((arg) => /^--?([a-z][\w-]*)/.exec(arg)?.[1] ?? []);
  const unknown = given.filter((flag) => !flags.includes(flag));
  return unknown.length === 0 ? undefined : `no option ${unknown.join(', ')}`;
}

function npm([verb = '', name = '']: readonly string[]): string | undefined {
  if (verb === 'run') return packageJson.scripts[name] === undefined ? `no script ${name}` : undefined;
  return ['ci', 'install', 'pack', 'rebuild', 'test'].includes(verb) ? undefined : `npm ${verb}`;
}

function runner([program = '', verb = '', path = '']: readonly string[]): string | undefined {
  if (program !== 'vitest' || verb !== 'run') return `npx ${program}`;
  return existsSync(join(root, path)) ? undefined : `no test ${path}`;
}

/** A script of the repository; its options are in its text or in that of a file beside it. */
function script([file = '', ...args]: readonly string[]): string | undefined {
  if (!tracked.includes(file)) return `no file ${file}`;
  const beside = tracked.filter((f) => dirname(f) === dirname(file) && /\.(?:mjs|py|ts)$/.test(f));
  const text = beside.map(read).join('\n');
  const unknown = args.filter((arg) => arg.startsWith('--') && !text.includes(arg.slice(2).split('=')[0] ?? ''));
  return unknown.length === 0 ? undefined : `no option ${unknown.join(', ')}`;
}

describe('commands', () => {
  it('of the command line are found', () => {
    expect([...cli.keys()].sort()).toEqual(expect.arrayContaining(['compile', 'doctor', 'export', 'inspect', 'train']));
  });

  it.each(each)('of %s exist, and so do their options', (_, { blocks }) => {
    const faults = blocks
      .filter((b) => b.lang === 'sh' || b.lang === 'console')
      .flatMap((b) => commandsOf(b).map((words) => [words.join(' '), fault(words)] as const))
      .filter(([, what]) => what !== undefined);
    expect(faults).toEqual([]);
  });

  it.each(each)('of npm that the text of %s names are scripts', (_, { text }) => {
    const named = [...text.matchAll(/npm run ([\w:-]+)/g)].map((m) => m[1] ?? '');
    expect(named.filter((name) => packageJson.scripts[name] === undefined)).toEqual([]);
  });

  const all = new Set([...cli.values()].flatMap(flagsOf));
  const ofNpm = ['ignore-scripts', 'calculus'];
  it.each(each.filter(([file]) => /^(?:README|docs\/(?:guide|explain))/.test(file)))(
    'have the options that the text of %s names',
    (_, { spans }) => {
      const named = spans
        .filter((s) => !s.startsWith('node '))
        .flatMap((s) => [...s.matchAll(/(?<![\w-])--([a-z][\w-]*)/g)]);
      expect(named.map((m) => m[1] ?? '').filter((name) => !all.has(name) && !ofNpm.includes(name))).toEqual([]);
    },
  );
});

describe('text', () => {
  it.each(each.filter(([, p]) => isPlain(p)))('of %s has lines of at most 120 characters', (_, { text }) => {
    const outside = text.replace(/^( *)```[\s\S]*?^\1```/gm, '').split('\n');
    expect(outside.filter((line) => line.length > 120 && !/^\||^!\[/.test(line))).toEqual([]);
  });

  it.each(each)('of %s has blocks of known kinds, and data that parse', (_, { blocks }) => {
    const kinds = ['sh', 'console', 'ts', 'js', 'json', 'yaml', 'text', 'python', ''];
    expect(blocks.map((b) => b.lang).filter((lang) => !kinds.includes(lang))).toEqual([]);
    for (const { lang, text } of blocks) {
      if (lang === 'yaml') expect(parse(text)).toBeTypeOf('object');
      if (lang === 'json') for (const line of text.split('\n')) expect(JSON.parse(line)).toBeTypeOf('object');
    }
  });
});

describe('README', () => {
  const { text } = pageOf('README.md');
  it('has at most 8 KB', () => {
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(8192);
  });

  it('starts with two commands: one runs the demo, one the tests', () => {
    const quick = text.split('\n## Quick start\n')[1]?.split('\n## ')[0] ?? '';
    const [shell] = [...quick.matchAll(/```(\w*)\n([\s\S]*?)```/g)];
    expect(shell?.[1]).toBe('sh');
    const [demo, test] = shell?.[2]?.trim().split('\n') ?? [];
    expect(demo).toBe('npm ci && npm run demo');
    expect(test).toBe('npm ci && npm test');
  });
});

describe('reference', () => {
  it('names codes of the catalogue among the limits', () => {
    const codes = pageOf('docs/reference/limits.md').spans.filter((s) => /^[A-Z]+(?:_[A-Z]+)+$/.test(s));
    expect(codes.length).toBeGreaterThan(10);
    expect(codes.filter((c) => !catalogue.has(c))).toEqual([]);
  });

  it('states the size of the browser entry', () => {
    const kilobytes = statSync(join(root, 'dist/web/adapter.js')).size / 1000;
    const stated = Number(/(\d+) KB, of which \d+ travel/.exec(read('docs/guide/serve-javascript.md'))?.[1]);
    expect(Math.abs(kilobytes - stated)).toBeLessThan(1);
  });

  it('shows the Python example as it is', () => {
    expect(read('docs/guide/train-from-python.md')).toContain(`\`\`\`python\n${read('examples/train.py')}\`\`\``);
  });

  it.each(Object.entries(order))('prints the import law of %s', (folder, levels) => {
    const law = levels.map((level) => level.join(' | ')).join(' > ');
    expect(read('docs/explain/architecture.md').replaceAll(/: +/g, ': ')).toContain(`${folder}: ${law}`);
  });
});
