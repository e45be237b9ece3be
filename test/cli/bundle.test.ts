import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { digitsModel } from '../support/digits.ts';
import { bin } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const cwd = temporaryFolder();
const built = dirname(bin);
const codeName = join('code', `${process.version}-${process.arch}`);

const node = (args: readonly string[]) => spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });

/** Files of a bundle that V8 takes the code of, in a process of its own. */
function ready(bundle: string): string[] {
  const module = JSON.stringify(pathToFileURL(join(built, '../cli/bundle.js')));
  const script = `import { openBundle } from ${module};
    const files = openBundle(${JSON.stringify(bundle)});
    files.load('main.js');
    console.log(JSON.stringify([...files.ready]));`;
  const names: string[] = JSON.parse(node(['--input-type=module', '-e', script]).stdout);
  return names;
}

/** Changes every file of the code. */
const each = (change: (bytes: Buffer) => Uint8Array) => (bundle: string) => {
  const folder = join(bundle, codeName);
  for (const name of readdirSync(folder)) writeFileSync(join(folder, name), change(readFileSync(join(folder, name))));
};

/** A copy of the bundle to spoil, with what it looks for above it. */
function copied(name: string): string {
  const root = join(built, '../..');
  const bundle = join(cwd, name, 'dist/bin');
  cpSync(built, bundle, { recursive: true });
  cpSync(join(root, 'package.json'), join(cwd, name, 'package.json'));
  return bundle;
}

const dryRun = (bundle: string) => node([join(bundle, 'loraify.js'), digitsModel, '-o', 'out', '--dry-run']);

describe('code that V8 made during the build', () => {
  it('is there and is taken', () => {
    expect(ready(built)).toContain('main.js');
  });

  it.each<[string, (bundle: string) => void]>([
    ['is absent', (bundle) => rmSync(join(bundle, 'code'), { recursive: true })],
    ['lacks a file', (bundle) => rmSync(join(bundle, codeName, 'main.js'))],
    ['is cut', each((bytes) => bytes.subarray(0, bytes.length / 2))],
    ['is empty', each(() => Buffer.alloc(0))],
    // V8 11 would run it and crash.
    ['is damaged', each((bytes) => bytes.map((b, i) => (i === Math.floor(bytes.length * 0.7) ? b ^ 0x55 : b)))],
  ])('where it %s, it is not taken and a command does what it does', (how, spoil) => {
    const bundle = copied(how);
    spoil(bundle);
    expect(ready(bundle)).not.toContain('main.js');
    const { status, stdout, stderr } = dryRun(bundle);
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: dryRun(built).stdout, stderr: '' });
  });

  it('of a file that was changed since is not taken', () => {
    const bundle = copied('changed');
    const file = join(bundle, 'main.js');
    const [before, after] = ['LoRA branches and training graphs', 'LoRA branches and TRAINING graphs'];
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(before, after));
    expect(node([join(bundle, 'loraify.js'), '--help']).stdout).toContain(after);
  });

  it('is refused by a V8 with other flags, which makes its own', () => {
    const { status, stdout } = node(['--max-lazy', bin, '--version']);
    expect({ status, stdout }).toMatchObject({ status: 0, stdout: node([bin, '--version']).stdout });
  });
});
