/** Frozen tensors that the compile adapts: the options name all that are called `layerN.weight`. */
import { sizeOf } from '../../../src/graph/layers.ts';
import type { Value } from '../../../src/graph/model.ts';
import { type DataType, tensorOf } from '../../../src/graph/tensor.ts';
import type { Draft, Entry } from './draft.ts';

export function frozen(d: Draft, dtype: DataType, dims: readonly number[], value: () => number): Value {
  const values = Array.from({ length: sizeOf(dims) }, value);
  const v = d.g.tensor(`layer${d.graph.initializers.length}.weight`, tensorOf(dtype, dims, values));
  d.graph.initializers.push(v);
  return v;
}

/** Half of the time, where adapters compute as the graph does: in float32. */
export const layered = (d: Draft): boolean => d.type === 'float32' && d.draw(2) === 0;

/** Elements of a layer's weight, with room for what its adapter adds. */
export const layerOf = (d: Draft, dims: readonly number[]): Entry => ({
  value: frozen(d, d.type, dims, () => Math.fround(2 * d.next() - 1)),
  shape: dims,
  bound: 3,
});
