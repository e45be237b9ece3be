/** Focal losses in a package: parameters in the manifest, training, metrics, and what is refused. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compile, Trainer } from '../../src/index.ts';
import { coded } from '../support/coded.ts';
import { digits, digitsModel } from '../support/digits.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

describe('a package', () => {
  it('names gamma in the manifest, trains, and has the metrics of classes', async () => {
    const out = join(temporaryFolder(), 'focal.lora');
    const { manifest } = await compile(digitsModel, { loss: 'focal', gamma: 1.5, out });
    expect(manifest.loss).toMatchObject({ kind: 'focal', classes: 10, params: { gamma: 1.5 } });
    const trainer = await Trainer.open(out);
    const rows = digits(0, 64);
    const before = await trainer.evaluate(rows);
    expect(Object.keys(before)).toEqual(['loss', 'weight', 'examples', 'accuracy', 'f1']);
    for await (const _ of trainer.fit(rows, { steps: 20, learningRate: 0.01 }));
    expect((await trainer.evaluate(rows)).loss).toBeLessThan(before.loss / 2);
    await trainer.close();
  });

  it('refuses parameters of other losses, also where the loss is chosen by the model', async () => {
    const out = join(temporaryFolder(), 'refused.lora');
    const refused = expect.toSatisfy(coded('BAD_OPTION', '--focal-alpha', 'cross-entropy', 'auto'));
    await expect(compile(digitsModel, { focalAlpha: 0.5, out })).rejects.toThrow(refused);
    const negative = expect.toSatisfy(coded('BAD_OPTION', 'gamma', 'at least 0'));
    await expect(compile(digitsModel, { loss: 'focal', gamma: -1, out })).rejects.toThrow(negative);
  });
});
