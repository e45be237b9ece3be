/** Finds the rounded weight before the Cast that `--precision` inserts. */
import type { Value } from '../../graph/model.ts';
import { isHalf } from '../common/computeType.ts';

export const storedRule = 'half/weights';

/** The stored weight that a cast of the compiler converts to float32. */
export function storedBehind(v: Value | undefined): Value | undefined {
  const { producer } = v ?? {};
  const [half] = producer?.inputs ?? [];
  const ours = producer?.op === 'Cast' && producer.metadata.get('loraify.rule') === storedRule;
  return ours && half?.tensor !== undefined && isHalf(half.dtype) ? half : undefined;
}
