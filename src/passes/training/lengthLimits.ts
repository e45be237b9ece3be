/**
 * Finds how long a row may be: models with a table of positions, or with masks that are cut to the length of the row,
 * have entries up to a length. A runtime reports the first node that fails, and on a GPU nothing at all.
 */
import type { Dim, Graph, Node, Value } from '../../graph/model.ts';
import { attrsOf, factsOf, kindOf, opKey } from '../../graph/operators.ts';
import type { LengthLimit, TableRange } from '../../graph/tables.ts';
import { numbersOf } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import type { Bindings } from '../normalize/bind/index.ts';
import { isMaskName } from '../normalize/bind/names.ts';
import { add, cutFrom, sub } from '../shapes/dims.ts';
import { constantsOf, elementsOf, numbersIn, scalarIn } from '../shapes/elements.ts';
import { axisIn, dimAt } from '../shapes/rule.ts';
import { tableRanges } from './tableRanges.ts';
import { tableReads } from './tableReads.ts';

/** Elements of an input that count as positions: all but those of the value `except`. */
interface Counted {
  readonly input: Value;
  readonly except: number;
}

/** The largest element of a tensor, which some row reaches. */
interface Top {
  readonly index: Dim;
  /** The elements that `index` counts; absent: all along the axis. */
  readonly counted?: Counted | undefined;
}

/** A length that must not exceed `most`. */
interface Demand {
  readonly table: string;
  readonly length: Dim;
  readonly most: number;
  readonly counted?: Counted | undefined;
}

/** The limits of each input, by name. */
export function lengthLimits(graph: Graph, absent: Bindings['absent']): ReadonlyMap<string, readonly LengthLimit[]> {
  const demands = [...tablesOfPositions(graph), ...graph.nodes.flatMap(cutTables)];
  const ranges = tableRanges(graph);
  const own = new Map(graph.inputs.map((v) => [v.name, demands.flatMap((d) => limitOf(v, d) ?? [])]));
  const found = new Map<string, readonly LengthLimit[]>();
  for (const input of graph.inputs) {
    const replaced = [...absent].filter(([, { like }]) => like === input.name);
    const limits = [
      ...(own.get(input.name) ?? []),
      ...replaced.flatMap(([name, { value }]) =>
        value === 'positions' ? ofPositions(name, ranges.get(name)) : ofOnes(name, own.get(name)),
      ),
    ].sort((a, b) => a.most - b.most);
    const narrowest = limits.filter(
      (l, i) => limits.findIndex((o) => o.axis === l.axis && o.except === l.except && o.unless === l.unless) === i,
    );
    if (narrowest.length > 0) found.set(input.name, narrowest);
  }
  return found;
}

/** The limits from positions that the runtime counts if the data lack them. */
const ofPositions = (unless: string, ranges: readonly TableRange[] = []): LengthLimit[] =>
  ranges.flatMap(({ table, entries, part }) => (part === undefined ? [{ table, axis: 1, most: entries, unless }] : []));

/** The limits from a mask that is 1 everywhere if the data lack it. */
const ofOnes = (unless: string, limits: readonly LengthLimit[] = []): LengthLimit[] =>
  limits.flatMap(({ table, axis, most, except }) => (except === 0 ? [{ table, axis, most, unless }] : []));

/** The demand as a limit of one of the input's axes: its length differs from the demanded one by a constant. */
function limitOf(input: Value, { table, length, most, counted }: Demand): LengthLimit | undefined {
  // The elements of a row are counted, which is a vector.
  if (counted !== undefined && (counted.input !== input || input.shape?.length !== 2)) return undefined;
  for (const [axis, d] of (input.shape ?? []).entries()) {
    const more = typeof d === 'string' ? sub(length, d) : null;
    if (typeof more !== 'number' || most - more < 1) continue;
    return { table, axis, most: most - more, ...(counted === undefined ? {} : { except: counted.except }) };
  }
  return undefined;
}

/** Tables that are read at positions, which the graph computes from the length or by counting. */
function* tablesOfPositions(graph: Graph): Generator<Demand> {
  const known = new Map<Value, readonly Top[] | undefined>();
  for (const { table, entries, indices, positions } of tableReads(graph)) {
    if (positions !== undefined) yield { table, length: positions, most: entries };
    for (const { index, counted } of (indices && topsOf(indices, known)) ?? [])
      yield { table, length: add(index, 1), most: entries, counted };
  }
}

/** Tables of n entries that are cut to the length of the row, and then must have that length. */
function cutTables(node: Node): Demand[] {
  const shapes =
    opKey(node) === 'Expand'
      ? [node.inputs[0]?.shape, elementsOf(node.inputs[1])]
      : factsOf(node)?.broadcasts === true
        ? node.inputs.map((v) => v?.shape)
        : [];
  const rank = Math.max(0, ...shapes.map((s) => s?.length ?? 0));
  return shapes.flatMap((shape, i) =>
    (shape ?? []).flatMap((d, axis): Demand[] => {
      const fromEnd = axis - (shape?.length ?? 0);
      if (-fromEnd > rank) return [];
      return shapes.flatMap((other) => {
        const length = other?.at(fromEnd) ?? null;
        const most = -fromEnd > (other?.length ?? 0) ? undefined : cutFrom(d, length);
        return most === undefined ? [] : [{ table: tableBehind(node.inputs[i]), length, most }];
      });
    }),
  );
}

