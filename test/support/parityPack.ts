/** A parity pack: a base model and what PyTorch + PEFT computed on it. Format: fixtures/peft-pack/README.md. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tensor } from 'onnxruntime-node';
import { z } from 'zod';
import { type PeftAdapter, readPeft } from '../../src/adapter/index.ts';
import { readNpz } from '../../src/formats/npz.ts';
import { elements, type RawTensor, toFloat32 } from '../../src/formats/rawTensor.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';

const schema = z.object({
  loss: z.object({ name: z.string(), ignore_index: z.number().optional() }),
  optimizer: z.object({ lr: z.number(), weight_decay: z.number() }),
  steps: z.number(),
  losses: z.array(z.number()),
  grad_norms: z.array(z.number()),
});

export interface Pack {
  readonly expected: z.infer<typeof schema>;
  /** Model inputs and labels of each step. */
  readonly batches: readonly Readonly<Record<string, Tensor>>[];
  /** Gradients at step 0 by PEFT key, as stored: lora_A [r, in], lora_B [out, r]. */
  readonly grads0: ReadonlyMap<string, RawTensor>;
  readonly init: PeftAdapter;
  readonly final: PeftAdapter;
  readonly logits: ReadonlyMap<string, Float32Array>;
}

/** `folder` holds the results, `base` the model and, where `data` does not, the batches (variants share them with their pack). */
export function readPack(folder: string, base = folder, data = base): Pack {
  const expected = schema.parse(JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')));
  const arrays = readNpz(join(data, 'batches.npz'));
  const batches = Array.from({ length: expected.steps }, (_, i) => {
    const prefix = `b${i}/`;
    const own = [...arrays].filter(([name]) => name.startsWith(prefix));
    return Object.fromEntries(own.map(([name, t]) => [name.slice(prefix.length), ortTensor(t)]));
  });
  const grads = openSafetensors(join(folder, 'grads0.safetensors'));
  const grads0 = new Map(
    [...grads.tensors.keys()].flatMap((k) => {
      const tensor = grads.read(k);
      return tensor === undefined ? [] : [[k, tensor] as const];
    }),
  );
  grads.close();
  const logits = new Map([...readNpz(join(folder, 'merged_logits.npz'))].map(([k, t]) => [k, toFloat32(t)]));
  return {
    expected,
    batches,
    grads0,
    init: readPeft(join(folder, 'init')),
    final: readPeft(join(folder, 'final')),
    logits,
  };
}

export function ortTensor(t: RawTensor): Tensor {
  const data = elements(t);
  if (data instanceof BigInt64Array) return new Tensor('int64', data, t.shape);
  if (data instanceof Float32Array) return new Tensor('float32', data, t.shape);
  throw new Error(`a batch of ${t.dtype}`);
}
