/**
 * Finds the axis of each input, of the labels and of each output that counts the rows of a batch. Names of axes decide
 * (`batch`, `N`), then what inputs and labels share, then whether the entries along an axis are computed independently:
 * exporters use any name, or none, and time-major models have the batch second. Where nothing speaks against it, the
 * batch is the first axis.
 */

import { badOption, didYouMean } from '../../errors.ts';
import type { Dim, Value } from '../../graph/model.ts';
import { isSequence, rankOfName, strong } from '../normalize/batchNames.ts';
import { symbolsOf } from '../shapes/dims.ts';
import { type Mixing, mixedAlong } from './fixedLengths/rowIndependence.ts';
import { axisOf, type Found, labelAxis, labelShape, numberOf, type Shape, textOf } from './labelAxis.ts';
import type { BatchAxes, BatchAxis, Unplaced } from './prepared.ts';

/** Errors: BATCH_AXIS if the labels have no axis of rows while inputs have one. */
export function findBatchAxes(p: Unplaced): BatchAxes {
  const inputs = p.model.graph.inputs.filter((v) => v.tensor === undefined && v.shape !== undefined);
  const labels = labelShape(p);
  const found = given(
    inputs,
    labels,
    ordinary(inputs, labels, p) ??
      named(inputs, labels, p) ??
      shared(inputs, labels, p) ??
      sized(inputs, labels, p) ??
      unnamed(inputs, labels, p) ??
      none(inputs),
    p,
  );
  const isWithout = [...found.inputs.values()].every((axis) => axis === null);
  const outputs = p.model.graph.outputs.flatMap((v): [string, BatchAxis][] => {
    const axis = isWithout ? null : axisOf(v.shape, found.isRows, found.why === undefined);
    return axis === 0 ? [] : [[v.name, axis]];
  });
  return {
    inputs: new Map([...found.inputs].map(([v, axis]) => [v.name, axis])),
    labels: isWithout ? null : labelAxis(labels, found, p),
    outputs: new Map(found.why === undefined ? [] : outputs),
  };
}

/** The first axis of every input and of the labels, if they agree and nothing speaks against it. */
function ordinary(inputs: readonly Value[], labels: Shape, p: Unplaced): Found | undefined {
  const firsts = inputs.map((v) => v.shape?.[0]);
  const symbols = new Set(firsts.filter((d) => typeof d === 'string'));
  const found: Found = { inputs: new Map(inputs.map((v) => [v, 0])), isRows: () => false, why: undefined };
  if (inputs.length === 0) return found;
  const isFixed = firsts.every((d) => typeof d === 'number');
  if (firsts.includes(undefined)) return undefined;
  if (!isFixed && firsts.some((d) => typeof d === 'number')) return undefined;
  const others = inputs.flatMap((v) => (v.shape ?? []).slice(1)).filter((d) => typeof d === 'string');
  const best = Math.max(0, ...others.map(rankOfName));
  if (isFixed) return best < strong && isFixedBatch(inputs, labels, p) ? found : undefined;
  const isElsewhere = inputs.some((v) => v.shape?.some((d, i) => i > 0 && typeof d === 'string' && symbols.has(d)));
  if (isElsewhere || contradicts(labels, symbols, inputs)) return undefined;
  const ranks = [...symbols].map(rankOfName);
  // A better name elsewhere: ["seq", "batch", 4].
  const isBetter = best > Math.min(...ranks, strong);
  if (isBetter && (best === strong || [...symbols].some(isSequence))) return undefined;
  if (ranks.length > 0 && Math.min(...ranks) > 0) return found;
  // Without a name that tells, rows that influence each other are not a batch.
  const [first] = symbols;
  if (first === undefined || labels === undefined) return found;
  return mixed(p, first, symbols)?.isCertain === true ? undefined : found;
}

/** Whether the first axes are a batch of a fixed size. */
function isFixedBatch(inputs: readonly Value[], labels: Shape, p: Unplaced): boolean {
  const sizes = new Set(inputs.map((v) => v.shape?.[0]));
  const [size] = sizes;
  if (sizes.size !== 1 || typeof size !== 'number') return false;
  if (labels === undefined) return true;
  const [first] = labels;
  const isSame =
    first === size || first === null || (typeof first === 'string' && !contradicts(labels, new Set(), inputs));
  if (!isSame || size === 1) return isSame;
  const list = inputs.map((input) => ({ name: 'batch' as const, input, axis: 0, length: size }));
  return mixedAlong(p, { symbols: new Map(), axes: list, isRows: () => false })?.isCertain !== true;
}

