/** Which type the MatMuls of rounded weights compute in, for each execution provider. */
import type { HalfType } from '../../graph/rounding.ts';
import type { Target } from '../common/target.ts';

/**
 * The type that products with weights of this type compute in. The CPU provider has no product of bfloat16 and casts around one of
 * float16: there the weight is cast instead, which rounds nothing.
 */
export function computesIn(type: HalfType, target: Target): HalfType | 'float32' {
  if (type === 'bfloat16') return target === 'cuda' ? type : 'float32';
  return target === 'cpu' ? 'float32' : type;
}

/** Whether activations and gradients have the half type too (narrow.ts), so that products need no casts of their own. */
export const narrowsActivations = (target: Target): boolean => target === 'cuda';
