/** One step of a random graph: an operator on values that are there, in its domain. */
import type { OpKey } from '../../../src/graph/operators.ts';
import type { Draft, Floats } from './draft.ts';

export interface Step {
  /** Operators that it makes. */
  readonly ops: readonly OpKey[];
  /** Where ONNX Runtime's CPU provider has kernels for one type only. */
  readonly only?: Floats;
  /** Lowest operator set, and the first one for which ONNX Runtime 1.30 has no kernel. */
  readonly since?: number;
  readonly before?: number;
  /** Puts its results into the draft; nothing where it does not fit what is there. */
  readonly make: (d: Draft) => void;
}