/** Whether the labels have a dim of the inputs first that is not the first one there, or lack those. */
function contradicts(labels: Shape, firsts: ReadonlySet<string>, inputs: readonly Value[]): boolean {
  if (labels === undefined) return false;
  const [first] = labels;
  if (first === undefined) return [...firsts].some((s) => rankOfName(s) < strong);
  if (typeof first !== 'string' || firsts.has(first)) return false;
  return inputs.some((v) => v.shape?.some((d, i) => i > 0 && d === first));
}

/** The axes with the name of a batch. */
function named(inputs: readonly Value[], labels: Shape, p: Unplaced): Found | undefined {
  const symbols = [...new Set(inputs.flatMap((v) => v.shape ?? []).filter((d) => typeof d === 'string'))];
  const best = Math.max(0, ...symbols.map(rankOfName));
  if (best === 0) return undefined;
  const rows = new Set(symbols.filter((s) => rankOfName(s) === best));
  const isRows = rowsTest(rows);
  const isInLabels = labels === undefined || labels.some((d) => d === null || isRows(d));
  if (best < strong && !isInLabels) return undefined;
  if (best < strong && isTwice(inputs, rows)) return undefined;
  const axes = placed(inputs, (d) => typeof d === 'string' && rows.has(d));
  if (best < strong && [...axes.values()].includes(null) && mixed(p, [...rows][0] ?? '', rows)?.isCertain === true)
    return undefined;
  return { inputs: axes, isRows, why: explained(axes) };
}

/** An axis that inputs and labels share, along which entries are computed independently. */
function shared(inputs: readonly Value[], labels: Shape, p: Unplaced): Found | undefined {
  const own = [...new Set((labels ?? []).flatMap(symbolsOf))];
  const candidates = own
    .filter((s) => inputs.some((v) => v.shape?.includes(s)) && !isTwice(inputs, new Set([s])))
    .map((symbol) => ({
      symbol,
      mixing: mixed(p, symbol, new Set([symbol])),
      everywhere: inputs.every((v) => v.shape?.includes(symbol)),
    }))
    .filter(({ symbol, mixing }) => mixing === undefined || (!mixing.isCertain && !isSequence(symbol)));
  candidates.sort(
    (a, b) =>
      Number(a.mixing !== undefined) - Number(b.mixing !== undefined) ||
      Number(isSequence(a.symbol)) - Number(isSequence(b.symbol)) ||
      Number(b.everywhere) - Number(a.everywhere),
  );
  const [best] = candidates;
  if (best === undefined) return undefined;
  const axes = placed(inputs, (d) => d === best.symbol);
  return { inputs: axes, isRows: rowsTest(new Set([best.symbol])), why: explained(axes) };
}

/** A batch of a fixed size: an axis with a size of the labels. */
function sized(inputs: readonly Value[], labels: Shape, p: Unplaced): Found | undefined {
  if (labels?.length === 0 && inputs.every((v) => v.shape?.[0] === 1))
    return { inputs: new Map(inputs.map((v) => [v, 0])), isRows: () => false, why: undefined };
  for (const size of new Set(labels)) {
    const axes = typeof size === 'number' ? axesOfSize(inputs, size, p) : undefined;
    if (axes !== undefined) return { inputs: axes, isRows: (d) => d === size, why: explained(axes) ?? 'all first' };
  }
  return undefined;
}

function axesOfSize(inputs: readonly Value[], size: number, p: Unplaced): Map<Value, BatchAxis> | undefined {
  // One row: other inputs belong to it as a whole.
  if (size === 1 && inputs.some((v) => v.shape?.[0] === 1))
    return new Map(inputs.map((v) => [v, v.shape?.[0] === 1 ? 0 : null]));
  const places = inputs.map((v) => v.shape?.flatMap((d, axis) => (d === size ? [axis] : [])) ?? []);
  if (places.some((axes) => axes.length !== 1)) return undefined;
  const list = inputs.map((input, i) => ({ name: 'batch' as const, input, axis: places[i]?.[0] ?? 0, length: size }));
  if (size > 1 && mixedAlong(p, { symbols: new Map(), axes: list, isRows: () => false })?.isCertain === true)
    return undefined;
  return new Map(list.map(({ input, axis }) => [input, axis]));
}

