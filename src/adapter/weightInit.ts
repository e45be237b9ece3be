/**
 * Initial factors that are a part of the weight itself; the rest becomes the base (peft/tuners/lora/layer.py,
 * pissa_init and olora_init).
 */
import { stream } from '../graph/random.ts';
import { approximateSingular, leadingQr, leadingSingular } from './factorize.ts';
import type { StartFactors } from './init.ts';
import type { Weight } from './vectors.ts';

export interface WeightStart {
  /** W [out, in], in the layout of PEFT's Linear. */
  readonly weight: Weight;
  readonly rank: number;
  readonly scale: number;
  readonly seed: number;
  readonly path: string;
}

/**
 * A [in, rank] and B [rank, out] of a linear layer whose base becomes W - scale·(A·B)ᵀ.
 *
 * `pissa` (Meng et al. 2024): for the principal W = U·S·Vᵀ, A = V·sqrt(S/scale) and B = sqrt(S/scale)·Uᵀ.
 * `pissa_niter_N`: the same for an approximation with N rounds of power iteration, as in torch.svd_lowrank. `olora`
 * (Büyükakyüz 2024): W = Q·R gives A = (first rows of R)ᵀ and B = (first columns of Q)ᵀ. A rank beyond min(in, out)
 * leaves the remaining columns zero.
 */
export function weightFactors(
  kind: 'pissa' | 'olora' | `pissa_niter_${number}`,
  { weight, rank, scale, seed, path }: WeightStart,
): StartFactors {
  const [out, inputs] = [weight.rows, weight.columns];
  const A = new Float32Array(inputs * rank);
  const B = new Float32Array(rank * out);
  const put = (k: number, a: Float64Array, b: Float64Array, factor: number): void => {
    a.forEach((x, i) => {
      A[i * rank + k] = x * factor;
    });
    b.forEach((x, j) => {
      B[k * out + j] = x * factor;
    });
  };
  if (kind === 'olora') {
    const { q, r } = leadingQr(weight, rank);
    q.forEach((column, k) => {
      put(k, r[k] ?? new Float64Array(), column, 1);
    });
    return { A, B };
  }
  const random = stream(seed, `${path}.pissa`);
  const { values, left, right } =
    kind === 'pissa'
      ? leadingSingular(weight, rank, random)
      : approximateSingular(weight, rank, Number(kind.slice('pissa_niter_'.length)), random);
  values.forEach((value, k) => {
    put(k, right[k] ?? new Float64Array(), left[k] ?? new Float64Array(), Math.sqrt(value / scale));
  });
  return { A, B };
}
