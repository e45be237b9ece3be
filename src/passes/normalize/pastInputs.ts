/** Inputs of attention operators for the keys and values of earlier tokens. */
import type { Node } from '../../graph/model.ts';

export interface PastInputs {
  /** Positions among the inputs. */
  readonly at: readonly number[];
  /** The axis that counts tokens. */
  readonly axis: number;
  /** The first output that returns them; the others follow. */
  readonly out: number;
  /** They may be buffers longer than their content: another input gives the valid size. */
  readonly buffer: boolean;
}

/** https://onnx.ai/onnx/operators/onnx__Attention.html and ONNX Runtime's docs/ContribOperators.md */
const operators: Readonly<Record<string, PastInputs>> = {
  Attention: { at: [4, 5], axis: 2, out: 1, buffer: false },
  'com.microsoft.Attention': { at: [4], axis: 3, out: 1, buffer: false },
  'com.microsoft.MultiHeadAttention': { at: [6, 7], axis: 2, out: 1, buffer: false },
  'com.microsoft.GroupQueryAttention': { at: [3, 4], axis: 2, out: 1, buffer: true },
};

export const pastInputs = ({ op, domain }: Node): PastInputs | undefined =>
  operators[domain === '' ? op : `${domain}.${op}`];
