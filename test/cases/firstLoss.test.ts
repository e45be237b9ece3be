/**
 * The property of data files: for any rows in any form, the loss is that of the model's own outputs on ONNX Runtime and
 * the rows as the file holds them, or the file is refused with a code.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeModel } from '../../src/emit/index.ts';
import { compile, LoraifyError, Trainer } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';
import {
  classNames,
  encodeRows,
  isOpen,
  isPlain,
  isWrong,
  modelText,
  type RowFile,
  rowFile,
  type SmallModel,
  smallModels,
} from '../support/randomRows.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const runs = 400;

/** The loss of rows, computed from the outputs of the source model. */
async function expectedLoss(
  session: InferenceSession,
  model: SmallModel,
  { x, labels, nan }: RowFile,
): Promise<number> {
  const flat = x.flat();
  const dims = [x.length, model.width];
  const given =
    model.input === 'tokens'
      ? { input_ids: new Tensor('int64', BigInt64Array.from(flat, BigInt), dims) }
      : {
          x: new Tensor(
            'float32',
            Float32Array.from(flat, (n, i) => (nan !== 'none' && i === 0 ? Number.NaN : n)),
            dims,
          ),
        };
  const [output] = Object.values(await session.run(given));
  const values = output?.data instanceof Float32Array ? output.data : new Float32Array();
  const losses = labels.map((label, row) => {
    const scores = [...values.subarray(row * model.outputs, (row + 1) * model.outputs)];
    if (model.task === 'numbers') return ((scores[0] ?? 0) - label) ** 2;
    const most = Math.max(...scores);
    const sum = scores.reduce((all, score) => all + Math.exp(score - most), 0);
    return Math.log(sum) + most - (scores[label] ?? 0);
  });
  return losses.reduce((a, b) => a + b, 0) / losses.length;
}

async function firstStep(trainer: Trainer, file: string, options: Parameters<Trainer['fit']>[1]): Promise<number> {
  for await (const { loss } of trainer.fit(file, { ...options, steps: 1, learningRate: 0, shuffle: false }))
    return loss;
  return Number.NaN;
}

describe.each(smallModels)('$name', (model) => {
  let trainer: Trainer;
  let session: InferenceSession;
  beforeAll(async () => {
    const source = join(folder, `${model.name}.onnx`);
    writeFileSync(source, encodeModel(parseText(modelText(model))));
    const labels = model.hasNames ? { labels: classNames.slice(0, model.outputs) } : {};
    const { dir } = await compile(source, { rank: 1, out: join(folder, `${model.name}.lora`), ...labels });
    trainer = await Trainer.open(dir, { threads: 1 });
    session = await InferenceSession.create(source, { logSeverityLevel: 4 });
  });
  afterAll(() => trainer.close());

  it('computes the loss of the rows, or refuses the file', async () => {
    let count = 0;
    const read = { plain: 0, other: 0 };
    const property = fc.asyncProperty(rowFile(model), fc.boolean(), async (f, isTraining) => {
      const file = join(folder, `${model.name}${count++}${f.extension}`);
      writeFileSync(file, encodeRows(model, f));
      const notices: string[] = [];
      const options = {
        allowNan: f.allowNan,
        batchSize: f.x.length,
        onNotice: (text: string) => void notices.push(text),
        ...(f.labelName === 'y' ? { labelColumn: 'y' } : {}),
      };
      let loss: number;
      try {
        loss = isTraining ? await firstStep(trainer, file, options) : (await trainer.evaluate(file, options)).loss;
      } catch (error) {
        if (!(error instanceof LoraifyError)) throw error;
        expect(error.code).toBe('BAD_DATA');
        expect(error.hint).not.toBe('');
        if (isPlain(model, f)) throw error;
        return;
      }
      expect(isWrong(f)).toBe(false);
      if (isOpen(model, f) && ['.csv', '.tsv'].includes(f.extension)) {
        expect(notices.join('\n')).toContain('"other"');
        return;
      }
      read[isPlain(model, f) ? 'plain' : 'other'] += 1;
      const expected = await expectedLoss(session, model, f);
      expect(Math.abs(loss - expected)).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(expected)));
    });
    await fc.assert(property, { seed: 11, numRuns: runs });
    // The test is not one of refusals.
    expect(read.plain).toBeGreaterThan(runs / 8);
    expect(read.other).toBeGreaterThan(0);
  });
});
