/**
 * Default values of inputs that a data file lacks, so that token ids alone are enough. The runtime computes them row by
 * row.
 */
import type { Value } from '../../../graph/model.ts';
import { isMaskName, isPositionName, isTypeName, ofAnotherPart } from './names.ts';

export interface Absent {
  /** 1 for every token of the row; the cumulative sum of the mask minus 1; 0. Padding is 0. */
  readonly value: 'ones' | 'positions' | 'zeros';
  /** The input with the same number of entries. */
  readonly like: string;
}

export function absentInputs(inputs: readonly Value[], tokens: Value | undefined): ReadonlyMap<string, Absent> {
  const found = new Map<string, Absent>();
  for (const v of inputs) {
    const value = standIn(v);
    const like = value === undefined ? undefined : counterpart(v, inputs, tokens);
    if (value !== undefined && like !== undefined) found.set(v.name, { value, like: like.name });
  }
  return found;
}

function standIn(v: Value): Absent['value'] | undefined {
  if (v.shape?.length !== 2) return undefined;
  if (isMaskName(v.name)) return 'ones';
  if (v.dtype !== 'int64' && v.dtype !== 'int32') return undefined;
  return isTypeName(v.name) ? 'zeros' : isPositionName(v.name) ? 'positions' : undefined;
}

/** The tokens if their sequence dim is the same or open, else an input with the same second dim. */
function counterpart(v: Value, inputs: readonly Value[], tokens: Value | undefined): Value | undefined {
  const length = v.shape?.[1] ?? null;
  const others = inputs.filter((o) => standIn(o) === undefined && (o.shape?.length ?? 0) >= 2);
  const same = (o: Value): boolean => length !== null && o.shape?.[1] === length;
  if (tokens !== undefined && same(tokens)) return tokens;
  const other = others.find(same);
  if (other !== undefined) return other;
  // Exports without named axes give each input its own symbols.
  const open = typeof length !== 'number' && typeof tokens?.shape?.[1] !== 'number';
  return open && !ofAnotherPart(v.name) ? tokens : undefined;
}
