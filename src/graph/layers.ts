/**
 * The operators that can be adapted, and the shapes of the two factors of a layer. Shapes are PEFT's
 * (peft/tuners/lora/layer.py), with matrices transposed so that y = x·A·B reads from left to right.
 */

/**
 * `linear`: A [in, rank], B [rank, out]. `conv`: A [rank, in, kernel…], B [out, rank, 1…]. `embedding`: A [in, rank]
 * has one row for each entry of the table, B [rank, out].
 */
export type LayerForm = 'linear' | 'conv' | 'embedding';

export interface LayerOp {
  readonly form: LayerForm;
  /** Adapted when no targets are given; the other operators are adapted only by name. */
  readonly byDefault: boolean;
}

const table = {
  MatMul: { form: 'linear', byDefault: true },
  Gemm: { form: 'linear', byDefault: true },
  MatMulNBits: { form: 'linear', byDefault: true },
  Conv: { form: 'conv', byDefault: false },
  Gather: { form: 'embedding', byDefault: false },
  /** com.microsoft's Attention; q, k and v are a layer each. */
  Attention: { form: 'linear', byDefault: false },
} as const satisfies Readonly<Record<string, LayerOp>>;

/** Operators with a packed weight whose facts are those of MatMul. */
type PackedOp = 'DynamicQuantizeMatMul' | 'MatMulBnb4' | 'MatMulInteger' | 'MatMulIntegerToFloat';

export type LayerOpName = keyof typeof table | PackedOp;

const ops: ReadonlyMap<string, LayerOp> = new Map(Object.entries(table));

/** The facts about a layer's operator; those of MatMul unless the table has a row. */
export const layerOp = (op: string): LayerOp => ops.get(op) ?? table.MatMul;

/** The operators that are adapted by default, for messages. */
export const defaultOps: readonly string[] = [...ops].flatMap(([op, o]) => (o.byDefault ? [op] : []));

/** The names of the modules whose weights Attention concatenates: BERT's, those of decoders, and DistilBERT's. */
export const packedModules: readonly (readonly [string, ...string[]])[] = [
  ['query', 'q_proj', 'q_lin'],
  ['key', 'k_proj', 'k_lin'],
  ['value', 'v_proj', 'v_lin'],
];

export interface Lengths {
  readonly in: number;
  readonly out: number;
  readonly rank: number;
  /** The kernel shape of a convolution. */
  readonly kernel?: readonly number[] | undefined;
}

export interface Sized extends Lengths {
  readonly op: string;
}

interface Shapes<R = number> {
  readonly A: readonly (number | R)[];
  readonly B: readonly (number | R)[];
}

/** Shapes of A and B in the flat state. */
export const factorShapes = (layer: Sized): Shapes => formShapes(layerOp(layer.op).form, layer);

/** The same for a known form without an operator; the rank may be a symbol. */
export function formShapes<R>(
  form: LayerForm,
  { in: inputs, out, rank, kernel = [] }: Omit<Lengths, 'rank'> & { readonly rank: R },
): Shapes<R> {
  if (form === 'conv') return { A: [rank, inputs, ...kernel], B: [out, rank, ...kernel.map(() => 1)] };
  return { A: [inputs, rank], B: [rank, out] };
}

/** The axis of A and of B that is the rank. */
export const rankAxes = (op: string): Axes => formAxes(layerOp(op).form);

interface Axes {
  readonly A: 0 | 1;
  readonly B: 0 | 1;
}

export const formAxes = (form: LayerForm): Axes => (form === 'conv' ? { A: 0, B: 1 } : { A: 1, B: 0 });

export interface Factors extends Lengths {
  readonly form: LayerForm;
  readonly A: Float32Array;
  readonly B: Float32Array;
}

/**
 * The matrices whose product is the weight update: A [in·kernel, rank], B [rank, out]. For a convolution that is PEFT's
 * get_delta_weight: a kernel of W is the sum over the rank of B's column times A's kernel.
 */
export function factorMatrices({ form, in: inputs, out, rank, kernel = [], A, B }: Factors): {
  readonly in: number;
  readonly A: Float32Array;
  readonly B: Float32Array;
} {
  const rows = inputs * sizeOf(kernel);
  if (form !== 'conv') return { in: rows, A, B };
  return { in: rows, A: transposed(A, rank, rows), B: transposed(B, out, rank) };
}

/** A new [columns, rows] matrix with the elements of `matrix` [rows, columns]; both are row-major. */
export function transposed(matrix: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(rows * columns);
  const total = out.length;
  let at = 0;
  for (let j = 0; j < columns; j++) for (let i = j; i < total; i += columns) out[at++] = matrix[i] ?? 0;
  return out;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/**
 * The form of the adapted weight, for messages and comparisons: `[in, out]`, for a convolution `[in, out] with kernel
 * 3x3`.
 */
export const weightText = (l: Pick<Factors, 'form' | 'in' | 'out' | 'kernel'>): string =>
  `${l.form === 'embedding' ? 'an embedding ' : ''}[${l.in}, ${l.out}]${l.kernel === undefined ? '' : ` with kernel ${l.kernel.join('x')}`}`;

/** A sentence about the layers that no gradient of a loss reaches, if there are any. */
export function unreachedWarning(output: string, paths: readonly string[], layers: number): string | undefined {
  if (paths.length === 0) return undefined;
  const shown = paths.length > 6 ? [...paths.slice(0, 5), `… ${paths.length - 5} more`] : paths;
  return `the loss on output "${output}" has no gradient for ${paths.length} of ${layers} adapted layers, which stay as they are: ${shown.join(', ')}`;
}
