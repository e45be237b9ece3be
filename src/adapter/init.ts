/** Initial values of A and B that do not depend on the weight; weightInit.ts has those that do. */
import { isKey } from '../graph/choices/choice.ts';
import { type Init, type InitKind, inits, pissaRounds, type RandomInit } from '../graph/choices/compile.ts';
import { factorShapes, layerOp, type Sized, sizeOf } from '../graph/layers.ts';
import { stream } from '../graph/random.ts';
import { leadingQr } from './factorize.ts';

/** The row of an initialization; `pissa_niter_N` has that of `pissa`. Undefined for an unknown name. */
const rowOf = (init: string): Init | undefined =>
  pissaRounds.is(init) ? inits.pissa : isKey(inits, init) ? inits[init] : undefined;

/**
 * Initializations that subtract A·B from the base weights, so that an adapter is correct only on the changed weights.
 */
export const changesBase = (init: string): init is Exclude<InitKind, RandomInit> => rowOf(init)?.changesBase === true;

/** Initializations in which neither A nor B is zero. */
export const setsBoth = (init: string): boolean => rowOf(init)?.setsBoth === true;

export interface StartFactors {
  readonly A: Float32Array<ArrayBuffer>;
  readonly B: Float32Array<ArrayBuffer>;
}

/**
 * A and B of a layer, row-major float32 in the shapes of graph/layers.ts. Keyed by (seed, path), so one more layer
 * changes no other layer's start. B is zero and A random, except that an embedding's A is zero and its B N(0, 1), as
 * torch starts an Embedding.
 *
 * `kaiming`: U(±1/sqrt(fan in)), which is torch's kaiming_uniform_(a = sqrt 5) on PEFT's [rank, in] tensor; the fan of
 * a convolution counts its window. `kaiming-rank`: U(±1/sqrt(rank)), the same call on a tensor stored [in, rank] as the
 * textbook LoRALayer has it. `gaussian`: N(0, 1/rank), the standard deviation of PEFT's init_lora_weights="gaussian".
 * `orthogonal`: neither is zero, but their product is: A = N(0, 1)·Q_odd/10, B = Q_evenᵀ·N(0, 1)/10 with the rows of a
 * random orthogonal Q, for an even rank. (peft/tuners/lora/layer.py, reset_lora_parameters and orthogonal_init)
 */
export function initialFactors(kind: RandomInit, layer: Sized, seed: number, path: string): StartFactors {
  const shapes = factorShapes(layer);
  const [A, B] = [new Float32Array(sizeOf(shapes.A)), new Float32Array(sizeOf(shapes.B))];
  if (layerOp(layer.op).form === 'embedding') {
    const random = stream(seed, `${path}.lora_B`);
    for (let i = 0; i < B.length; i++) B[i] = random.normal();
    return { A, B };
  }
  if (kind === 'orthogonal') return orthogonalFactors(layer, seed, path);
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

function orthogonalFactors({ in: inputs, out, rank }: Sized, seed: number, path: string): StartFactors {
  const random = stream(seed, `${path}.orthogonal`);
  const square = Float32Array.from({ length: rank * rank }, () => random.normal());
  const { q } = leadingQr({ rows: rank, columns: rank, data: square }, rank);
  /** Element [row, k] of Q. */
  const at = (row: number, k: number): number => q[k]?.[row] ?? 0;
  const A = new Float32Array(inputs * rank);
  const B = new Float32Array(rank * out);
  const half = rank / 2;
  const [a, b] = [stream(seed, `${path}.lora_A`), stream(seed, `${path}.lora_B`)];
  for (let i = 0; i < inputs; i++) {
    const row = Float64Array.from({ length: half }, () => a.normal() / 10);
    for (let k = 0; k < rank; k++) A[i * rank + k] = row.reduce((sum, x, h) => sum + x * at(2 * h, k), 0);
  }
  for (let j = 0; j < out; j++) {
    const row = Float64Array.from({ length: half }, () => b.normal() / 10);
    for (let k = 0; k < rank; k++) B[k * out + j] = row.reduce((sum, x, h) => sum + x * at(2 * h + 1, k), 0);
  }
  return { A, B };
}
