/**
 * Finds integer inputs whose elements are indices of a table: ids of tokens, types and positions. A provider for a GPU
 * does not report an index beyond its table, so the runtime checks the data.
 */
import type { Graph, Node, Use, Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import type { TableRange } from '../../graph/tables.ts';
import { numbersIn } from '../shapes/elements.ts';
import { axisIn } from '../shapes/rule.ts';
import { type TableRead, tableReads } from './tableReads.ts';

/** Operators after which every element of their first input is still there; axes are those of the input. */
const keeping: ReadonlySet<string> = new Set(['Cast', 'Identity', 'Pad']);
/** Operators after which every element is still there, at another place. */
const moving: ReadonlySet<string> = new Set([
  'Reshape',
  'Unsqueeze',
  'Squeeze',
  'Flatten',
  'Transpose',
  'Expand',
  'Tile',
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

type Part = TableRange['part'];

/** A value with all elements of an input, or of a part of it. */
interface Trace {
  readonly value: Value;
  readonly part: Part;
  /** Its axes are still those of the input. */
  readonly aligned: boolean;
}

/** The ranges of each such input, by name; for each part the narrowest where several tables read it. */
export function tableRanges(graph: Graph): ReadonlyMap<string, readonly TableRange[]> {
  const reads = [...tableReads(graph)];
  const found = new Map<string, readonly TableRange[]>();
  for (const input of graph.inputs) {
    const parts = new Map<string, TableRange>();
    for (const range of rangesOf(input, reads)) {
      const key = JSON.stringify(range.part) ?? '';
      const other = parts.get(key) ?? range;
      const narrower = range.entries < other.entries ? range : other;
      parts.set(key, { ...narrower, least: Math.max(range.least, other.least) });
    }
    if (parts.size > 0) found.set(input.name, [...parts.values()]);
  }
  return found;
}

function rangesOf(input: Value, reads: readonly TableRead[]): TableRange[] {
  const ranges: TableRange[] = [];
  const seen = new Map<Value, Set<Part>>();
  const todo: Trace[] = [{ value: input, part: undefined, aligned: true }];
  for (let at = todo.pop(); at !== undefined; at = todo.pop()) {
    const { value, part } = at;
    const parts = seen.get(value) ?? new Set();
    if (parts.has(part) || value.dtype === undefined || !integers.has(value.dtype)) continue;
    seen.set(value, parts.add(part));
    for (const { table, entries, isEmbedding } of reads.filter((r) => r.indices === value))
      ranges.push({ table, entries, least: isEmbedding ? 0 : -entries, ...(part === undefined ? {} : { part }) });
    for (const use of value.uses) todo.push(...after(at, use));
  }
  return ranges;
}

/** The outputs of a reader that still have the elements. */
function after(trace: Trace, { node, index }: Use): Trace[] {
  if (node.domain !== '') return [];
  const { value, part, aligned } = trace;
  const [out] = node.outputs;
  if (out === undefined) return [];
  if (node.op === 'Concat') return [{ value: out, part, aligned: false }];
  if (index !== 0) return [];
  if (keeping.has(node.op)) return [{ ...trace, value: out, aligned: aligned && node.op !== 'Pad' }];
  if (moving.has(node.op)) return [{ value: out, part, aligned: false }];
  if (!aligned || part !== undefined) return [];
  return cut(node, value).map((c) => ({ ...c, aligned: false }));
}

/** The outputs of an operator that cuts its input along one axis at known places. */
function cut(node: Node, x: Value): { readonly value: Value; readonly part: Part }[] {
  const rank = x.shape?.length ?? 0;
  const [out] = node.outputs;
  if (out === undefined) return [];
  if (node.op === 'Split') {
    const axis = axisIn(attrsOf(node, 'Split').axis, rank);
    let from = 0;
    return node.outputs.flatMap((value) => {
      const length = axis === undefined ? undefined : value?.shape?.[axis];
      if (value === undefined || axis === undefined || typeof length !== 'number' || Number.isNaN(from)) {
        from = Number.NaN;
        return [];
      }
      const part = { axis, from, to: from + length };
      from += length;
      return [{ value, part }];
    });
  }
  if (node.op === 'Gather') {
    const axis = axisIn(attrsOf(node, 'Gather').axis, rank);
    const [from, ...more] = numbersIn(node.inputs[1]) ?? [];
    if (axis === undefined || from === undefined || more.length > 0) return [];
    return [{ value: out, part: { axis, from, ...(from === -1 ? {} : { to: from + 1 }) } }];
  }
  if (node.op !== 'Slice') return [];
  const only = (v: Value | undefined, absent?: number): number | undefined => {
    const list = v === undefined ? undefined : (numbersIn(v) ?? []);
    return list === undefined ? absent : list.length === 1 ? list[0] : undefined;
  };
  const [, starts, ends, axes, steps] = node.inputs;
  const [from, to, axis] = [only(starts), only(ends), axisIn(only(axes, 0) ?? rank, rank)];
  if (from === undefined || to === undefined || axis === undefined || only(steps, 1) !== 1) return [];
  return [{ value: out, part: { axis, from, ...(to >= 2 ** 31 - 1 ? {} : { to }) } }];
}
