import { join } from 'node:path';
import { expect, it } from 'vitest';
import { compile, LoraifyError, Trainer } from '../../../src/index.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const pack = join(import.meta.dirname, '../../../fixtures/peft-pack/base.onnx');

it('a graph of operators that only another provider has: the hint says for which one the package was compiled', async () => {
  const { dir, manifest } = await compile(pack, {
    out: join(folder, 'cuda.lora'),
    for: 'cuda',
    precision: 'bf16',
    emit: ['eval', 'train'],
  });
  expect(manifest.for).toBe('cuda');
  const trainer = await Trainer.open(dir, { threads: 1 });
  const failed = async (graph: Promise<unknown>): Promise<LoraifyError> => {
    const error = await graph.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!(error instanceof LoraifyError)) throw new Error('it runs, or fails with another error');
    return error;
  };
  const rows = [{ input_ids: [1, 2], labels: 0 }];
  for (const error of [await failed(trainer.evaluate(rows)), await failed(trainer.prepareFit(rows))]) {
    expect(error.code).toBe('RUNTIME_FAILED');
    expect(error.message).toContain('Could not find an implementation');
    expect(error.hint).toBe(
      'the package is compiled --for cuda: run it with --ep cuda, or compile again with --for cpu',
    );
  }
  await trainer.close();
});
