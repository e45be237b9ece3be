import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createFile, createFolder, recover } from '../../src/emit/index.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const fill =
  (content: string) =>
  (folder: string): void => {
    writeFileSync(join(folder, 'loraify.json'), content);
    mkdirSync(join(folder, 'adapter'));
  };

const content = (folder: string): string => readFileSync(join(folder, 'loraify.json'), 'utf8');
const code = (c: string) => expect.objectContaining({ code: c });

describe('a folder', () => {
  it('is there whole, with folders above it', async () => {
    const root = temporaryFolder();
    const target = join(root, 'a', 'b', 'model.lora');
    const made = await createFolder(target, {}, (folder) => {
      fill('1')(folder);
      return 7;
    });
    expect(made).toBe(7);
    expect(readdirSync(join(root, 'a', 'b'))).toEqual(['model.lora']);
    expect(readdirSync(target).sort()).toEqual(['adapter', 'loraify.json']);
  });

  it('leaves nothing when it cannot be built', async () => {
    const root = temporaryFolder();
    const fail = (f: string): void => {
      fill('1')(f);
      throw new Error('half way');
    };
    await expect(createFolder(join(root, 'x', 'model.lora'), {}, fail)).rejects.toThrow('half way');
    expect(readdirSync(root)).toEqual([]);
    mkdirSync(join(root, 'keep'));
    writeFileSync(join(root, 'keep', 'loraify.json'), 'old');
    await expect(createFolder(join(root, 'keep'), { force: true }, fail)).rejects.toThrow('half way');
    expect(content(join(root, 'keep'))).toBe('old');
    expect(readdirSync(root)).toEqual(['keep']);
  });

  it('replaces only with force, and only what is ours', async () => {
    const root = temporaryFolder();
    const target = join(root, 'p');
    const make = (force: boolean, protect: string[] = []) => createFolder(target, { force, protect }, fill('new'));
    mkdirSync(target);
    await expect(make(false)).rejects.toThrow(code('TARGET_EXISTS'));
    await make(true);
    await expect(make(false)).rejects.toThrow(code('TARGET_EXISTS'));
    writeFileSync(join(target, 'loraify.json'), 'old');
    writeFileSync(join(target, 'weights.bin'), 'x');
    await make(true);
    expect(content(target)).toBe('new');
    expect(readdirSync(target).sort()).toEqual(['adapter', 'loraify.json']);
    expect(readdirSync(root)).toEqual(['p']);

    writeFileSync(join(target, 'model.onnx'), 'x');
    await expect(make(true, [join(target, 'model.onnx')])).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    await expect(make(true, [target])).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    symlinkSync(join(target, 'model.onnx'), join(root, 'link.onnx'));
    await expect(make(true, [join(root, 'link.onnx')])).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    rmSync(join(target, 'loraify.json'));
    await expect(make(true)).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    rmSync(target, { recursive: true });
    writeFileSync(target, 'a file');
    await expect(make(false)).rejects.toThrow(code('TARGET_EXISTS'));
    await expect(make(true)).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    rmSync(target);
    symlinkSync(root, target);
    await expect(make(true)).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    expect(readFileSync(join(root, 'link.onnx'), { flag: 'a+' })).toBeDefined();
  });

  it('is put right after a crash between the renames', async () => {
    const root = temporaryFolder();
    const target = join(root, 'p');
    const old = `${target}.old`;
    const crashed = (there: boolean): void => {
      for (const f of [target, old]) rmSync(f, { recursive: true, force: true });
      mkdirSync(old);
      fill('old')(old);
      writeFileSync(join(old, '.loraify-replaced'), '');
      if (!there) return;
      mkdirSync(target);
      fill('new')(target);
    };
    crashed(false);
    recover(target);
    expect(content(target)).toBe('old');
    expect(readdirSync(root)).toEqual(['p']);
    expect(readdirSync(target).sort()).toEqual(['adapter', 'loraify.json']);
    crashed(true);
    recover(target);
    expect(content(target)).toBe('new');
    expect(readdirSync(root)).toEqual(['p']);
    crashed(false);
    await expect(createFolder(target, {}, fill('third'))).rejects.toThrow(code('TARGET_EXISTS'));
    crashed(true);
    await createFolder(target, { force: true }, fill('third'));
    expect(content(target)).toBe('third');
    expect(readdirSync(root)).toEqual(['p']);
  });

  it('leaves a copy alone that a user called .old', async () => {
    const root = temporaryFolder();
    const target = join(root, 'p');
    await createFolder(target, {}, fill('1'));
    renameSync(target, `${target}.old`);
    await createFolder(target, {}, fill('2'));
    await expect(createFolder(target, { force: true }, fill('3'))).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    expect([content(target), content(`${target}.old`)]).toEqual(['2', '1']);
    rmSync(target, { recursive: true });
    recover(target, true);
    expect(content(target)).toBe('1');
  });

  it('clears away what a killed process left, not what a running one builds', async () => {
    const root = temporaryFolder();
    const dead = Number(execFileSync(process.execPath, ['-e', 'console.log(process.pid)'], { encoding: 'utf8' }));
    const running = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
    mkdirSync(join(root, `.p.loraify-${dead}-1`));
    mkdirSync(join(root, `.p.loraify-${running.pid}-1`));
    mkdirSync(join(root, `.q.loraify-${dead}-1`));
    await createFolder(join(root, 'p'), {}, fill('1'));
    running.kill();
    expect(readdirSync(root).sort()).toEqual([`.p.loraify-${running.pid}-1`, `.q.loraify-${dead}-1`, 'p'].sort());
  });

  it('a place that cannot be written is said so', async () => {
    const root = temporaryFolder();
    writeFileSync(join(root, 'file'), '');
    await expect(createFolder(join(root, 'file', 'p'), {}, fill('1'))).rejects.toThrow(code('WRITE_FAILED'));
    if (process.getuid?.() === 0) return;
    chmodSync(root, 0o500);
    await expect(createFolder(join(root, 'p'), {}, fill('1'))).rejects.toThrow(code('WRITE_FAILED'));
    chmodSync(root, 0o700);
  });
});

