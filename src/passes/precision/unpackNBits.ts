/**
 * The weight of com.microsoft.MatMulNBits (onnxruntime, docs/ContribOperators.md) in the form that ai.onnx's
 * DequantizeLinear reads. Packed [N, blocks, block · bits / 8], its bytes are those of a uint4 or uint8 tensor [N,
 * blocks · block], and the scales those of a tensor [N, blocks]: the same bytes under other dims, without a copy.
 */
import { noGradient } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { constant, type Node, type Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { bytesOf, type DataType, isFloat, type Tensor, tensorOf } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import { lookUp } from './lookUp.ts';

export interface PackedShape {
  /** The weight is [N, K]. */
  readonly K: number;
  readonly N: number;
  readonly bits: 2 | 4 | 8;
  readonly block: number;
  /** Blocks of a row; the last one may reach beyond K. */
  readonly blocks: number;
}

export interface Unpacked extends PackedShape {
  /** [N, blocks · block] in the type of the scales, with integer zero points applied. */
  readonly weight: Value;
  /** Float zero points times their scales, [N, blocks], which remain to be subtracted block by block. */
  readonly shift: Value | undefined;
}

/** Throws NO_GRADIENT with the reason if DequantizeLinear cannot read the weight. */
export function unpackWeight(node: Node, g: Builder): Unpacked {
  const refuse = (reason: string): Error =>
    noGradient(`MatMulNBits passes no gradient to its input: ${reason}`, { node: node.label });
  const [, packed, scales, zeros, order] = node.inputs;
  const { K, N, bits, block_size: block } = attrsOf(node, 'com.microsoft.MatMulNBits');
  if (order !== undefined)
    throw refuse('g_idx assigns every column its own block, which DequantizeLinear does not support');
  if (bits !== 2 && bits !== 4 && bits !== 8) throw refuse(`its weight has ${bits} bits, not 2, 4 or 8`);
  const tensor = packed && constantTensor(packed);
  const scale = scales && constantTensor(scales);
  if (
    packed === undefined ||
    scales === undefined ||
    tensor === undefined ||
    scale === undefined ||
    block === undefined ||
    K === undefined ||
    N === undefined
  )
    throw refuse('its weight and scales are not constants');
  const shape: PackedShape = { K, N, bits, block, blocks: Math.ceil(K / block) };
  const dims = [N, shape.blocks];
  const view = (v: Value, t: Tensor): Value => constant(`${v.name}.blocks`, { ...t, dims });
  const given = zeros && constantTensor(zeros);
  if (zeros !== undefined && given === undefined) throw refuse('its zero points are not constants');
  const float = zeros !== undefined && given !== undefined && isFloat(given.dtype);
  const shift = float ? g.Mul(view(zeros, given), view(scales, scale)) : undefined;
  if (bits === 2) {
    const q = lookUp(g, { name: packed.name, tensor }, { of: [0, 1, 2, 3], first: 'low', dtype: scale.dtype });
    const z = float ? undefined : twoBitZeros(zeros?.name ?? packed.name, given, shape, scale.dtype);
    return {
      ...shape,
      weight: inBlocks(g, q, constant(`${scales.name}.column`, { ...scale, dims: [...dims, 1] }), z, shape),
      shift,
    };
  }
  const q = constant(`${packed.name}.${bits === 4 ? 'uint4' : 'uint8'}`, {
    ...tensor,
    dtype: bits === 4 ? 'uint4' : 'uint8',
    dims: [N, shape.blocks * block],
  });
  const s = view(scales, scale);
  const z = float ? undefined : zeroPoints(zeros, given, shape);
  const attrs = { axis: 1, block_size: block };
  return {
    ...shape,
    weight: g.DequantizeLinear(q, s, z, attrs),
    shift,
  };
}

/** (q - zero point) · scale in blocks, as [N, blocks · block]: the standard reads no 2-bit integers before opset 25. */
function inBlocks(
  g: Builder,
  q: Value,
  scale: Value,
  zero: Value | undefined,
  { N, blocks, block }: PackedShape,
): Value {
  const parts = g.Reshape(q, g.ints([N, blocks, block]));
  const scaled = g.Mul(zero === undefined ? parts : g.Sub(parts, zero), scale);
  return g.Reshape(scaled, g.ints([N, blocks * block]));
}

/** Zero points [N, blocks, 1] of 2 bits as floats; their rows begin at whole bytes. */
function twoBitZeros(name: string, given: Tensor | undefined, { N, blocks }: PackedShape, dtype: DataType): Value {
  if (given === undefined) return constant(`two.${dtype}`, tensorOf(dtype, [], [2]));
  const rows = bytesOf(given);
  const stride = Math.ceil(blocks / 4);
  const values = Array.from({ length: N * blocks }, (_, i) => {
    const at = i % blocks;
    return ((rows[Math.floor(i / blocks) * stride + (at >> 2)] ?? 0) >> (2 * (at & 3))) & 3;
  });
  return constant(`${name}.numbers`, tensorOf(dtype, [N, blocks, 1], values));
}

/** Zero points [N, blocks] of the weight's type; the middle of the range if the node has none. */
function zeroPoints(zeros: Value | undefined, given: Tensor | undefined, { N, blocks, bits }: PackedShape): Value {
  const dims = [N, blocks];
  const dtype = bits === 4 ? 'uint4' : 'uint8';
  const byteLength = Math.ceil((N * blocks * bits) / 8);
  if (zeros === undefined || given === undefined) {
    const middle = bits === 4 ? 0x88 : 0x80;
    return constant(`zero.${dtype}.${N}x${blocks}`, filled({ dtype, dims, byteLength }, middle));
  }
  // Rows of 4-bit zero points begin at whole bytes, those of a tensor do not.
  const aligned = bits === 8 || blocks % 2 === 0;
  const tensor: Tensor = aligned
    ? { ...given, dtype, dims }
    : { dtype, dims, byteLength, payload: { kind: 'computed', chunks: () => [packed(bytesOf(given), N, blocks)] } };
  return constant(`${zeros.name}.blocks`, tensor);
}

/** The nibbles of byte-aligned rows, concatenated. */
function packed(rows: Uint8Array, count: number, length: number): Uint8Array {
  const stride = Math.ceil(length / 2);
  const out = new Uint8Array(Math.ceil((count * length) / 2));
  for (let row = 0, at = 0; row < count; row++)
    for (let i = 0; i < length; i++, at++) {
      const nibble = ((rows[row * stride + (i >> 1)] ?? 0) >> (4 * (i & 1))) & 15;
      out[at >> 1] = (out[at >> 1] ?? 0) | (nibble << (4 * (at & 1)));
    }
  return out;
}

const fills = new Map<string, Tensor>();

/** One tensor for each size, so that the layers of a model share it. */
function filled(like: Pick<Tensor, 'dtype' | 'dims' | 'byteLength'>, byte: number): Tensor {
  const key = `${like.dtype}:${like.dims.join()}:${byte}`;
  const made = fills.get(key) ?? {
    ...like,
    payload: {
      kind: 'computed',
      *chunks() {
        for (let left = like.byteLength; left > 0; left -= 1 << 16)
          yield new Uint8Array(Math.min(left, 1 << 16)).fill(byte);
      },
    },
  };
  fills.set(key, made);
  return made;
}
