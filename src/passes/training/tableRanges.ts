/**
 * Finds integer inputs whose elements are all indices of a table: ids of tokens, types and positions. A provider for a
 * GPU does not report an index beyond its table, so the runtime checks the data.
 */
import type { Graph, Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { axisIn } from '../shapes/rule.ts';

/** The indices that a table accepts: from `least` to below `entries`. */
export interface TableRange {
  readonly table: string;
  readonly entries: number;
  readonly least: number;
}

/** Operators after which every element of their first input is still there. */
const keeping: ReadonlySet<string> = new Set([
  'Cast',
  'Identity',
  'Reshape',
  'Unsqueeze',
  'Squeeze',
  'Flatten',
  'Transpose',
  'Expand',
]);
const integers: ReadonlySet<string> = new Set([
  'int64',
  'int32',
  'int16',
  'int8',
  'uint8',
  'uint16',
  'uint32',
  'uint64',
]);

/** The range of each such input, by name; the narrowest where several tables read it. */
export function tableRanges(graph: Graph): ReadonlyMap<string, TableRange> {
  const found = new Map<string, TableRange>();
  for (const input of graph.inputs) {
    const ranges = tablesOf(input);
    const [first] = ranges.toSorted((a, b) => a.entries - b.entries);
    if (first !== undefined) found.set(input.name, { ...first, least: Math.max(...ranges.map((r) => r.least)) });
  }
  return found;
}

function tablesOf(input: Value): TableRange[] {
  const ranges: TableRange[] = [];
  const seen = new Set<Value>();
  const todo = [input];
  for (let v = todo.pop(); v !== undefined; v = todo.pop()) {
    if (seen.has(v) || v.dtype === undefined || !integers.has(v.dtype)) continue;
    seen.add(v);
    for (const { node, index } of v.uses) {
      if (node.domain !== '') continue;
      if (index === 0 && keeping.has(node.op)) todo.push(...node.outputs);
      const [table] = node.inputs;
      if (node.op !== 'Gather' || index !== 1 || table?.tensor === undefined) continue;
      const axis = axisIn(attrsOf(node, 'Gather').axis, table.tensor.dims.length) ?? 0;
      const entries = table.tensor.dims[axis] ?? 0;
      // A matrix of rows is an embedding, in which frameworks refuse negative ids; ONNX counts them from the end.
      const isEmbedding = axis === 0 && table.tensor.dims.length === 2;
      ranges.push({ table: table.name, entries, least: isEmbedding ? 0 : -entries });
    }
  }
  return ranges;
}
