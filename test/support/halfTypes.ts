/** Models in other types than float32, and what they are held against. */
import { Tensor } from 'onnxruntime-node';
import { cloneModel } from '../../src/graph/clone.ts';
import { type Model, type Node, tensorType, uniqueNames } from '../../src/graph/model.ts';
import { numbersOf, tensorOf } from '../../src/graph/tensor.ts';
import { computeInFloat32, throughFloat32 } from '../../src/passes/precision/missingKernels.ts';
import { numbers } from './gradients/harness.ts';

type Feeds = Record<string, Tensor>;

/** The model with all of its half types in float32, weights too: what their roundings are held against. */
export function inFloat32(model: Model): Model {
  const { model: wide } = cloneModel(model);
  for (const graph of wide.graph.allGraphs())
    for (const v of graph.initializers) {
      const values = v.dtype === 'float16' || v.dtype === 'bfloat16' ? v.tensor && numbersOf(v.tensor) : undefined;
      if (v.tensor === undefined || values === undefined) continue;
      v.tensor = tensorOf('float32', v.tensor.dims, values);
      v.type = tensorType('float32', v.tensor.dims);
    }
  computeInFloat32(wide, 'float16');
  computeInFloat32(wide, 'bfloat16');
  return wide;
}

/**
 * Operators of bfloat16, which the CPU provider has no kernels for, between casts: operands and result are rounded as the kernels on a GPU
 * round them, which compute in float32 inside. The model itself where it has none.
 */
export function runnable(model: Model): Model {
  const lacks = (node: Node): boolean =>
    node.op !== 'Cast' &&
    node.op !== 'Gather' &&
    [...node.inputs, ...node.outputs].some((v) => v?.dtype === 'bfloat16');
  if (![...model.graph.allNodes()].some(lacks)) return model;
  const { model: copy } = cloneModel(model);
  for (const graph of copy.graph.allGraphs())
    for (const node of [...graph.nodes]) if (lacks(node)) throughFloat32(graph, node, 'bfloat16');
  uniqueNames(copy.graph);
  return copy;
}

/** Relative noise of a few roundings, as far as the types of the graph have any beyond float32's. */
export function roundingOf(model: Model): number | undefined {
  const has = (bits: string): boolean =>
    [...model.graph.allGraphs()].some((g) =>
      [...g.inputs, ...g.initializers, ...g.nodes.flatMap((n) => n.outputs)].some((v) => v.dtype === bits),
    );
  // Units in the last place are 2^-8 and 2^-11; a dozen operators stand behind one another.
  return has('bfloat16') ? 2 ** -5 : has('float16') ? 2 ** -8 : undefined;
}

/** Elements of any float type. */
export const wide = (t: Tensor | undefined): Float32Array => Float32Array.from(t === undefined ? [] : numbers(t));

/** The same feeds for a model in float32. */
export const wideFeeds = (feeds: Feeds): Feeds =>
  Object.fromEntries(
    Object.entries(feeds).map(([n, t]) => [n, t.type === 'float16' ? new Tensor('float32', wide(t), t.dims) : t]),
  );
