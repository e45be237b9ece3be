/** A new head on a BERT body with the numbers of transformers.Trainer + PEFT (shared/textpacks/text_cls), on tokenized rows. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { toFloat32 } from '../../src/formats/rawTensor.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import { compile, Trainer } from '../../src/index.ts';
import { distance } from '../support/executeGraphs.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const schema = z.object({ losses: z.array(z.number()), grad_norms: z.array(z.number()) });
const rowsSchema = z.array(z.tuple([z.number(), z.array(z.number())]));

/** All tensors of a PEFT directory in the order of their keys. */
function valuesOf(folder: string): Float32Array {
  const file = openSafetensors(join(folder, 'adapter_model.safetensors'));
  try {
    const keys = [...file.tensors.keys()].sort();
    return Float32Array.from(
      keys.flatMap((k) => [...toFloat32(file.read(k) ?? { dtype: 'F32', data: new Uint8Array() })]),
    );
  } finally {
    file.close();
  }
}

describeShared('text_cls', 'textpacks/text_cls', () => {
  it('has the losses of ten steps and the final adapter', async () => {
    const pack = (name: string): string => sharedPath('textpacks/text_cls', name);
    const expected = schema.parse(JSON.parse(readFileSync(pack('expected.json'), 'utf8')));
    const text = readFileSync(join(import.meta.dirname, '../../fixtures/heads/text_cls.rows.json'), 'utf8');
    const rows = rowsSchema.parse(JSON.parse(text)).map(([labels, ids]) => ({
      input_ids: ids,
      attention_mask: ids.map(() => 1),
      token_type_ids: ids.map(() => 0),
      labels,
    }));
    const out = join(temporaryFolder(), 'x.lora');
    const labels = pack('labels.txt');
    const options = { head: 'classification', labels, pooling: 'cls', adapter: pack('init') } as const;
    await compile(pack('base.onnx'), { ...options, emit: ['train', 'eval'], out });
    const trainer = await Trainer.open(out);
    const steps: { loss: number; gradNorm: number }[] = [];
    const plan = { steps: 10, learningRate: 1e-3, batchSize: 8, schedule: 'constant', shuffle: false } as const;
    for await (const { loss, gradNorm } of trainer.fit(rows, plan)) steps.push({ loss, gradNorm });
    const adapter = join(temporaryFolder(), 'adapter');
    await trainer.save(adapter);
    await trainer.close();
    const [losses, norms] = [steps.map((s) => s.loss), steps.map((s) => s.gradNorm)];
    expect(losses).toHaveLength(10);
    for (const [i, loss] of expected.losses.entries()) expect(Math.abs((losses[i] ?? 0) / loss - 1)).toBeLessThan(1e-5);
    for (const [i, norm] of expected.grad_norms.entries())
      expect(Math.abs((norms[i] ?? 0) / norm - 1)).toBeLessThan(1e-4);
    const [ours, theirs, start] = [valuesOf(adapter), valuesOf(pack('final')), valuesOf(pack('init'))];
    const moved = distance(theirs, start) * Math.hypot(...start);
    expect((distance(ours, theirs) * Math.hypot(...theirs)) / moved).toBeLessThan(1e-3);
  });
});
