/**
 * The table of layer kinds. A new kind is a file here and a row in graph/layers.ts; PEFT's keys for its form are in
 * adapter/.
 */
import type { Node } from '../../../graph/model.ts';
import type { LayerKind } from '../../dialect/layerKind.ts';
import { attention } from './attention.ts';
import { matMulBnb4 } from './bnb4.ts';
import { conv } from './conv.ts';
import { fusedConv, fusedGemm, fusedMatMul } from './fused.ts';
import { gather } from './gather.ts';
import { dynamicQuantizeMatMul, matMulInteger, matMulIntegerToFloat, quantizedResults } from './integers.ts';
import { matMulNBits } from './nbits.ts';
import { gemm, matMul } from './products.ts';

const table: readonly LayerKind[] = [
  matMul,
  gemm,
  matMulNBits,
  conv,
  gather,
  attention,
  matMulInteger,
  matMulIntegerToFloat,
  dynamicQuantizeMatMul,
  matMulBnb4,
  fusedMatMul,
  fusedGemm,
  fusedConv,
];

/** Registry keys of the operators that can be adapted. */
export const layerKeys: ReadonlySet<string> = new Set(
  table.map((k) => (k.domain === '' ? k.op : `${k.domain}.${k.op}`)),
);

const byOperator = new Map([...table, ...quantizedResults].map((k) => [`${k.domain}.${k.op}`, k]));

export const kindOf = (node: Node): LayerKind | undefined => byOperator.get(`${node.domain}.${node.op}`);

const byName = new Map(table.map((k): [string, LayerKind] => [k.op, k]));

/** The operator that is adapted at a node of some kind, as the manifest names it. */
export const layerOpOf = (node: Node): string => kindOf(node)?.layerOp ?? node.op;

/** The kind of the operator with this name; the domain is not needed, because no two share a name. */
export const kindNamed = (op: string): LayerKind | undefined => byName.get(op);
