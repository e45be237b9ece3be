/** The tables of a graph that nodes read at given indices, or at the positions 0, 1, 2, … of a sequence. */
import type { Dim, Graph, Node, Value } from '../../graph/model.ts';
import { attrsOf, opKey } from '../../graph/operators.ts';
import { constantTensor, traceConstant } from '../common/constantOperand.ts';
import { axisIn, dimAt, intAttr } from '../shapes/rule.ts';

export interface TableRead {
  readonly node: Node;
  /** The name of the stored table. */
  readonly table: string;
  readonly entries: number;
  /** A matrix of rows is an embedding, in which frameworks refuse negative indices; ONNX counts them from the end. */
  readonly isEmbedding: boolean;
  readonly indices?: Value | undefined;
  /** The number of positions, if the operator counts them itself. */
  readonly positions?: Dim | undefined;
}

/** A table among a node's inputs, and the input with the indices. */
interface Place {
  readonly table: number;
  readonly indices: number;
  /** The input whose axis 1 is the sequence, if the indices can be absent. */
  readonly counted?: number;
}

const rotary = { table: 2, indices: 1 } as const;
const places: Readonly<Record<string, readonly Place[] | undefined>> = {
  Gather: [{ table: 0, indices: 1 }],
  RotaryEmbedding: [{ table: 1, indices: 3 }],
  'com.microsoft.GatherBlockQuantized': [{ table: 0, indices: 1 }],
  'com.microsoft.RotaryEmbedding': [rotary],
  'com.microsoft.MRotaryEmbedding': [rotary],
  'com.microsoft.GroupQueryAttention': [{ table: 7, indices: 9, counted: 0 }],
  'com.microsoft.EmbedLayerNormalization': [
    { table: 2, indices: 0 },
    { table: 3, indices: 8, counted: 0 },
    { table: 4, indices: 1 },
  ],
};

export function* tableReads(graph: Graph): Generator<TableRead> {
  for (const node of graph.nodes)
    for (const { table, indices, counted } of places[opKey(node)] ?? []) {
      const stored = tableOf(node.inputs[table]);
      if (stored === undefined) continue;
      const at = node.inputs[indices];
      const axis = axisOf(node, stored.dims.length);
      const read = {
        node,
        table: stored.name,
        entries: stored.dims[axis] ?? 0,
        isEmbedding: axis === 0 && stored.dims.length === 2,
      };
      if (at !== undefined) yield { ...read, indices: at };
      else if (counted !== undefined) yield { ...read, positions: dimAt(node.inputs[counted]?.shape, 1) };
    }
}

function axisOf(node: Node, rank: number): number {
  if (opKey(node) === 'Gather') return axisIn(attrsOf(node, 'Gather').axis, rank) ?? 0;
  if (opKey(node) !== 'com.microsoft.GatherBlockQuantized') return 0;
  return axisIn(intAttr(node, 'gather_axis', 0), rank) ?? 0;
}

/** A constant, also behind casts and dequantization. */
function tableOf(v: Value | undefined): { readonly name: string; readonly dims: readonly number[] } | undefined {
  if (v === undefined) return undefined;
  const tensor = constantTensor(v);
  if (tensor !== undefined) return { name: v.name, dims: tensor.dims };
  const traced = traceConstant(v, new Map());
  return traced.kind === 'weight' ? { name: traced.view.stored.name, dims: traced.view.dims } : undefined;
}
