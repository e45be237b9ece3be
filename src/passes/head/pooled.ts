/** Pooling: one vector for each row, from those of its positions, or from the cells of a map of features. */
import type { Pooling } from '../../graph/choices/heads.ts';
import type { Value } from '../../graph/model.ts';
import { dataTypeNumber } from '../../graph/tensor.ts';
import type { HeadPlan } from './plan.ts';
import type { HeadTools } from './tools.ts';

/** The least number of tokens that a sum is divided by, as in sentence-transformers. */
const leastCount = 1e-9;
/** The number in place of a padded position when a maximum is taken, as in sentence-transformers. */
const lowest = -1e9;
/** The end of a Slice up to the end of its axis. */
const end = 2 ** 31 - 1;

/** float32 [N, width], or [N, S, width] without a pooling. */
export function pooled(g: HeadTools, states: Value, plan: HeadPlan, mask?: Value): Value {
  const { pooling, rank, cached, cast } = plan;
  const wide = (v: Value): Value => (cast === true ? g.b.Cast(v, { to: dataTypeNumber('float32') }) : v);
  if (pooling === undefined) return wide(states);
  if (rank === 4) return map(g, wide(states), pooling);
  const tokens = mask && (cached === true ? withoutCache(g, mask, states) : mask);
  // A selected position is cast alone, sums and maxima are formed in float32.
  return pooling === 'cls' || pooling === 'last'
    ? wide(selected[pooling](g, states, tokens))
    : reduced[pooling](g, wide(states), tokens);
}

/** The mean or the maximum over the cells of [N, width, height, width of the map]. */
function map({ b }: HeadTools, features: Value, pooling: Pooling): Value {
  const one = pooling === 'max' ? b.GlobalMaxPool(features) : b.GlobalAveragePool(features);
  return b.Flatten(one);
}

type Pool = (g: HeadTools, states: Value, mask: Value | undefined) => Value;

const selected: Readonly<Record<'cls' | 'last', Pool>> = {
  cls: ({ b, scalar }, states) => b.Gather(states, scalar('int64', 0), { axis: 1 }),

  last: ({ b, scalar, cast }, states, mask) => {
    if (mask === undefined) return b.Gather(states, scalar('int64', -1), { axis: 1 });
    const at = b.ArgMax(cast(mask, 'float32'), { axis: 1, select_last_index: 1 });
    return b.GatherND(states, at, { batch_dims: 1 });
  },
};

const reduced: Readonly<Record<'mean' | 'max', Pool>> = {
  mean: ({ b, scalar, cast, reduce, unsqueeze }, states, mask) => {
    if (mask === undefined) return reduce('ReduceMean', states, 1, 0);
    const counted = cast(mask, 'float32');
    const sum = reduce('ReduceSum', b.Mul(states, unsqueeze(counted, 2)), 1, 0);
    const count = reduce('ReduceSum', counted, 1, 1);
    return b.Div(sum, b.Max([count, scalar('float32', leastCount)]));
  },

  max: ({ b, scalar, cast, reduce, unsqueeze }, states, mask) => {
    if (mask === undefined) return reduce('ReduceMax', states, 1, 0);
    const counted = unsqueeze(cast(mask, 'bool'), 2);
    return reduce('ReduceMax', b.Where(counted, states, scalar('float32', lowest)), 1, 0);
  },
};

/** The last positions of a mask, as many as there are states: those of a cache come first. */
function withoutCache({ b }: HeadTools, mask: Value, states: Value): Value {
  const length = b.Gather(b.Shape(states), b.ints([1]));
  return b.Slice(mask, b.Neg(length), b.ints([end]), b.ints([1]));
}