describe('a file', () => {
  const write =
    (text: string, ...more: readonly string[]) =>
    (path: string): void => {
      writeFileSync(path, text);
      for (const m of more) writeFileSync(`${path}${m}`, text);
    };

  it('and its companions are there whole', async () => {
    const root = temporaryFolder();
    const target = join(root, 'm.onnx');
    await createFile(target, {}, write('1', '.data'));
    expect(readdirSync(root).sort()).toEqual(['m.onnx', 'm.onnx.data']);
    await expect(createFile(target, {}, write('2'))).rejects.toThrow(code('TARGET_EXISTS'));
    await createFile(target, { force: true }, write('2', '.data'));
    expect(readFileSync(`${target}.data`, 'utf8')).toBe('2');
    rmSync(target);
    await expect(createFile(target, {}, write('3', '.data'))).rejects.toThrow(code('TARGET_EXISTS'));
    expect(readdirSync(root)).toEqual(['m.onnx.data']);
    expect(existsSync(target)).toBe(false);
  });

  it('never replaces what it must not', async () => {
    const root = temporaryFolder();
    const target = join(root, 'm.onnx');
    writeFileSync(target, 'source');
    const make = (options: object) => createFile(target, { force: true, ...options }, write('1'));
    await expect(make({ protect: [target] })).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    await expect(make({ protect: [root] })).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    await expect(make({ sameKind: () => false })).rejects.toThrow(code('TARGET_NOT_REPLACEABLE'));
    expect(readFileSync(target, 'utf8')).toBe('source');
    const fail = (path: string): void => {
      write('1', '.data')(path);
      throw new Error('half way');
    };
    await expect(createFile(target, { force: true }, fail)).rejects.toThrow('half way');
    expect(readdirSync(root)).toEqual(['m.onnx']);
    await make({});
    expect(readFileSync(target, 'utf8')).toBe('1');
  });
});
