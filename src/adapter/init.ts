/** How A and B start: one of them at zero, so that an untrained adapter changes nothing. */
import { factorShapes, layerOp, type Sized, sizeOf } from '../graph/layers.ts';
import { stream } from '../graph/random.ts';

export const initKinds = ['kaiming', 'kaiming-rank', 'gaussian'] as const;
export type InitKind = (typeof initKinds)[number];

/**
 * A and B of a layer, row-major float32 in the shapes of graph/layers.ts. Keyed by (seed, path), so one more layer changes no other
 * layer's start. B is zero and A random, except that an embedding's A is zero and its B N(0, 1), as torch starts an Embedding.
 *
 * `kaiming`: U(±1/sqrt(fan in)), which is torch's kaiming_uniform_(a = sqrt 5) on PEFT's [rank, in] tensor; the fan of a
 * convolution counts its window. `kaiming-rank`: U(±1/sqrt(rank)), the same call on a tensor stored [in, rank] as the textbook
 * LoRALayer has it. `gaussian`: N(0, 1/rank), the standard deviation of PEFT's init_lora_weights="gaussian"
 * (peft/tuners/lora/layer.py, reset_lora_parameters).
 */
export function initialFactors(
  kind: InitKind,
  layer: Sized,
  seed: number,
  path: string,
): { readonly A: Float32Array<ArrayBuffer>; readonly B: Float32Array<ArrayBuffer> } {
  const shapes = factorShapes(layer);
  const [A, B] = [new Float32Array(sizeOf(shapes.A)), new Float32Array(sizeOf(shapes.B))];
  if (layerOp(layer.op).form === 'embedding') {
    const random = stream(seed, `${path}.lora_B`);
    for (let i = 0; i < B.length; i++) B[i] = random.normal();
    return { A, B };
  }
  const random = stream(seed, `${path}.lora_A`);
  const { rank } = layer;
  if (kind === 'gaussian') {
    for (let i = 0; i < A.length; i++) A[i] = random.normal() / rank;
    return { A, B };
  }
  const bound = 1 / Math.sqrt(kind === 'kaiming' ? A.length / rank : rank);
  for (let i = 0; i < A.length; i++) A[i] = (2 * random.uniform() - 1) * bound;
  return { A, B };
}
