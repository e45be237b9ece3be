/** How A starts; B starts at zero, so that an untrained adapter changes nothing. */
import { stream } from '../graph/random.ts';

export const initKinds = ['kaiming', 'kaiming-rank', 'gaussian'] as const;
export type InitKind = (typeof initKinds)[number];

/**
 * A [fanIn, rank], row-major float32. Keyed by (seed, path), so one more layer changes no other layer's start.
 *
 * `kaiming`: U(±1/sqrt(in)), which is torch's kaiming_uniform_(a = sqrt 5) on PEFT's [rank, in] tensor. `kaiming-rank`:
 * U(±1/sqrt(rank)), the same call on a tensor stored [in, rank] as the textbook LoRALayer has it. `gaussian`: N(0, 1/rank), the
 * standard deviation of PEFT's init_lora_weights="gaussian" (peft/tuners/lora/layer.py).
 */
export function initialA(
  kind: InitKind,
  fanIn: number,
  rank: number,
  seed: number,
  path: string,
): Float32Array<ArrayBuffer> {
  const random = stream(seed, `${path}.lora_A`);
  const a = new Float32Array(fanIn * rank);
  if (kind === 'gaussian') {
    for (let i = 0; i < a.length; i++) a[i] = random.normal() / rank;
    return a;
  }
  const bound = 1 / Math.sqrt(kind === 'kaiming' ? fanIn : rank);
  for (let i = 0; i < a.length; i++) a[i] = (2 * random.uniform() - 1) * bound;
  return a;
}
