/** Reductions with their axes written in every way, the softmax family, normalizations and losses. */
import { sizeOf } from '../../../src/graph/layers.ts';
import type { Value } from '../../../src/graph/model.ts';
import type { Draft, Entry } from './draft.ts';
import { axisOf, some } from './layout.steps.ts';
import type { Step } from './step.ts';

interface Axes {
  readonly written: Value | undefined;
  readonly attrs: { readonly keepdims: number; readonly noop_with_empty_axes?: number };
  readonly dims: number[];
  /** Elements that become one. */
  readonly count: number;
}

function axesOf(d: Draft, shape: readonly number[]): Axes {
  const keepdims = d.draw(2);
  const result = (gone: (i: number) => boolean): Pick<Axes, 'dims' | 'count'> => ({
    dims: shape.flatMap((n, i) => (gone(i) ? (keepdims === 1 ? [1] : []) : [n])),
    count: sizeOf(shape.filter((_, i) => gone(i))),
  });
  const form = d.draw(5);
  if (form === 0 || shape.length === 0) return { written: undefined, attrs: { keepdims }, ...result(() => true) };
  if (form === 1) {
    const noop = d.draw(2);
    const attrs = { keepdims, noop_with_empty_axes: noop };
    return { written: d.fixed([], [0]), attrs, ...result(() => noop === 0) };
  }
  const list = [axisOf(d, shape.length)];
  const other = axisOf(d, shape.length);
  if (other.axis !== list[0]?.axis && d.draw(2) === 0) list.push(other);
  const at = list.map((l) => l.axis);
  const written = list.map((l) => l.written);
  // Axes that are not known leave no lengths but 1, so they are fed only where they stay.
  return {
    written: form === 2 && keepdims === 1 ? d.whole(written) : d.fixed(written),
    attrs: { keepdims },
    ...result((i) => at.includes(i)),
  };
}

const reduction = (
  op: `Reduce${'Sum' | 'Mean' | 'SumSquare' | 'L1' | 'L2' | 'LogSum' | 'LogSumExp' | 'Max' | 'Min' | 'Prod'}`,
  domain: (d: Draft, e: Entry) => Entry,
  bound: (b: number, n: number) => number,
): Step => ({
  ops: [op],
  make: (d) => {
    const x = domain(d, d.pick());
    const { written, attrs, dims, count } = axesOf(d, x.shape);
    d.put(d.g[op](x.value, written, attrs), bound(x.bound, count), dims);
  },
});

const any = (_: Draft, e: Entry): Entry => e;
const offZero = (d: Draft, e: Entry): Entry => d.around(e, [1, -1], 0.5);
const apart = (d: Draft, e: Entry): Entry => d.distinct(e);

/** Rows that vary, so that a deviation is no zero. */
const varied = (d: Draft, e: Entry): Entry => d.distinct(e);

const epsilon = (d: Draft): number => d.oneOf([1e-5, 0.1]);

/** [N, C] or [N, C, D] with labels [N] or [N, D]. */
function scores(d: Draft): { x: Entry; labels: Value; shape: number[]; ignored: number | undefined } {
  const x = d.pick(
    (e) => (e.shape.length === 2 || e.shape.length === 3) && (e.shape[1] ?? 0) > 1,
    () => [1 + d.draw(3), 3, ...(d.draw(2) === 0 ? [] : [2])],
  );
  const shape = x.shape.filter((_, i) => i !== 1);
  const ignored = d.oneOf([undefined, -100, 1]);
  // The first label counts, so that a mean divides by something.
  const values = Array.from({ length: sizeOf(shape) }, (_, i) =>
    i === 0 ? 0 : ignored !== undefined && d.draw(3) === 0 ? ignored : d.draw(x.shape[1] ?? 1),
  );
  return { x, labels: d.whole(values, shape), shape, ignored };
}

function loss(op: 'NegativeLogLikelihoodLoss' | 'SoftmaxCrossEntropyLoss'): Step {
  return {
    ops: [op],
    make: (d) => {
      const { x, labels, shape, ignored } = scores(d);
      const weights = d.draw(2) === 0 ? undefined : d.around(d.operand([x.shape[1] ?? 1]), [1, 2], 0.5).value;
      const reduction = d.oneOf(['mean', 'sum', 'none'] as const);
      const second = op === 'SoftmaxCrossEntropyLoss' && d.draw(2) === 0;
      const [y, logs] = d.g.node({
        op,
        inputs: [x.value, labels, weights],
        attrs: { reduction, ignore_index: ignored },
        outputs: second ? 2 : 1,
      });
      const each = op === 'SoftmaxCrossEntropyLoss' ? 2 * x.bound + 2 : x.bound;
      const dims = reduction === 'none' ? shape : [];
      if (y !== undefined) d.put(y, 3 * each * (reduction === 'sum' ? sizeOf(shape) : 1), dims);
      if (logs !== undefined) d.put(logs, each, x.shape);
    },
  };
}

