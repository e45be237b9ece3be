import { appendFileSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { planWeights, splicedSource, writeSkeleton, writeWeights } from '../../src/emit/index.ts';
import { parseFile, parseSource } from '../../src/parser/index.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

async function packed(path: string, drop = false) {
  const folder = temporaryFolder();
  const { model, source } = parseFile(path);
  if (drop) model.graph.initializers.length = 0;
  const plan = planWeights([model], source.externalFiles);
  await writeWeights(plan, folder);
  const skeleton = writeSkeleton(source, plan, folder);
  source.close();
  return { folder, skeleton };
}

describeShared('the source put together from a package', ['models', 'parity'], () => {
  const paths = ['models', 'parity'].flatMap((part) =>
    readdirSync(sharedPath(part), { recursive: true, encoding: 'utf8' })
      .filter((f) => f.endsWith('.onnx') && !/corrupt|evil|no_opset|duplicate_opset/.test(f))
      .map((f) => join(sharedPath(part), f)),
  );
  for (const path of paths)
    it(`equals ${path.slice(sharedPath().length + 1)}`, async () => {
      for (const drop of [false, true]) {
        const { folder, skeleton } = await packed(path, drop);
        const source = splicedSource(folder, skeleton);
        const original = readFileSync(path);
        expect(source.size).toBe(original.length);
        expect(Buffer.compare(source.read(0, source.size), original)).toBe(0);
        // Across the seams, in pieces that fit no part.
        for (let at = 0; at < source.size; at += 10007)
          expect(
            Buffer.compare(source.read(at, Math.min(10007, source.size - at)), original.subarray(at, at + 10007)),
          ).toBe(0);
        const { model } = parseSource(source, folder);
        expect(model.graph.nodes.length).toBeGreaterThan(0);
        source.close();
      }
    });

  it('leaves the weights out of the skeleton', async () => {
    const { folder, skeleton } = await packed(sharedPath('models', 'aud_fsmn_vad_offline.onnx'));
    expect(skeleton.splices.length).toBe(16);
    expect(statSync(join(folder, 'source.skeleton')).size).toBeLessThan(30_000);
  });

  it('is refused where the package was changed', async () => {
    const { folder, skeleton } = await packed(sharedPath('parity', 'mlp_classifier', 'base.onnx'));
    const [first] = skeleton.splices;
    if (first === undefined) throw new Error('no splice');
    for (const bad of [{ file: '../weights.bin' }, { file: 'missing.bin' }, { bytes: 2 ** 40 }, { at: 2 ** 40 }])
      expect(() => splicedSource(folder, { ...skeleton, splices: [{ ...first, ...bad }] })).toThrow(
        expect.objectContaining({ code: 'BAD_PACKAGE' }),
      );
    appendFileSync(join(folder, 'source.skeleton'), 'x');
    expect(() => splicedSource(folder, skeleton)).toThrow(expect.objectContaining({ code: 'BAD_PACKAGE' }));
  });
});
