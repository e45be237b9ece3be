/** Matrix multiplications, and Einsum. */
import type { Dim, Value } from '../../graph/model.ts';
import { broadcast, broadcastDim } from './dims.ts';
import { dimAt, intAttr, like, out, type Shape, shape, shapeRaw } from './rule.ts';

/** The shape of a MatMul as NumPy defines it: vectors gain an axis that the result lacks. */
export function matmulShape(a: Shape, b: Shape): Shape {
  if (a === undefined || b === undefined || a.length === 0 || b.length === 0) return undefined;
  const batch = broadcast(a.slice(0, -2), b.slice(0, -2)) ?? [];
  return [...batch, ...(a.length > 1 ? [dimAt(a, -2)] : []), ...(b.length > 1 ? [dimAt(b, -1)] : [])];
}

/** The dims with the last two swapped. */
const swapped = (dims: Shape): Shape =>
  dims === undefined || dims.length < 2 ? dims : [...dims.slice(0, -2), dimAt(dims, -1), dimAt(dims, -2)];
const turned = (dims: Shape, flag: number): Shape => (flag === 0 ? dims : swapped(dims));

shapeRaw('MatMulInteger', ({ inputs: [a, b] }) => [out('int32', matmulShape(a?.shape, b?.shape))]);
shapeRaw('QLinearMatMul', ({ inputs }) => [out(inputs[7]?.dtype, matmulShape(inputs[0]?.shape, inputs[3]?.shape))]);

/** Both operands have rank 2, so the result has, whatever else is unknown. */
const gemmShape = (a: Shape, b: Shape, transA: number, transB: number): Dim[] => [
  dimAt(a, transA === 0 ? 0 : 1),
  dimAt(b, transB === 0 ? 1 : 0),
];

shape(['Gemm', 'com.microsoft.FusedGemm'], ({ inputs: [a, b], attrs: { transA, transB } }) => [
  out(a?.dtype ?? b?.dtype, gemmShape(a?.shape, b?.shape, transA, transB)),
]);

// transBatchA moves the first axis before the last one: [M, B.., K] is read as [B.., M, K].
shapeRaw(['com.microsoft.FusedMatMul', 'com.microsoft.TransposeMatMul'], ({ node, inputs: [a, b] }) => {
  const side = (v: Value | undefined, name: string): Shape => {
    const dims = v?.shape;
    const moved = intAttr(node, `transBatch${name}`, 0) === 1 && dims !== undefined && dims.length > 2;
    const rows = moved ? [...dims.slice(1, -1), dimAt(dims, 0), dimAt(dims, -1)] : dims;
    return turned(rows, intAttr(node, `trans${name}`, 0));
  };
  return [out(a?.dtype ?? b?.dtype, matmulShape(side(a, 'A'), side(b, 'B')))];
});

// The quantized weight is [K, N] by its attributes; its packed shape does not show that.
shapeRaw(['com.microsoft.MatMulNBits', 'com.microsoft.MatMulBnb4'], ({ node, inputs: [a] }) => {
  const n = intAttr(node, 'N') ?? null;
  return [out(a?.dtype, a?.shape === undefined ? undefined : [...a.shape.slice(0, -1), n])];
});

shapeRaw(['loraify.Branch', 'loraify.Dropout', 'loraify.Detach'], ({ inputs: [y] }) => [like(y)]);

/** The shape of its base, with W transposed first if `transW` is 1; `side` 1 is W·x. C broadcasts to the result. */
shape('loraify.Adapted', ({ inputs: [x, w, , , c], attrs: { base, side, transA, transB, transW } }) => {
  if (w === undefined) return [like(c)];
  const weight = turned(w?.shape, transW);
  const dtype = x?.dtype ?? w?.dtype;
  if (base === 'Gemm') return [out(dtype, gemmShape(x?.shape, weight, transA, transB))];
  const [a, b] = side === 1 ? [weight, x?.shape] : [x?.shape, weight];
  return [out(dtype, matmulShape(a, b))];
});

shape('loraify.Joined', ({ inputs: [x], attrs: { widths } }) => {
  const lead = x?.shape?.slice(0, -1);
  return widths.map((width) => out(x?.dtype, lead === undefined ? undefined : [...lead, width]));
});

shapeRaw('Det', ({ inputs: [x] }) => [out(x?.dtype, x?.shape?.slice(0, -2))]);

/** Labels of one operand's axes; "." is a label for each axis that an ellipsis covers, counted from the right. */
function labelsOf(term: string, rank: number | undefined): string[] | undefined {
  const plain = term.replace('...', '');
  if (!term.includes('...')) return [...term];
  if (rank === undefined || rank < plain.length) return undefined;
  const covered = rank - plain.length;
  const before = term.indexOf('...');
  const dots = Array.from({ length: covered }, (_, i) => `.${covered - i}`);
  return [...plain.slice(0, before), ...dots, ...plain.slice(before)];
}

shape('Einsum', ({ inputs, attrs: { equation } }) => {
  const dtype = inputs.find((v) => v?.dtype !== undefined)?.dtype;
  const [left = '', right] = (equation ?? '').replaceAll(' ', '').split('->');
  const terms = left.split(',').map((t, i) => labelsOf(t, inputs[i]?.shape?.length));
  const lengths = new Map<string, Dim>();
  const seen = new Map<string, number>();
  for (const [i, labels] of terms.entries()) {
    if (labels === undefined) return [out(dtype, undefined)];
    for (const [axis, label] of labels.entries()) {
      const d = inputs[i]?.shape?.length === labels.length ? dimAt(inputs[i]?.shape, axis) : null;
      const known = lengths.get(label);
      lengths.set(label, known === undefined ? d : broadcastDim(known, d));
      seen.set(label, (seen.get(label) ?? 0) + 1);
    }
  }
  const dots = [...lengths.keys()].filter((l) => l.startsWith('.'));
  const covered = dots.sort((a, b) => Number(b.slice(1)) - Number(a.slice(1)));
  // Without an arrow: the ellipsis, then the labels that occur once, in alphabetical order.
  const once = [...seen].flatMap(([l, n]) => (n === 1 && !l.startsWith('.') ? [l] : [])).sort();
  const result = right === undefined ? [...covered, ...once] : rightLabels(right, covered);
  return [
    out(
      dtype,
      result.map((l) => lengths.get(l) ?? null),
    ),
  ];
});

function rightLabels(term: string, covered: readonly string[]): string[] {
  const [before = '', after] = term.split('...');
  return [...before, ...(after === undefined ? [] : [...covered, ...after])];
}
