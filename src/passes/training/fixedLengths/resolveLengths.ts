/**
 * Resolves the dims of a model's inputs that `batch` and `seq` refer to. The batch is the axis that counts rows.
 * Exporters use any name for the sequence, or none, so the position decides: the first axis beside the batch of the
 * tokens (or of another input with a sequence per row).
 */

import { badOption, didYouMean } from '../../../errors.ts';
import type { Dim, Value } from '../../../graph/model.ts';
import { shapeText } from '../../../graph/shapeText.ts';
import { isMaskName, isPositionName, isTypeName, ofAnotherPart } from '../../normalize/bind/names.ts';

/** Numbers for dims that a model leaves open. */
export interface FixedLengths {
  readonly batch?: number | undefined;
  readonly seq?: number | undefined;
  /** Numbers by the model's own symbols. */
  readonly dims: Readonly<Record<string, number>>;
}

/** An axis of an input without a symbol. */
interface Axis {
  readonly name: LengthName;
  readonly input: Value;
  readonly axis: number;
  readonly length: number;
}

/** The symbols and axes that get numbers. */
export interface Resolved {
  readonly symbols: ReadonlyMap<string, number>;
  readonly axes: readonly Axis[];
  /** Whether a symbol is the batch. */
  readonly isRows: (symbol: string) => boolean;
}

type LengthName = 'batch' | 'seq';

const ranks = {
  batch: [1, Number.POSITIVE_INFINITY],
  // Axes of images are not sequences: [N, channels, height, width].
  seq: [2, 3],
} as const;

/** The batch axis by input; inputs that are not listed have the first. */
export type AxesOfRows = ReadonlyMap<string, number | null>;

/** The axis that a name refers to; undefined if the input has none. */
function axisCalled(name: LengthName, { name: input }: Value, rows: AxesOfRows): number | undefined {
  const own = rows.get(input);
  if (name === 'batch') return own === null ? undefined : (own ?? 0);
  return own === 1 || own === null ? 0 : 1;
}

const ordinals = ['first', 'second', 'third'] as const;

/** The input whose axis a name refers to: the tokens, else the first that fits. */
function inputCalled(
  name: LengthName,
  inputs: readonly Value[],
  tokens: string | undefined,
  rows: AxesOfRows,
): Value | undefined {
  const [least, most] = ranks[name];
  const fits = (v: Value): boolean =>
    v.shape !== undefined &&
    v.shape.length >= least &&
    v.shape.length <= most &&
    axisCalled(name, v, rows) !== undefined;
  return inputs.find((v) => v.name === tokens && fits(v)) ?? inputs.find(fits);
}

/** The dim that a name refers to; undefined if no input has one. */
export function lengthCalled(
  name: LengthName,
  inputs: readonly Value[],
  tokens: string | undefined,
  rows: AxesOfRows,
): Dim | undefined {
  const v = inputCalled(name, inputs, tokens, rows);
  return v?.shape?.[axisCalled(name, v, rows) ?? -1];
}

/**
 * The symbols and axes that get numbers. The batch is the batch axis of every input, if it is open; the sequence is an
 * axis of the tokens, and of masks, types and positions with them. Errors: BAD_OPTION for a dim that no input
 * has, for one that the model fixes to another number, and for two numbers for one dim.
 */
export function resolveLengths(
  wanted: FixedLengths,
  inputs: readonly Value[],
  tokens: string | undefined,
  axesOfRows: AxesOfRows = new Map(),
): Resolved {
  const symbols = new Map<string, number>();
  const axes: Axis[] = [];
  const rows = new Set<string>();
  const put = (name: LengthName, option: string, input: Value, length: number): void => {
    const axis = axisCalled(name, input, axesOfRows);
    if (axis === undefined) return;
    const d = input.shape?.[axis] ?? null;
    if (d === null) {
      if (!axes.some((a) => a.input === input && a.axis === axis)) axes.push({ name, input, axis, length });
      return;
    }
    if (typeof d === 'number') return;
    const other = symbols.get(d);
    if (other !== undefined && other !== length)
      throw badOption(`${option} gives "${d}" another number than ${other}, in ${shapesOf([input])}`);
    symbols.set(d, length);
    if (name === 'batch') rows.add(d);
  };
  for (const [name, length] of Object.entries(wanted.dims)) {
    const option = `--dim ${name}=${length}`;
    const open = new Set(inputs.flatMap((v) => (v.shape ?? []).filter((d) => typeof d === 'string')));
    checkLength(option, length);
    if (!open.has(name))
      throw badOption(
        `${option}: no input has a length "${name}"${didYouMean(name, open) || `; the inputs are ${shapesOf(inputs)}`}`,
      );
    symbols.set(name, length);
  }
  for (const name of ['seq', 'batch'] as const) {
    const length = wanted[name];
    if (length === undefined) continue;
    const option = `--${name} ${length}`;
    checkLength(option, length);
    const first = inputCalled(name, inputs, tokens, axesOfRows);
    const axis = (first && axisCalled(name, first, axesOfRows)) ?? 0;
    const there = first?.shape?.[axis];
    if (first === undefined || (typeof there === 'number' && there !== length))
      throw badOption(
        first === undefined
          ? `${option}: no input has a ${name === 'seq' ? 'sequence' : 'batch'} axis; the inputs are ${shapesOf(inputs)}`
          : `${option}: the model has the ${ordinals[axis] ?? `axis ${axis}`} axis of ${shapesOf([first])} fixed to ${there}`,
        `leave --${name} out, or name another open length with --dim NAME=N`,
      );
    put(name, option, first, length);
    for (const v of inputs) if (goesWith(name, v, first, inputs, axesOfRows)) put(name, option, v, length);
  }
  return { symbols, axes, isRows: (symbol) => rows.has(symbol) };
}

/** Whether a separate axis means the same dim, as in exports in which each input has its own symbols or none. */
function goesWith(name: LengthName, v: Value, first: Value, inputs: readonly Value[], rows: AxesOfRows): boolean {
  const axis = axisCalled(name, v, rows);
  if (axis === undefined) return false;
  const d = v.shape?.[axis];
  if (v === first || d === undefined || typeof d === 'number') return false;
  const elsewhere = inputs.some((w) =>
    w.shape?.some((e, i) => e !== null && e === d && i !== axisCalled(name, w, rows)),
  );
  if (elsewhere) return false;
  if (name === 'batch') return true;
  if (v.shape?.length !== 2) return false;
  const beside = isMaskName(v.name) || isTypeName(v.name) || isPositionName(v.name);
  return beside && !ofAnotherPart(v.name);
}

function checkLength(option: string, length: number): void {
  if (!Number.isSafeInteger(length) || length < 1) throw badOption(`${option}: a length is a positive integer`);
}

/** `"ids" [batch, 128]`. */
const shapesOf = (inputs: readonly Value[]): string =>
  inputs.map((v) => `"${v.name}" ${shapeText(v.shape ?? [])}`).join(', ');
