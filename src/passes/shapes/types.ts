/** Combines types of values: the facts of both, and the facts true of either. */
import type { Dim, TensorType, ValueType } from '../../graph/model.ts';

/**
 * The inferred type, completed by what was known. If they contradict each other, the inference from the inputs wins
 * over the earlier declaration.
 */
export function refine(known: ValueType | undefined, inferred: ValueType | undefined): ValueType | undefined {
  if (known === undefined || inferred === undefined) return inferred ?? known;
  if (known.kind === 'tensor' && inferred.kind === 'tensor') return refineTensor(known, inferred);
  if (known.kind === 'sequence' && inferred.kind === 'sequence')
    return { kind: 'sequence', elem: refine(known.elem, inferred.elem) };
  if (known.kind === 'optional' && inferred.kind === 'optional')
    return { kind: 'optional', elem: refine(known.elem, inferred.elem) };
  return inferred;
}

function refineTensor(known: TensorType, inferred: TensorType): TensorType {
  const [a, b] = [known.shape, inferred.shape];
  const both = a !== undefined && b !== undefined && a.length === b.length;
  const shape = both ? b.map((d, i) => refineDim(a[i] ?? null, d)) : (b ?? a);
  return { ...(both ? known : inferred), dtype: inferred.dtype ?? known.dtype, shape };
}

/**
 * A number is more precise than a symbol, a symbol more than null; of two symbols the inputs' one agrees with the other
 * values.
 */
const refineDim = (known: Dim, inferred: Dim): Dim =>
  typeof inferred === 'number' ? inferred : typeof known === 'number' ? known : (inferred ?? known);

/** The facts true of both, for results that come from one of several places. */
export function common(a: ValueType | undefined, b: ValueType | undefined): ValueType | undefined {
  if (a === undefined || b === undefined) return undefined;
  if (a.kind === 'tensor' && b.kind === 'tensor') {
    const same = a.shape?.length === b.shape?.length;
    const shape = same ? a.shape?.map((d, i) => (d === b.shape?.[i] ? d : null)) : undefined;
    return { kind: 'tensor', dtype: a.dtype === b.dtype ? a.dtype : undefined, shape };
  }
  if (a.kind === 'sequence' && b.kind === 'sequence') return { kind: 'sequence', elem: common(a.elem, b.elem) };
  if (a.kind === 'optional' && b.kind === 'optional') return { kind: 'optional', elem: common(a.elem, b.elem) };
  return undefined;
}

/** True if both types are equal. */
export function sameType(a: ValueType | undefined, b: ValueType | undefined): boolean {
  if (a === undefined || b === undefined || a.kind !== b.kind) return a === b;
  if (a.kind === 'tensor' && b.kind === 'tensor') {
    const dims = a.shape?.length === b.shape?.length && (a.shape?.every((d, i) => d === b.shape?.[i]) ?? true);
    return a.dtype === b.dtype && dims;
  }
  if ((a.kind === 'sequence' || a.kind === 'optional') && (b.kind === 'sequence' || b.kind === 'optional'))
    return sameType(a.elem, b.elem);
  return a === b;
}
