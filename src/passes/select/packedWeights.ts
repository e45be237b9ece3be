/**
 * Weights that concatenate those of several modules: onnxruntime-genai's model builder computes queries, keys and
 * values by one MatMul, and gate and up with `fuse_mlp_gate_up`. The reader of the result has the widths of the parts.
 */
import type { Node, Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { numbersOf } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import type { Product } from '../dialect/layerKind.ts';
import { biasBehind } from './parameterNames.ts';

/** A product for each part, in the order of columns; nothing if the graph does not read the parts separately. */
export function partsOf(product: Product, names: readonly string[]): readonly Product[] {
  const { node, side, out } = product;
  if (side !== 'right' || product.part !== undefined || !isPlain(node)) return [];
  const widths = widthsBehind(node.outputs[0], out);
  if (widths?.length !== names.length || widths.reduce((n, w) => n + w, 0) !== out) return [];
  let from = 0;
  return widths.map((width, i): Product => {
    const part = { name: names[i] ?? '', from, of: out };
    from += width;
    return { ...product, out: width, part };
  });
}

/**
 * The parts of a weight that a simplifier joined from those of several modules that read one value: what each gets of
 * the result is split off, and its bias is added.
 */
export function joinedParts(product: Product): readonly Product[] {
  const [use, ...more] = product.node.outputs[0]?.uses ?? [];
  if (use?.node.op !== 'Split' || more.length > 0) return [];
  const paths = use.node.outputs.map((part) => biasBehind(part));
  const parts = partsOf(
    product,
    paths.map((path) => path?.replace(/^.*\./, '') ?? ''),
  );
  if (new Set(paths).size < paths.length || paths.includes(undefined)) return [];
  return parts.map((p, i) => ({ ...p, ...(p.part && { part: { ...p.part, path: paths[i] } }) }));
}

/** Whether the branch, which is added to the result, reads the activation and has the weight's own factor. */
function isPlain(node: Node): boolean {
  if (node.op === 'Gemm') {
    const { alpha, transA } = attrsOf(node, 'Gemm');
    return alpha === 1 && transA === 0;
  }
  return node.op !== 'FusedGemm' && node.op !== 'FusedMatMul';
}

/** Operators that keep the columns of their first or second operand. */
const columnwise = new Set(['Add', 'Cast', 'DequantizeLinear', 'Identity', 'Mul', 'QuantizeLinear']);

/** The widths into which a reader splits the columns of y. */
function widthsBehind(y: Value | undefined, of: number): readonly number[] | undefined {
  for (const { node, index } of y?.uses ?? []) {
    const found =
      node.op === 'GroupQueryAttention'
        ? index === 0
          ? widthsOfAttention(node, of)
          : undefined
        : node.op === 'Split'
          ? widthsOfSplit(node, of)
          : columnwise.has(node.op)
            ? widthsBehind(node.outputs[0], of)
            : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** GroupQueryAttention without inputs for keys and values: queries, keys and values have heads of one size. */
function widthsOfAttention(node: Node, of: number): readonly number[] | undefined {
  const { num_heads: heads = 0, kv_num_heads: groups = 0 } = attrsOf(node, 'com.microsoft.GroupQueryAttention');
  const size = of / (heads + 2 * groups);
  if (node.inputs[1] !== undefined || node.inputs[2] !== undefined || !Number.isInteger(size)) return undefined;
  return [heads * size, groups * size, groups * size];
}

/** A Split along the last axis. */
function widthsOfSplit(node: Node, of: number): readonly number[] | undefined {
  const [x, lengths] = node.inputs;
  const { axis } = attrsOf(node, 'Split');
  if (axis !== -1 && axis !== (x?.shape?.length ?? 0) - 1) return undefined;
  const given = lengths === undefined ? undefined : constantTensor(lengths);
  if (lengths !== undefined) return given === undefined ? undefined : numbersOf(given)?.map(Number);
  const parts = node.outputs.length;
  return of % parts === 0 && !node.attrs.has('split') ? node.outputs.map(() => of / parts) : undefined;
}
