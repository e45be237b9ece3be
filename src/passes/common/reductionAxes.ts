/** The axes of a reduction, in its second input. */
import type { Node } from '../../graph/model.ts';
import { numbersOf } from '../../graph/tensor.ts';

/** The axes of a reduction, where they are constant. */
export function axesOf({ inputs: [, axes] }: Node): readonly number[] | undefined {
  return axes?.tensor === undefined ? undefined : numbersOf(axes.tensor);
}
