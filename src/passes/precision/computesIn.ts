/** The compute type of MatMuls with rounded weights, for each execution provider. */
import type { HalfType } from '../../graph/rounding.ts';
import type { Target } from '../common/target.ts';

/**
 * The compute type of MatMuls with weights of this type. The CPU provider has no bfloat16 MatMul and casts around a
 * float16 one: there the weight is cast instead, which is exact.
 */
export function computesIn(type: HalfType, target: Target): HalfType | 'float32' {
  if (type === 'bfloat16') return target === 'cuda' ? type : 'float32';
  return target === 'cpu' ? 'float32' : type;
}

/**
 * Whether activations and gradients are half precision too (optimize/halfActivations.ts), so that MatMuls need no casts
 * of their own.
 */
export const narrowsActivations = (target: Target): boolean => target === 'cuda';
