import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readNpz } from '../../../src/formats/npz.ts';
import { elements } from '../../../src/formats/rawTensor.ts';
import { compile, Trainer } from '../../../src/index.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const pack = join(import.meta.dirname, '../../../fixtures/peft-pack');
const expected: { losses: number[]; grad_norms: number[]; optimizer: { lr: number; weight_decay: number } } =
  JSON.parse(readFileSync(join(pack, 'expected.json'), 'utf8'));

interface TextRow {
  readonly input_ids: bigint[];
  readonly attention_mask: bigint[];
  readonly labels: bigint;
}

/** The rows of one batch of the pack. */
function batchRows(index: number): TextRow[] {
  const arrays = readNpz(join(pack, 'batches.npz'), (name) => name.startsWith(`b${index}/`));
  const column = (name: string): bigint[][] => {
    const tensor = arrays.get(`b${index}/${name}`);
    if (tensor === undefined) throw new Error(`no ${name}`);
    const values = Array.from(elements(tensor), BigInt);
    const [rows = 0, width = 1] = tensor.shape;
    return Array.from({ length: rows }, (_, i) => values.slice(i * width, (i + 1) * width));
  };
  const [ids, mask, labels] = [column('input_ids'), column('attention_mask'), column('labels')];
  return ids.map((row, i) => ({ input_ids: row, attention_mask: mask[i] ?? [], labels: labels[i]?.[0] ?? 0n }));
}

let dir = '';
beforeAll(async () => {
  ({ dir } = await compile(join(pack, 'base.onnx'), {
    adapter: join(pack, 'init'),
    maxGradNorm: 0,
    weightDecay: expected.optimizer.weight_decay,
    out: join(folder, 'text.lora'),
  }));
});

describe('a text classifier', () => {
  it('takes the ten steps that PyTorch + PEFT took', async () => {
    const trainer = await Trainer.open(dir);
    for (const [i, loss] of expected.losses.entries()) {
      const rows = batchRows(i);
      const options = { steps: 1, batchSize: rows.length, shuffle: false, learningRate: expected.optimizer.lr };
      for await (const step of trainer.fit(rows, options)) {
        // Two float32 implementations; see expected.json, f32_vs_f64.
        expect(Math.abs(step.loss - loss) / loss).toBeLessThan(1e-4);
        const norm = expected.grad_norms[i] ?? 0;
        expect(Math.abs(step.gradNorm - norm) / norm).toBeLessThan(1e-4);
      }
    }
    expect((await trainer.getState()).step).toBe(10);
    await trainer.close();
  });

  it('pads rows of unequal length; a row gives the same in any company', async () => {
    const rows = batchRows(0).map((row, i) => {
      const length = row.input_ids.length - (i % 3);
      return {
        input_ids: row.input_ids.slice(0, length),
        attention_mask: row.attention_mask.slice(0, length),
        labels: 1n,
      };
    });
    const trainer = await Trainer.open(dir);
    const together = await trainer.evaluate(rows, { batchSize: rows.length });
    const alone = await trainer.evaluate(rows, { batchSize: 1 });
    // Masked positions add exp(-large) = 0; sums run in another order.
    expect(Math.abs(together.loss - alone.loss)).toBeLessThan(1e-5);
    const many = await trainer.predict(rows, { batchSize: rows.length });
    const single = await trainer.predict(rows, { batchSize: 1 });
    for (let i = 0; i < rows.length; i++) {
      const [a, b] = [many, single].map((p) => Array.from(p.row(i).logits?.data ?? [], Number));
      expect(a).toHaveLength(4);
      for (const [k, x] of (a ?? []).entries()) expect(x).toBeCloseTo(b?.[k] ?? Number.NaN, 5);
    }
    await trainer.close();
  });

  it('counts labels with the ignore index for nothing, and knows the weight without a graph that says it', async () => {
    const rows = batchRows(0).map((row, i) => ({ ...row, labels: i % 2 === 0 ? row.labels : -100n }));
    const counted = rows.filter(({ labels }) => labels !== -100n).length;
    const trainer = await Trainer.open(dir);
    expect(await trainer.evaluate(rows)).toMatchObject({ weight: counted, examples: rows.length });
    // Through the Scan the loss of gathered batches is weighted here, through the halves by grad.onnx.
    const how = { steps: 1, batchSize: 2, gradAccum: rows.length / 2, shuffle: false, learningRate: 0 };
    const losses: number[] = [];
    for (const stepsPerRun of [1, 2]) {
      for await (const step of trainer.fit(rows, { ...how, stepsPerRun })) losses.push(step.loss);
    }
    expect(losses[0]).toBe(losses[1]);
    await trainer.close();
  });
});