/** The name of the constant that a value is a part of, or computed from. */
function tableBehind(v: Value | undefined): string {
  let at = v;
  for (let next = at; next !== undefined; next = at?.producer?.inputs[0]) {
    at = next;
    if (at.tensor !== undefined) break;
  }
  return at?.name ?? '';
}

function topsOf(v: Value, known: Map<Value, readonly Top[] | undefined>): readonly Top[] | undefined {
  if (known.has(v)) return known.get(v);
  known.set(v, undefined);
  const tops = infer(v, (x) => (x === undefined ? undefined : topsOf(x, known)));
  known.set(v, tops);
  return tops;
}

type Follow = (v: Value | undefined) => readonly Top[] | undefined;

/** Every case is exact: a bound that no row reaches would refuse rows that the model computes. */
function infer(v: Value, follow: Follow): readonly Top[] | undefined {
  if (constantTensor(v) !== undefined) return [];
  const node = v.producer;
  const [a, b] = node?.inputs ?? [];
  if (node === undefined || node.domain !== '') return undefined;
  switch (node.op) {
    case 'Range':
      return scalarIn(node.inputs[2]) === 1 ? [{ index: sub(scalarIn(b), 1) }] : undefined;
    case 'CumSum':
      return counts(node);
    case 'Add':
      return shifted(follow(a), constant(b)) ?? shifted(follow(b), constant(a));
    case 'Sub':
      return shifted(follow(a), constant(b), -1);
    case 'Mul':
      return masked(follow(a), b) ?? masked(follow(b), a);
    case 'Max':
      return together(node.inputs.map(follow));
    case 'Where':
      return masked(together([follow(b), follow(node.inputs[2])]), a);
    case 'Concat':
      return together(node.inputs.map(follow));
    case 'Cast':
    case 'Transpose':
    case 'Expand':
    case 'Tile':
      return follow(a);
    default:
      return kindOf(node) === 'view' ? follow(a) : undefined;
  }
}

/** The constant that all elements are equal to. */
function constant(v: Value | undefined): number | undefined {
  const list = numbersIn(v) ?? constantsOf(v);
  return list?.every((n) => n === list[0]) === true ? list[0] : undefined;
}

const shifted = (
  tops: readonly Top[] | undefined,
  by: number | undefined,
  sign: 1 | -1 = 1,
): readonly Top[] | undefined =>
  by === undefined ? undefined : tops?.map((t) => ({ ...t, index: add(t.index, sign * by) }));

const together = (parts: readonly (readonly Top[] | undefined)[]): readonly Top[] | undefined =>
  parts.some((p) => p === undefined) ? undefined : parts.flatMap((p) => p ?? []);

/** Positions of what is not counted are replaced: the largest is unchanged, because the last that counts remains. */
function masked(tops: readonly Top[] | undefined, mask: Value | undefined): readonly Top[] | undefined {
  const by = mask === undefined ? undefined : (countedBy(mask) ?? countedUnless(mask));
  const isSame = (t: Top): boolean => by?.input === t.counted?.input && by?.except === t.counted?.except;
  return by !== undefined && tops?.every(isSame) === true ? tops : undefined;
}

/** A cumulative sum of flags: the number of flags that are 1. */
function counts(node: Node): readonly Top[] | undefined {
  const [x] = node.inputs;
  const axis = scalarIn(node.inputs[1]);
  const rank = x?.shape?.length;
  if (x === undefined || rank === undefined || typeof axis !== 'number') return undefined;
  const length = dimAt(x.shape, axisIn(axis, rank) ?? 0);
  const index = attrsOf(node, 'CumSum').exclusive === 1 ? sub(length, 1) : length;
  const counted = countedBy(x);
  if (counted !== undefined) return [{ index, counted }];
  return isOnes(x) ? [{ index }] : undefined;
}

function isOnes(v: Value): boolean {
  const node = v.producer;
  const [x] = node?.inputs ?? [];
  if (node?.op === 'ConstantOfShape') return numbersOfFill(node) === 1;
  if (node !== undefined && x !== undefined && (node.op === 'Expand' || node.op === 'Cast')) return isOnes(x);
  return constant(v) === 1;
}

const numbersOfFill = (node: Node): number | undefined => {
  const { value } = attrsOf(node, 'ConstantOfShape');
  return value === undefined ? undefined : numbersOf(value)?.[0];
};

/** The elements of an input that flags are 1 for: those of a mask, or those that differ from a padding id. */
function countedBy(v: Value): Counted | undefined {
  const node = v.producer;
  if (node === undefined) return isMaskName(v.name) && v.tensor === undefined ? { input: v, except: 0 } : undefined;
  const [x] = node.inputs;
  if (x === undefined || node.domain !== '') return undefined;
  if (node.op === 'Cast' || node.op === 'Identity') return countedBy(x);
  return node.op === 'Not' ? countedUnless(x) : undefined;
}

/** The elements of an input that flags are 0 for. */
function countedUnless({ producer }: Value): Counted | undefined {
  if (producer?.op !== 'Equal' || producer.domain !== '') return undefined;
  const [ids, pad] = producer.inputs;
  const except = constant(pad);
  const input = ids && inputBehind(ids);
  return input === undefined || except === undefined ? undefined : { input, except };
}

function inputBehind(v: Value): Value | undefined {
  const node = v.producer;
  if (node === undefined) return v.tensor === undefined ? v : undefined;
  const [x] = node.inputs;
  return x !== undefined && (node.op === 'Cast' || node.op === 'Identity') ? inputBehind(x) : undefined;
}
