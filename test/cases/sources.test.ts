/** Where models and their data lie: whatever ONNX Runtime loads is read. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compile, merge } from '../../src/index.ts';
import { caseFolder } from '../support/caseFolder.ts';
import { coded } from '../support/coded.ts';

/** Opens all graphs of a package, and merges its start. */
async function works(model: string, out: string): Promise<void> {
  const { manifest } = await compile(model, { rank: 2, out });
  for (const file of Object.values(manifest.graphs).filter((f) => f !== undefined))
    await (await InferenceSession.create(join(out, file), { logSeverityLevel: 4 })).release();
  const { error } = await merge(out, { adapter: 'start', out: `${out}.onnx` });
  expect(error).toBeLessThan(1e-5);
}

describe('external data', () => {
  it("hub-cache-symlinks: links into the blobs of the Hub's cache", async () => {
    const cwd = caseFolder('hub-cache-symlinks');
    execFileSync('sh', ['setup.sh'], { cwd });
    await works(join(cwd, 'hub/models--org--m/snapshots/abc/onnx/model.onnx'), join(cwd, 'p'));
  });

  it('a link that leads out of the folder is refused, with a way out', async () => {
    const cwd = caseFolder('external-data-subfolder');
    mkdirSync(join(cwd, 'b/weights'), { recursive: true });
    writeFileSync(join(cwd, 'b/model.onnx'), readFileSync(join(cwd, 'a/model.onnx')));
    symlinkSync(join(cwd, 'a/weights/model.data'), join(cwd, 'b/weights/model.data'));
    const refused = compile(join(cwd, 'b/model.onnx'), { out: join(cwd, 'p') });
    await expect(refused).rejects.toSatisfy(coded('EXTERNAL_DATA_OUTSIDE', 'it leads out of the folder of the model'));
    expect(existsSync(join(cwd, 'p'))).toBe(false);
  });

  it('external-data-subfolder: data in a folder below the model', async () => {
    const cwd = caseFolder('external-data-subfolder');
    await works(join(cwd, 'a/model.onnx'), join(cwd, 'p'));
  });
});

it('ir-version-14: graphs are written with the IR version that ONNX Runtime reads', async () => {
  const cwd = caseFolder('ir-version-14');
  const out = join(cwd, 'p');
  const { manifest } = await compile(join(cwd, 'model.onnx'), { rank: 2, out });
  for (const file of Object.values(manifest.graphs).filter((f) => f !== undefined))
    await (await InferenceSession.create(join(out, file), { logSeverityLevel: 4 })).release();
});
