/**
 * The rooms of src/ and the one way in which they import each other (docs/explain/architecture.md), and other rules of the house that
 * a reader can rely on.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { cliMayImport, closed, families, homes, mostFiles, order, passesMayImport, rootFiles } from './law.ts';

const root = join(import.meta.dirname, '../..');

const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((f) => f.endsWith('.ts'))
  .map((f) => posix.join('src', f.replaceAll('\\', '/')))
  .sort();
const texts = new Map(files.map((f) => [f, readFileSync(join(root, f), 'utf8')]));

/** The part of a folder that a file belongs to: a folder directly inside it, or the file's own name. Undefined for files elsewhere. */
function partOf(folder: string, file: string): string | undefined {
  if (!file.startsWith(`${folder}/`)) return undefined;
  const [first = '', second] = file.slice(folder.length + 1).split('/');
  return second === undefined ? basename(first, '.ts') : first;
}

const roomOf = (file: string): string => partOf('src', file) ?? '';

interface Import {
  readonly from: string;
  /** A path from the root for a file of ours, else a package. */
  readonly to: string;
}

const imports: readonly Import[] = [...texts].flatMap(([from, text]) =>
  ts.preProcessFile(text, true, true).importedFiles.map(({ fileName: to }) => ({
    from,
    to: to.startsWith('.') ? posix.join(dirname(from), to) : to,
  })),
);

const ours = (i: Import): boolean => i.to.startsWith('src/');
const packageOf = (to: string): string => {
  const [first = '', second = ''] = to.split('/');
  return first.startsWith('@') ? `${first}/${second}` : first;
};
const show = ({ from, to }: Import): string => `${from} imports ${to}`;

/** Strongly connected files (Tarjan), imports of types included. */
function circles(): string[][] {
  const to = new Map(files.map((f) => [f, imports.filter((i) => i.from === f && ours(i)).map((i) => i.to)]));
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (file: string): void => {
    index.set(file, index.size);
    low.set(file, index.get(file) ?? 0);
    stack.push(file);
    for (const next of to.get(file) ?? []) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(file, Math.min(low.get(file) ?? 0, low.get(next) ?? 0));
    }
    if (low.get(file) !== index.get(file)) return;
    const circle = stack.splice(stack.indexOf(file));
    if (circle.length > 1) found.push(circle);
  };
  for (const file of files) if (!index.has(file)) visit(file);
  return found;
}

