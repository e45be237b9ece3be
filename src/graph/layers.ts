/**
 * Which operators can hold a layer, and how the two factors of one lie. Shapes are PEFT's (peft/tuners/lora/layer.py), matrices
 * turned so that y = x·A·B reads from left to right.
 */

/**
 * `linear`: A [in, rank], B [rank, out]. `conv`: A [rank, in, kernel…], B [out, rank, 1…]. `embedding`: A [in, rank] holds one row
 * for each entry of the table, B [rank, out].
 */
export type LayerForm = 'linear' | 'conv' | 'embedding';

export interface LayerOp {
  readonly form: LayerForm;
  /** Adapted where nobody says which layers to take; the others only by name. */
  readonly byDefault: boolean;
}

const table = {
  MatMul: { form: 'linear', byDefault: true },
  Gemm: { form: 'linear', byDefault: true },
  MatMulNBits: { form: 'linear', byDefault: true },
  Conv: { form: 'conv', byDefault: false },
  Gather: { form: 'embedding', byDefault: false },
} as const satisfies Readonly<Record<string, LayerOp>>;

export type LayerOpName = keyof typeof table;

const ops: ReadonlyMap<string, LayerOp> = new Map(Object.entries(table));

/** What is known of an operator that a layer names; a product unless the table says otherwise. */
export const layerOp = (op: string): LayerOp => ops.get(op) ?? table.MatMul;

/** The operators that are adapted by default, for messages. */
export const defaultOps: readonly string[] = [...ops].flatMap(([op, o]) => (o.byDefault ? [op] : []));

export interface Sized {
  readonly op: string;
  readonly in: number;
  readonly out: number;
  readonly rank: number;
  /** The window of a convolution. */
  readonly kernel?: readonly number[] | undefined;
}

/** Shapes of A and B as they lie in the flat state. */
export function factorShapes({ op, in: inputs, out, rank, kernel = [] }: Sized): {
  readonly A: readonly number[];
  readonly B: readonly number[];
} {
  if (layerOp(op).form === 'conv') return { A: [rank, inputs, ...kernel], B: [out, rank, ...kernel.map(() => 1)] };
  return { A: [inputs, rank], B: [rank, out] };
}

/** Which axis of A and of B is the rank. */
export const rankAxes = (op: string): { readonly A: number; readonly B: number } =>
  layerOp(op).form === 'conv' ? { A: 0, B: 1 } : { A: 1, B: 0 };

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);
