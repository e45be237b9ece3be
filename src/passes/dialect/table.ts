/**
 * The compiler's own dialect: operators of the domain `loraify`, which exist between passes and never in a file. Rows
 * as in the operator table (graph/operators.ts). Most stay until `lower/`; those that carry a value are gone when the
 * gradients are there.
 */
import type { RowAttrs, RowInputs, RowOutputs } from '../../graph/attributes.ts';
import { float, int, type OpRow, required, str } from '../../graph/operatorRow.ts';
import { operatorRows } from '../../graph/operators.ts';
import type { internalDomain } from '../common/internalDomain.ts';

interface DialectRow extends OpRow {
  /** The node belongs to a layer (`Node.layer`), which has its scale and rank. */
  readonly layered?: true;
  /** The input that the node passes through; its gradient reads the others. */
  readonly carries?: string;
}

// biome-ignore format: one row per operator
export const dialect = {
  /**
   * An adapted MatMul or Gemm. As selection makes it: y = x·W + scale·(x·A)·B + C, with W·x in place of x·W where
   * `side` is 1. `base` is the operator it was and transA, transB, alpha and beta are that operator's; with `flip` 1 W
   * is the transpose of the layer's weight, so the branch is Bᵀ and Aᵀ; `dtype` is the number of y's element type,
   * where it is known. In the training form (canonicalize/adaptedForm.ts), which gradient rules see, x is [..., in], W
   * [in, out], or [out, in] with `transW` 1, A [in, r], B [r, out] and C broadcasts to y [..., out]; A and B have the
   * adapter's type, float32. Without W, C is the output of a base that is a node of its own. `dropped` [rows, in],
   * float32, is what the branch reads in place of x; `keep` is then the share of its elements that are not zero, which
   * the scale makes up for.
   */
  'loraify.Adapted': { kind: 'adapter', layered: true, in: ['x', 'W?', 'A', 'B', 'C?', 'dropped?'], out: ['y'], attrs: { alpha: float(1), base: str('MatMul'), beta: float(1), dtype: int(), flip: int(0), keep: float(), side: int(0), transA: int(0), transB: int(0), transW: int(0) } },
  /**
   * The low-rank branch of a layer whose base stays a node of its own: z = y + scale·branch(x, A, B), of the shape and
   * type of y, the base's output. `base` is the base's operator, whose attributes the node has beside this one;
   * select/layers/ has the branch of each.
   */
  'loraify.Branch': { kind: 'adapter', layered: true, in: ['y', 'x', 'A', 'B'], out: ['z'], attrs: { base: required('str') } },
  /**
   * Adapted float32 products that read the same x [..., in], in their training form: four inputs W, A, B and C (which
   * may be absent) and one output [..., width] a part, `scales` and `widths` one number a part. `transW` as in Adapted,
   * for all.
   */
  'loraify.Joined': { kind: 'adapter', in: ['x', '...parts'], out: ['...outputs'], attrs: { scales: required('floats'), transW: int(0), widths: required('ints') } },
  /**
   * factor·m·x, of the shape and type of x, with a mask m of zeros and ones that depends on (seed, `key`, element)
   * alone. `seed` is an int32 scalar, set when a gradient graph is made. `ratio` is the share of zeros. The axes of
   * `of` before `axis` count the rows of the mask, the others its columns. `again` 1 marks a mask that the backward
   * computes for itself.
   */
  'loraify.Dropout': { kind: 'elementwise', in: ['x', 'seed?', 'of'], out: ['y'], attrs: { again: int(0), axis: required('int'), factor: required('float'), key: required('int'), ratio: required('float') } },
  /** The identity, whose gradient is zero (torch.Tensor.detach). */
  'loraify.Detach': { kind: 'view', in: ['x'], out: ['y'] },
  /**
   * y = h·x·t with t = a + erf(v), v = slope·x and constants a and h; any float type, all of one shape but h, a scalar.
   */
  'loraify.Gelu': { kind: 'elementwise', carries: 'y', in: ['x', 'v', 't', 'y', 'h'], out: ['z'], attrs: { slope: required('float') } },
  /** y = h·x·t with t = 1 + tanh(v), v = slope·x + c·x³; shapes and types as in Gelu. */
  'loraify.GeluTanh': { kind: 'elementwise', carries: 'y', in: ['x', 'v', 't', 'y', 'h'], out: ['z'], attrs: { slope: required('float') } },
  /** y = x·s with s = sigmoid(alpha·x); any float type, all of one shape. */
  'loraify.Silu': { kind: 'elementwise', carries: 'y', in: ['x', 's', 'y'], out: ['z'], attrs: { alpha: required('float') } },
  /** n = c/s with s = sqrt(mean(c²) + epsilon) over the last axis; any float type, s [..., 1]. */
  'loraify.Standardized': { kind: 'normalization', carries: 'n', in: ['c', 'n', 's'], out: ['z'] },
} as const satisfies Record<`${typeof internalDomain}.${string}`, DialectRow>;

export type DialectKey = keyof typeof dialect;
export const isDialectKey = (key: string): key is DialectKey => Object.hasOwn(dialect, key);

/** The rows of all operators that rules are written for: ai.onnx, contributed ones, and the dialect's. */
export const rows = { ...operatorRows, ...dialect } as const;
export type RowKey = keyof typeof rows;
export type InputsOf<O extends RowKey> = RowInputs<(typeof rows)[O]>;
export type OutputsOf<O extends RowKey> = RowOutputs<(typeof rows)[O]>;
export type AttrsOf<O extends RowKey> = RowAttrs<(typeof rows)[O]>;

/** The facts of the dialect's rows alone. */
export const dialectFacts = (key: DialectKey): DialectRow => dialect[key];