export const steps: readonly Step[] = [
  reduction('ReduceSum', any, (b, n) => b * n),
  reduction('ReduceMean', any, (b) => b),
  reduction('ReduceSumSquare', any, (b, n) => b * b * n),
  reduction('ReduceL1', offZero, (b, n) => b * n),
  reduction('ReduceL2', offZero, (b, n) => b * Math.sqrt(n)),
  reduction(
    'ReduceLogSum',
    (d, e) => d.around(e, [1, 1.5], 0.5),
    (b, n) => Math.log(b * n) + 1,
  ),
  reduction('ReduceLogSumExp', any, (b, n) => b + Math.log(n)),
  reduction('ReduceMax', apart, (b) => b),
  reduction('ReduceMin', apart, (b) => b),
  reduction(
    'ReduceProd',
    (d, e) => d.around(e, [1, -1], 0.15),
    (b, n) => b ** n,
  ),
  ...(['Softmax', 'LogSoftmax'] as const).map(
    (op): Step => ({
      ops: [op],
      make: (d) => {
        const x = some(d);
        const { axis, written } = axisOf(d, x.shape.length);
        const n = x.shape[axis] ?? 1;
        d.put(d.g[op](x.value, { axis: written }), op === 'Softmax' ? 1 : 2 * x.bound + Math.log(n), x.shape);
      },
    }),
  ),
  ...(['LayerNormalization', 'RMSNormalization'] as const).map(
    (op): Step => ({
      ops: [op],
      since: op === 'RMSNormalization' ? 23 : 18,
      make: (d) => {
        const x = varied(d, some(d));
        const { axis, written } = axisOf(d, x.shape.length);
        const tail = x.shape.slice(axis);
        const scale = d.operand(tail);
        const bias = op === 'LayerNormalization' && d.draw(2) === 0 ? d.operand(tail) : undefined;
        const [y] = d.g.node({
          op,
          inputs: [x.value, scale.value, bias?.value],
          attrs: { axis: written, epsilon: epsilon(d) },
          outputs: 1,
        });
        if (y !== undefined) d.put(y, Math.sqrt(sizeOf(tail)) * scale.bound + (bias?.bound ?? 0), x.shape);
      },
    }),
  ),
  {
    ops: ['BatchNormalization'],
    make: (d) => {
      const x = d.pick(
        (e) => e.shape.length > 1,
        () => d.shape(2 + d.draw(2)),
      );
      const c = [x.shape[1] ?? 1];
      const variance = d.around(d.operand(c), [1, 2], 0.5);
      const [scale, bias, mean] = [d.operand(c), d.operand(c), d.operand(c)];
      const y = d.g.BatchNormalization(x.value, scale.value, bias.value, mean.value, variance.value, {
        epsilon: epsilon(d),
      });
      d.put(y, (x.bound + mean.bound) * 1.5 * scale.bound + bias.bound, x.shape);
    },
  },
  {
    ops: ['LpNormalization'],
    make: (d) => {
      const x = offZero(d, some(d));
      const { written } = axisOf(d, x.shape.length);
      d.put(d.g.LpNormalization(x.value, { axis: written, p: 1 + d.draw(2) }), 1, x.shape);
    },
  },
  ...(['InstanceNormalization', 'GroupNormalization'] as const).map(
    (op): Step => ({
      ops: [op],
      only: 'float32',
      since: op === 'GroupNormalization' ? 21 : 18,
      make: (d) => {
        const x = varied(
          d,
          d.pick(
            (e) => e.shape.length > 2,
            () => [1 + d.draw(2), 2 * (1 + d.draw(2)), 2 + d.draw(3)],
          ),
        );
        const c = x.shape[1] ?? 1;
        const [scale, bias] = [d.operand([c]), d.operand([c])];
        const groups = c % 2 === 0 ? 1 + d.draw(2) : 1;
        const attrs = { epsilon: 0.1, num_groups: op === 'GroupNormalization' ? groups : undefined };
        const inputs = [x.value, scale.value, bias.value];
        const [y] = d.g.node({ op, inputs, attrs, outputs: 1 });
        if (y !== undefined) d.put(y, Math.sqrt(sizeOf(x.shape)) * scale.bound + bias.bound, x.shape);
      },
    }),
  ),
  {
    ops: ['MeanVarianceNormalization'],
    only: 'float32',
    make: (d) => {
      const x = varied(
        d,
        d.pick(
          (e) => e.shape.length > 0 && (e.shape.at(-1) ?? 1) > 1,
          () => [2, 3],
        ),
      );
      const axes = [x.shape.length - 1];
      d.put(d.g.MeanVarianceNormalization(x.value, { axes }), Math.sqrt(x.shape.at(-1) ?? 1), x.shape);
    },
  },
  loss('NegativeLogLikelihoodLoss'),
  loss('SoftmaxCrossEntropyLoss'),
];
