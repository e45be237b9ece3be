/** Fused operators of ONNX Runtime's optimizers. */

import { sizeOf } from '../../../src/graph/layers.ts';
import type { Value } from '../../../src/graph/model.ts';
import type { OpKey } from '../../../src/graph/operators.ts';
import { type Draft, type Entry, inputBound } from './draft.ts';
import { some } from './layout.steps.ts';
import type { Step } from './step.ts';

const domain = 'com.microsoft';
type Name<K> = K extends `com.microsoft.${infer N}` ? N : never;

const call = (
  d: Draft,
  op: Name<OpKey>,
  inputs: readonly (Value | undefined)[],
  attrs: object = {},
  outputs = 1,
): readonly Value[] => d.g.node({ op, domain, inputs, attrs, outputs });

const fused = (op: Name<OpKey>, make: (d: Draft) => void): Step => ({
  ops: [`com.microsoft.${op}`],
  only: 'float32',
  make,
});

/** Elementwise on x, or x + b. */
const gelu = (op: Name<OpKey>, bias: 'none' | 'perhaps' | 'always', attrs: (d: Draft) => object = () => ({})): Step =>
  fused(op, (d) => {
    const x = some(d);
    const with_ = bias === 'always' || (bias === 'perhaps' && d.draw(2) === 0);
    const b = with_ ? d.operand([x.shape.at(-1) ?? 1]) : undefined;
    const [y] = call(d, op, [x.value, b?.value], attrs(d));
    if (y !== undefined) d.put(y, 1.1 * (x.bound + (b?.bound ?? 0)), x.shape);
  });

/** [N, S, W] whose rows vary. */
const rows = (d: Draft): Entry =>
  d.distinct(
    d.pick(
      (e) => e.shape.length === 3 && (e.shape[2] ?? 1) > 1,
      () => [1 + d.draw(2), 1 + d.draw(3), 2 + d.draw(3)],
    ),
  );

const skip = (op: 'SkipLayerNormalization' | 'SkipSimplifiedLayerNormalization'): Step =>
  fused(op, (d) => {
    const x = rows(d);
    const w = [x.shape[2] ?? 1];
    const other = d.scaled(d.operand(x.shape), 0.05);
    const vector = (): Entry | undefined => (d.draw(2) === 0 ? d.operand(w) : undefined);
    const gamma = d.operand(w);
    const [beta, bias] = [op === 'SkipLayerNormalization' ? vector() : undefined, vector()];
    const inputs = [x, other, gamma, ...(op === 'SkipLayerNormalization' ? [beta] : []), bias].map((e) => e?.value);
    const second = d.draw(2) === 0;
    const results = call(d, op, inputs, { epsilon: 0.1 }, second ? 4 : 1);
    const [y, , , sum] = results;
    if (y !== undefined) d.put(y, Math.sqrt(w[0] ?? 1) * gamma.bound + (beta?.bound ?? 0), x.shape);
    if (sum !== undefined) d.put(sum, x.bound + other.bound + (bias?.bound ?? 0), x.shape);
  });

/** A weight whose lengths ONNX Runtime wants to know before. */
function sized(d: Draft, ...shape: readonly number[]): Entry {
  if (d.mode === 'static') return d.operand(shape);
  const values = Array.from({ length: sizeOf(shape) }, () => Math.fround(2 * d.next() - 1));
  return { value: d.constant(shape, values), shape, bound: 1 };
}