describe('rooms', () => {
  it.each(Object.entries(order))('of %s are all in the list, and import downwards only', (folder, list) => {
    const level = new Map(list.flatMap((line, i) => line.map((part): [string, number] => [part, i])));
    const parts = new Set(files.map((f) => partOf(folder, f)).filter((part) => part !== undefined));
    expect([...parts].sort()).toEqual([...level.keys()].sort());
    const inside = imports.filter(({ from, to }) => from.startsWith(`${folder}/`) && to.startsWith(`${folder}/`));
    expect(inside.length).toBeGreaterThan(list.length);
    const wrong = inside.filter(({ from, to }) => {
      const [a, b] = [partOf(folder, from) ?? '', partOf(folder, to) ?? ''];
      return a !== b && (level.get(a) ?? 0) >= (level.get(b) ?? 0);
    });
    expect(wrong.map(show)).toEqual([]);
  });

  it('have no circles, not even of types', () => {
    expect(circles()).toEqual([]);
  });

  it('import files that exist, inside src', () => {
    const relative = imports.filter(({ to }) => to.startsWith('.') || to.includes('/..') || ours({ from: '', to }));
    expect(relative.filter(({ to }) => !existsSync(join(root, to))).map(show)).toEqual([]);
    expect(imports.filter(({ to }) => to.startsWith('..') || /^(test|dist|scripts)\//.test(to)).map(show)).toEqual([]);
  });

  it('are entered through their index.ts', () => {
    const wrong = imports.filter(ours).filter(({ from, to }) => {
      const room = roomOf(to);
      return room !== roomOf(from) && closed.has(room) && to !== `src/${room}/index.ts`;
    });
    expect(wrong.map(show)).toEqual([]);
  });

  it('the command line knows the library by its public face', () => {
    const wrong = imports.filter(ours).filter(({ from, to }) => {
      // The version and the tables of choices, so that --version and --help need not load the library.
      return roomOf(from) === 'cli' && !['cli', 'index', 'errors'].includes(roomOf(to)) && !cliMayImport.test(to);
    });
    expect(wrong.map(show)).toEqual([]);
  });

  it('tables of choices import only each other', () => {
    const choices = imports.filter(({ from }) => from.startsWith('src/graph/choices/'));
    expect(choices.length).toBeGreaterThan(0);
    expect(choices.filter(({ to }) => !to.startsWith('src/graph/choices/')).map(show)).toEqual([]);
  });

  it('passes know neither protobuf nor files', () => {
    const wrong = imports.filter(({ from, to }) => {
      if (roomOf(from) !== 'passes') return false;
      if (!ours({ from, to })) return to.startsWith('node:');
      return ['proto', 'formats'].includes(roomOf(to)) && !passesMayImport.has(to);
    });
    expect(wrong.map(show)).toEqual([]);
  });

  it('the graph knows neither packages nor the system', () => {
    const wrong = imports.filter((i) => ['graph', 'errors'].includes(roomOf(i.from)) && !ours(i));
    expect(wrong.map(show)).toEqual([]);
  });
});

describe('packages', () => {
  it('stay in their rooms', () => {
    const wrong = imports.filter(({ from, to }) => {
      const home = homes[packageOf(to)];
      return !to.startsWith('src/') && home !== undefined && !home.includes(roomOf(from));
    });
    expect(wrong.map(show)).toEqual([]);
  });

  it('are the dependencies of package.json, no more and no less', () => {
    const { dependencies }: { dependencies: Record<string, string> } = JSON.parse(
      readFileSync(join(root, 'package.json'), 'utf8'),
    );
    const used = imports.filter((i) => !ours(i) && !i.to.startsWith('node:')).map((i) => packageOf(i.to));
    expect([...new Set(used)].sort()).toEqual(Object.keys(dependencies).sort());
  });

  it('ONNX Runtime is loaded on first use: importing the library or the command line does not load it', async () => {
    await import('../../src/index.ts');
    for (const file of files.filter((f) => f.startsWith('src/cli/') && basename(f) !== 'bin.ts')) {
      await import(join(root, file));
    }
    // The native libraries that this process has loaded.
    if (process.report === undefined) return;
    Object.assign(process.report, { excludeNetwork: true });
    const { sharedObjects }: { sharedObjects?: string[] } = JSON.parse(JSON.stringify(process.report.getReport()));
    expect(sharedObjects?.filter((so) => so.includes('onnxruntime'))).toEqual([]);
  });
});

describe('folders', () => {
  it('are stages: src/ itself holds the public face, the errors and the version', () => {
    expect(files.filter((f) => dirname(f) === 'src')).toEqual(rootFiles);
  });

  it(`hold at most ${mostFiles} files, but for tables of one family`, () => {
    const counts = new Map<string, number>();
    for (const f of files) counts.set(dirname(f), (counts.get(dirname(f)) ?? 0) + 1);
    expect([...counts].filter(([folder, n]) => n > mostFiles && !families.has(folder))).toEqual([]);
  });
});

describe('files', () => {
  it('have no default export and are no utils', () => {
    expect(files.filter((f) => /\/(utils?|helpers?)\.ts$/.test(f))).toEqual([]);
    expect([...texts].filter(([, text]) => /^export default\b/m.test(text)).map(([f]) => f)).toEqual([]);
  });

  it('have at most 300 lines, or say why at their head', () => {
    const long = [...texts].filter(([, text]) => text.split('\n').length - 1 > 300);
    const silent = long.filter(([, text]) => !/^\/\*\*(?:(?!\*\/)[\s\S])*Longer than 300 lines because/.test(text));
    expect(silent.map(([f, text]) => `${f}: ${text.split('\n').length - 1}`)).toEqual([]);
  });

  it('name no path of one machine', () => {
    const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 })
      .split('\0')
      .filter((f) => f !== '' && !/\.(onnx|npz|safetensors|bin|png)$|^package-lock\.json$/.test(f))
      .filter((f) => existsSync(join(root, f)));
    // Home folders and build folders; written apart so that this file does not find itself.
    const machine = new RegExp(
      ['work', 'root', 'home', 'Users', 'tmp/bash'].map((d) => `(?<![\\w.)}\\]])/${d}[/_]`).join('|'),
    );
    const wrong = tracked.flatMap((f) =>
      readFileSync(join(root, f), 'utf8')
        .split('\n')
        .flatMap((line, i) => (machine.test(line) ? [`${f}:${i + 1}: ${line.trim().slice(0, 100)}`] : [])),
    );
    expect(wrong).toEqual([]);
  });
});
