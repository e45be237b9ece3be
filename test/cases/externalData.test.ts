/** Data files where ONNX Runtime finds them: below the model's folder, and behind links as in the Hub's cache. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, linkSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { readManifest } from '../../src/formats/manifest.ts';
import { caseFolder, cases } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

/** A model of one MatMul of 8 x 8 whose weight is at `location`; both names in the file have 18 characters. */
function modelAt(location: string): Uint8Array {
  const bytes = readFileSync(join(cases, 'external-data-subfolder/a/model.onnx'));
  const name = location.padEnd(18, 'x');
  if (name.length !== 18) throw new Error(`"${location}" is longer than 18 characters`);
  const own = 'weights/model.data';
  for (let at = bytes.indexOf(own); at >= 0; at = bytes.indexOf(own)) bytes.write(name, at);
  return bytes;
}

const data = readFileSync(join(cases, 'external-data-subfolder/a/weights/model.data'));

/** Compiles a model, checks its package in ONNX Runtime and merges it. Returns the data files of the manifest. */
async function compiled(cwd: string, model: string): Promise<readonly string[] | undefined> {
  expect(await loraify([model, '-r', '2', '--quiet', '-o', 'p'], { cwd })).toMatchObject({ status: 0, stderr: '' });
  const dir = join(cwd, 'p');
  for (const graph of ['model', 'train', 'eval', 'grad'])
    await InferenceSession.create(join(dir, `${graph}.onnx`), { logSeverityLevel: 4 });
  // The merge reads the source from the package, under the names that it uses, and verifies the result.
  const merged = await loraify(['merge', 'p', '--adapter', 'start', '-o', 'm.onnx', '--json'], { cwd });
  expect(merged).toMatchObject({ status: 0 });
  expect(JSON.parse(merged.stdout)).toMatchObject({
    error: 0,
    warnings: [expect.stringContaining('the adapter is the start of the package')],
  });
  const { data: files } = readManifest(dir).source;
  for (const f of files ?? []) expect(lstatSync(join(dir, f)).isFile()).toBe(true);
  return files;
}

async function output(file: string): Promise<number[]> {
  const session = await InferenceSession.create(file, { logSeverityLevel: 4 });
  const x = new Tensor(
    'float32',
    Float32Array.from({ length: 4 }, (_, i) => Math.sin(i)),
    [1, 4],
  );
  const [name] = session.inputNames;
  const results = await session.run({ [name ?? '']: x });
  return Array.from(Object.values(results)[0]?.data as Float32Array);
}

it('hub-cache-symlinks: model and data are links into one folder of blobs', async () => {
  const cwd = caseFolder('hub-cache-symlinks');
  execFileSync('sh', ['setup.sh'], { cwd });
  const model = 'hub/models--org--m/snapshots/abc/onnx/model.onnx';
  expect(await compiled(cwd, model)).toEqual(['model.onnx_data']);
  expect(await output(join(cwd, 'm.onnx'))).toEqual(await output(join(cwd, model)));
});

it('external-data-subfolder: data in a folder below the model', async () => {
  const cwd = caseFolder('external-data-subfolder');
  expect(await compiled(cwd, 'a/model.onnx')).toEqual(['weights/model.data']);
  expect(await output(join(cwd, 'm.onnx'))).toEqual(await output(join(cwd, 'a/model.onnx')));
});

describe('locations', () => {
  for (const [location, file, name] of [
    ['./././model-1.data', 'model-1.data', 'model-1.data'],
    ['./w//./v/./m1.data', 'w/v/m1.data', 'w/v/m1.data'],
    ['w/../model-23.data', 'model-23.data', 'model-23.data'],
    ['../mod/model1.data', 'model1.data', 'model1.data'],
    ['with space/m 1.dat', 'with space/m 1.dat', 'with space/m 1.dat'],
  ] as const)
    it(location, async () => {
      const cwd = temporaryFolder();
      mkdirSync(join(cwd, 'mod/w'), { recursive: true });
      mkdirSync(dirname(join(cwd, 'mod', file)), { recursive: true });
      writeFileSync(join(cwd, 'mod/model.onnx'), modelAt(location));
      writeFileSync(join(cwd, 'mod', file), data);
      expect(await compiled(cwd, 'mod/model.onnx')).toEqual([name]);
    });
});

describe('links', () => {
  const place = (): string => {
    const cwd = temporaryFolder();
    mkdirSync(join(cwd, 'mod/in'), { recursive: true });
    mkdirSync(join(cwd, 'out'));
    writeFileSync(join(cwd, 'mod/model.onnx'), modelAt('model-1234567.data'));
    writeFileSync(join(cwd, 'mod/in/real.data'), data);
    writeFileSync(join(cwd, 'out/real.data'), data);
    return cwd;
  };
  const own = 'mod/model-1234567.data';

  it('a link to another name in the same folder, and a hard link', async () => {
    const soft = place();
    symlinkSync('in/real.data', join(soft, own));
    expect(await compiled(soft, 'mod/model.onnx')).toEqual(['model-1234567.data']);
    const hard = place();
    linkSync(join(hard, 'out/real.data'), join(hard, own));
    expect(await compiled(hard, 'mod/model.onnx')).toEqual(['model-1234567.data']);
  });

  it.each([
    ['a link out of the folder', '../out/real.data'],
    ['a link to a file of the system', '/etc/hostname'],
  ])('%s is refused', async (_, target) => {
    const cwd = place();
    symlinkSync(target, join(cwd, own));
    const { status, stderr } = await loraify(['mod/model.onnx', '-r', '2', '--quiet', '-o', 'p'], { cwd });
    expect([status, stderr]).toEqual([1, expect.stringContaining('error[EXTERNAL_DATA_OUTSIDE]')]);
    expect(stderr).toContain('it leads out of the folder of the model');
  });

  it('of a model that is a link, the data may be beside the link; beside the file, the error names it', async () => {
    const cwd = place();
    mkdirSync(join(cwd, 'links'));
    symlinkSync('../mod/model.onnx', join(cwd, 'links/model.onnx'));
    copyFileSync(join(cwd, 'out/real.data'), join(cwd, own));
    const there = await loraify(['links/model.onnx', '-r', '2', '--quiet', '-o', 'q'], { cwd });
    expect(there.stderr).toMatch(/EXTERNAL_DATA_BOUNDS[\s\S]*the model is a link; give the path .*mod\/model\.onnx/);
    copyFileSync(join(cwd, own), join(cwd, 'links/model-1234567.data'));
    expect(await compiled(cwd, 'links/model.onnx')).toEqual(['model-1234567.data']);
  });

  it('a name that differs in letter case is named', async () => {
    const cwd = place();
    writeFileSync(join(cwd, 'mod/Model-1234567.DATA'), data);
    const { stderr } = await loraify(['mod/model.onnx', '-r', '2', '--quiet', '-o', 'p'], { cwd });
    expect(stderr).toContain('rename "Model-1234567.DATA" to "model-1234567.data"');
  });
});