export const steps: readonly Step[] = [
  gelu('Gelu', 'none'),
  gelu('FastGelu', 'perhaps'),
  gelu('BiasGelu', 'always'),
  gelu('QuickGelu', 'none', (d) => ({ alpha: d.oneOf([1.702, 0.7]) })),
  skip('SkipLayerNormalization'),
  skip('SkipSimplifiedLayerNormalization'),
  fused('FusedMatMul', (d) => {
    const x = d.pick(
      (e) => e.shape.length > 1,
      () => d.shape(2 + d.draw(2)),
    );
    const [transA, transB] = [d.draw(2), d.draw(2)];
    const tail = x.shape.slice(-2);
    const [m = 1, k = 1] = transA === 1 ? tail.toReversed() : tail;
    const n = 1 + d.draw(3);
    const batch = d.draw(2) === 0 ? x.shape.slice(0, -2) : [];
    const w = d.operand([...batch, ...(transB === 1 ? [n, k] : [k, n])]);
    const [y] = call(d, 'FusedMatMul', [x.value, w.value], { transA, transB, alpha: d.oneOf([1, 0.5]) });
    if (y !== undefined) d.put(y, k * x.bound * w.bound, [...x.shape.slice(0, -2), m, n]);
  }),
  fused('MultiHeadAttention', (d) => {
    const [batch, heads, size, queries, keys] = [1 + d.draw(2), 1 + d.draw(2), 2, 1 + d.draw(3), 1 + d.draw(3)];
    const at = (n: number): Entry => {
      const shape = [batch, n, heads * size];
      return d.pick(
        (e) => e.shape.join() === shape.join(),
        () => shape,
      );
    };
    const [q, k, v] = [at(queries), at(keys), at(keys)];
    const mask = d.draw(2) === 0 ? undefined : d.operand([1, 1, queries, keys]);
    const bias = d.draw(2) === 0 ? undefined : d.operand([3 * heads * size]);
    const inputs = [q.value, k.value, v.value, bias?.value, undefined, mask?.value];
    const [y] = call(d, 'MultiHeadAttention', inputs, { num_heads: heads, unidirectional: d.draw(2) });
    if (y !== undefined && sizeOf(q.shape) > 0) d.put(y, v.bound + (bias?.bound ?? 0), q.shape);
  }),
  fused('FusedGemm', (d) => {
    const x = d.ranked(2);
    const [transA, transB] = [d.draw(2), d.draw(2)];
    const [m = 1, k = 1] = transA === 1 ? x.shape.toReversed() : x.shape;
    const n = 1 + d.draw(3);
    const w = d.operand(transB === 1 ? [n, k] : [k, n]);
    const c = d.draw(2) === 0 ? undefined : d.operand([n]);
    const activation = d.oneOf(['Sigmoid', 'Tanh', 'Softplus']);
    const attrs = { activation, transA, transB, alpha: d.oneOf([1, 0.5]), beta: d.oneOf([1, 2]) };
    const [y] = call(d, 'FusedGemm', [x.value, w.value, c?.value], attrs);
    if (y !== undefined) d.put(y, k * x.bound * w.bound + 2 * (c?.bound ?? 0) + 1, [m, n]);
  }),
  fused('RotaryEmbedding', (d) => {
    const [batch, heads, length, half] = [1 + d.draw(2), 1 + d.draw(2), 1 + d.draw(3), 1 + d.draw(2)];
    const shape = d.draw(2) === 0 ? [batch, heads, length, 2 * half] : [batch, length, 2 * half * heads];
    const x = d.pick(
      (e) => e.shape.join() === shape.join(),
      () => shape,
    );
    // ONNX Runtime wants the tables' lengths to be known before.
    const [cos, sin] = [0, 1].map(() =>
      d.constant(
        [5, half],
        Array.from({ length: 5 * half }, () => d.next()),
      ),
    );
    const places = Array.from({ length: batch * length }, () => d.draw(5));
    const at = d.draw(2) === 0 ? d.whole([d.draw(6 - length)]) : d.whole(places, [batch, length]);
    const [y] = call(d, 'RotaryEmbedding', [x.value, at, cos, sin], { interleaved: d.draw(2) });
    if (y !== undefined) d.put(y, 2 * x.bound, shape);
  }),
  fused('Attention', (d) => {
    const [batch, length, width, heads, size] = [1 + d.draw(2), 1 + d.draw(3), 1 + d.draw(3), 1 + d.draw(2), 2];
    const shape = [batch, length, width];
    const x = d.pick(
      (e) => e.shape.join() === shape.join(),
      () => shape,
    );
    const hidden = heads * size;
    const values = Array.from({ length: width * 3 * hidden }, () => Math.fround(2 * d.next() - 1));
    const w = d.draw(2) === 0 ? d.operand([width, 3 * hidden]).value : d.constant([width, 3 * hidden], values);
    const b = sized(d, 3 * hidden);
    const mask = d.draw(2) === 0 ? undefined : d.operand([1, 1, length, length]);
    const inputs = [x.value, w, b.value, undefined, undefined, mask?.value];
    const [y] = call(d, 'Attention', inputs, { num_heads: heads, unidirectional: d.draw(2) });
    if (y !== undefined) d.put(y, width * x.bound * inputBound + b.bound, [batch, length, hidden]);
  }),
  fused('EmbedLayerNormalization', (d) => {
    const [batch, length, width, words, segments] = [1 + d.draw(2), 1 + d.draw(3), 2 + d.draw(2), 4, d.draw(2) === 0];
    const ids = (n: number): Value =>
      d.whole(
        Array.from({ length: batch * length }, () => d.draw(n)),
        [batch, length],
        { type: 'int32' },
      );
    const table = (n: number): Value => sized(d, n, width).value;
    const [gamma, beta] = [sized(d, width), sized(d, width)];
    const [first, second] = [ids(words), segments ? ids(2) : undefined];
    const inputs = [first, second, table(words), table(4), segments ? table(2) : undefined, gamma.value, beta.value];
    const [y] = call(d, 'EmbedLayerNormalization', inputs, { epsilon: 0.1 }, 2);
    if (y !== undefined) d.put(y, Math.sqrt(width) * gamma.bound + beta.bound, [batch, length, width]);
  }),
  {
    ops: ['SimplifiedLayerNormalization'],
    only: 'float32',
    make: (d) => {
      const x = d.distinct(some(d));
      const w = x.shape.at(-1) ?? 1;
      const scale = d.operand([w]);
      const [y] = d.g.node({
        op: 'SimplifiedLayerNormalization',
        inputs: [x.value, scale.value],
        attrs: { axis: -1, epsilon: d.oneOf([1e-5, 0.1]), stash_type: 1 },
        outputs: 1,
      });
      if (y !== undefined) d.put(y, Math.sqrt(w) * scale.bound, x.shape);
    },
  },
];
