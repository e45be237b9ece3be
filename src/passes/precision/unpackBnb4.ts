/**
 * The weight of com.microsoft.MatMulBnb4 in float: [N, K], from blocks of 4-bit floats along the rows, each with its
 * largest magnitude. Values: NF4 from QLoRA (Dettmers et al. 2023, appendix E), FP4 with 1 sign, 2 exponent and 1
 * mantissa bits, divided by their maximum, as bitsandbytes has them.
 */
import { noGradient } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { constant, type Node, type Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { constantTensor } from '../common/constantOperand.ts';
import { lookUp } from './lookUp.ts';

const fp4 = [0, 0.0052083333, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4];
const nf4 = [
  -1, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0, 0.0795803, 0.1609302, 0.24611231,
  0.33791524, 0.44070983, 0.562617, 0.72295684, 1,
];
/** The numbers of the 16 patterns, by `quant_type`. */
const types: readonly (readonly number[])[] = [[...fp4, ...fp4.map((x) => -x)], nf4];

/** Throws NO_GRADIENT with the reason if the weight cannot be read. */
export function unpackBnb4(node: Node, g: Builder): Value {
  const refuse = (reason: string): Error =>
    noGradient(`MatMulBnb4 passes no gradient to its input: ${reason}`, { node: node.label });
  const [, packed, absmax] = node.inputs;
  const { K, N, block_size: block, quant_type } = attrsOf(node, 'com.microsoft.MatMulBnb4');
  const [tensor, largest] = [packed && constantTensor(packed), absmax && constantTensor(absmax)];
  if (packed === undefined || absmax === undefined || tensor === undefined || largest === undefined)
    throw refuse('its weight is not a constant');
  const of = types[quant_type ?? -1];
  if (of === undefined || K === undefined || N === undefined || block === undefined)
    throw refuse(`it has quant_type ${quant_type}, not 0 (FP4) or 1 (NF4)`);
  if ((N * K) % block !== 0) throw refuse(`its ${N * K} elements do not fill blocks of ${block}`);
  const numbers = lookUp(g, { name: packed.name, tensor }, { of, first: 'high', dtype: largest.dtype });
  const blocks = (N * K) / block;
  const scales = constant(`${absmax.name}.blocks`, { ...largest, dims: [blocks, 1] });
  return g.Reshape(g.Mul(g.Reshape(numbers, g.ints([blocks, block])), scales), g.ints([N, K]));
}