/** First axes without a name, where labels tell nothing. */
function unnamed(inputs: readonly Value[], labels: Shape, p: Unplaced): Found | undefined {
  const [first] = labels ?? [null];
  const isKnown = first === undefined || typeof first === 'number';
  if (isKnown || (first !== null && inputs.some((v) => v.shape?.includes(first)))) return undefined;
  const axes = placed(inputs, () => false);
  const isAny = [...axes.values()].includes(0);
  const list = [...axes].flatMap(([input, axis]) =>
    axis === null ? [] : [{ name: 'batch' as const, input, axis, length: 2 }],
  );
  const own = new Set(list.flatMap(({ input: { shape } }) => shape?.[0] ?? []).filter((d) => typeof d === 'string'));
  const how = { symbols: new Map<string, number>(), axes: list, isRows: (s: string) => own.has(s) };
  if (!isAny || mixedAlong(p, how)?.isCertain === true) return undefined;
  return { inputs: axes, isRows: rowsTest(own), why: explained(axes) };
}

/**
 * The axes found, replaced by those that the user gave. Errors: BAD_OPTION for an input or an axis that does not exist.
 */
function given(inputs: readonly Value[], labels: Shape, found: Found, { options }: Unplaced): Found {
  const { labels: _, ...asked } = options.batchAxis;
  const names = inputs.map((v) => v.name);
  for (const [name, value] of Object.entries(options.batchAxis)) {
    const shape = name === 'labels' && !names.includes(name) ? labels : inputs.find((v) => v.name === name)?.shape;
    const option = `--batch-axis ${name}=${value}`;
    if (shape === undefined)
      throw badOption(`${option}: no input has this name${didYouMean(name, [...names, 'labels'])}`);
    const axis = numberOf(value);
    if (axis !== null && !(Number.isInteger(axis) && axis >= 0 && axis < shape.length))
      throw badOption(
        `${option}: "${name}" ${textOf(shape)} has no such axis`,
        `give a number below ${shape.length}, or none`,
      );
  }
  if (Object.keys(asked).length === 0) return found;
  const axes = new Map(
    [...found.inputs].map(([v, axis]) => [v, Object.hasOwn(asked, v.name) ? numberOf(asked[v.name]) : axis]),
  );
  const dims = new Set([...axes].flatMap(([v, axis]) => (axis === null ? [] : [v.shape?.[axis] ?? null])));
  const isRows = (d: Dim): boolean => d !== null && (dims.has(d) || symbolsOf(d).some((s) => dims.has(s)));
  return { inputs: axes, isRows, why: explained(axes) ?? 'by --batch-axis' };
}

/** No batch axis: each row is a run of its own. */
function none(inputs: readonly Value[]): Found {
  const shapes = inputs.map((v) => `"${v.name}" ${textOf(v.shape)}`).join(', ');
  return {
    inputs: new Map(inputs.map((v) => [v, null])),
    isRows: () => false,
    why: `the model has no batch axis (${shapes}): each row of a data file is one run with whole inputs, and the gradients of --batch-size rows are accumulated; --batch-axis sets another`,
  };
}

/** The axes with rows; where an input has none of these dims, an unnamed first axis counts too. */
function placed(inputs: readonly Value[], isRows: (d: Dim) => boolean): Map<Value, BatchAxis> {
  const inner = new Set(inputs.flatMap((v) => (v.shape ?? []).slice(1)).filter((d) => typeof d === 'string'));
  return new Map(
    inputs.map((v) => {
      const at = v.shape?.findIndex(isRows) ?? -1;
      const [first] = v.shape ?? [];
      if (at >= 0) return [v, at];
      const isFree = first === null || (typeof first === 'string' && !inner.has(first) && !isSequence(first));
      return [v, isFree ? 0 : null];
    }),
  );
}

function explained(axes: ReadonlyMap<Value, BatchAxis>): string | undefined {
  const parts = [...axes].flatMap(([v, axis]) =>
    axis === 0
      ? []
      : [
          axis === null
            ? `"${v.name}" ${textOf(v.shape)} has none and is the same for all rows of a batch`
            : `axis ${axis} of "${v.name}" ${textOf(v.shape)} counts the rows`,
        ],
  );
  return parts.length === 0 ? undefined : `batch axes: ${parts.join('; ')}; --batch-axis sets others`;
}

/** Whether an input has an axis twice, as a matrix of relations between the entries: those are not rows. */
const isTwice = (inputs: readonly Value[], symbols: ReadonlySet<string>): boolean =>
  inputs.some((v) => (v.shape ?? []).filter((d) => typeof d === 'string' && symbols.has(d)).length > 1);

const rowsTest = (rows: ReadonlySet<string>) => (d: Dim) => symbolsOf(d).some((s) => rows.has(s));

function mixed(p: Unplaced, symbol: string, rows: ReadonlySet<string>): Mixing | undefined {
  return mixedAlong(p, { symbols: new Map([[symbol, 2]]), axes: [], isRows: (s) => rows.has(s) });
}
