/** A cache before the first token. */

import { cacheUnclear } from '../../../errors.ts';
import type { Dim, Value } from '../../../graph/model.ts';
import { shapeText } from '../../../graph/shapeText.ts';
import type { Length } from '../../common/dimArithmetic.ts';
import { layoutOf } from './caches.ts';
import { type Filled, full, type Ground, lengthsOf } from './ground.ts';
import { cacheKind } from './names.ts';

/** Dim 0 along the axis that grows; zeros if the size is fixed. Throws CACHE_UNCLEAR. */
export function atStart(v: Value, ground: Ground): Filled {
  const { g, tokens, rest, symbols } = ground;
  const unclear = (reason: string): Error => cacheUnclear(v.name, reason);
  const { dtype, shape = [] } = v;
  if (dtype === undefined) throw unclear('its element type is not known');
  const lengths = lengthsOf(v, ground);
  const made = (list: readonly (Length | undefined)[], text: string): Filled => {
    const known = list.map((l, i) => {
      if (l !== undefined) return l;
      throw unclear(`axis ${i} of ${shapeText(shape)} is not known`);
    });
    return { value: full(g, dtype, 0, known), text };
  };
  if (cacheKind(v.name) === 'state') return made(lengths, 'zeros');

  const layout = layoutOf(v, new Set(rest.flatMap((r) => r.shape?.slice(0, 1) ?? [])));
  if (typeof layout === 'string') throw unclear(layout);
  const { grows, writes, dims } = layout;
  const list = dims.map((d, i) => {
    if (i === grows) return 0;
    if (typeof d === 'number') return d;
    return i === writes && tokens !== undefined ? g.length(tokens, 1) : lengths[i];
  });
  if (grows === undefined) {
    const holds: Dim | undefined = writes === undefined ? undefined : dims[writes];
    return { ...made(list, 'zeros'), ...(typeof holds === 'number' ? { holds } : {}) };
  }
  const past = shape[grows];
  const isShared = rest.some((r) => r.shape?.includes(past ?? null));
  if (typeof past === 'string' && !isShared && !symbols.has(past)) symbols.set(past, 0);
  return made(list, 'length 0');
}
