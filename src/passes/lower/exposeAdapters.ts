/**
 * Provides a deployed model with its adapter: as weights inside it, or as inputs. The model has its branches already
 * (lowerBeside); here A and B of the main graph take the requested form. Bodies and functions read them from there, so
 * they need no change.
 *
 *   baked initializers
 *   required inputs, because JavaScript can feed only those; those of rank 0 give the base model
 *   optional inputs with such empty tensors as defaults: set by ONNX Runtime's adapter API (RunOptions)
 *
 * Each layer's rank axis has its own symbol. One symbol for all, as other tools write it, would promise ONNX Runtime
 * that all ranks are equal: it then reuses the buffer of one x·A for another and fails ("Shape mismatch attempting to
 * re-use buffer") for an adapter with several ranks, or without some of the layers.
 */
import { createBuilder } from '../../graph/builder.ts';
import { factorShapes, rankAxes } from '../../graph/layers.ts';
import { freshName, type Layer, type Model, replaceUses, tensorType, uniqueNames, Value } from '../../graph/model.ts';
import { rankSymbol, strengthName } from '../../graph/served.ts';
import { inlineTensor, tensorOf } from '../../graph/tensor.ts';

export const adapterInputs = ['baked', 'required', 'optional'] as const;
export type AdapterInputs = (typeof adapterInputs)[number];

/** Changes the model in place. `strength` adds a scalar input that scales every branch. Returns its name. */
export function exposeAdapters(
  model: Model,
  layers: readonly Layer[],
  kind: AdapterInputs,
  strength: boolean,
): string | undefined {
  const { graph } = model;
  const byName = new Map(graph.initializers.map((v) => [v.name, v]));
  const found = layers.map((layer) => {
    const [a, b] = [byName.get(layer.A), byName.get(layer.B)];
    if (a === undefined || b === undefined) throw new Error(`the model has no branch for "${layer.path}"`);
    const m = layer.magnitude === undefined ? undefined : byName.get(layer.magnitude);
    for (const v of [a, b, ...(m === undefined ? [] : [m])]) {
      // An ordinary weight from here on.
      if (v.tensor !== undefined) v.tensor = { ...v.tensor, metadata: new Map() };
    }
    return { layer, a, b };
  });
  if (kind !== 'baked') {
    const rest = new Set(found.flatMap(({ a, b }) => [a, b]));
    const kept = graph.initializers.filter((v) => !rest.has(v));
    graph.initializers.length = 0;
    graph.initializers.push(...kept);
    for (const { layer, a, b } of found) {
      const rank = rankSymbol + layer.path;
      const [shapes, axes] = [factorShapes({ ...layer, rank: 0 }), rankAxes(layer.op)];
      for (const [v, empty, axis] of [
        [a, shapes.A, axes.A],
        [b, shapes.B, axes.B],
      ] as const) {
        const type = empty.map((d, i) => (i === axis ? rank : d));
        v.type = tensorType('float32', type);
        v.tensor = kind === 'optional' ? inlineTensor('float32', empty, new Uint8Array(0)) : undefined;
        graph.inputs.push(v);
        if (v.tensor !== undefined) graph.initializers.push(v);
      }
    }
  }
  if (!strength) return undefined;
  const taken = new Set(
    [...graph.allGraphs()]
      .flatMap((g) => [...g.inputs, ...g.initializers, ...g.nodes.flatMap((n) => n.outputs)])
      .map((v) => v.name),
  );
  const factor = new Value(freshName(strengthName, taken), tensorType('float32', []));
  if (kind === 'optional') {
    factor.tensor = tensorOf('float32', [], [1]);
    graph.initializers.push(factor);
  }
  graph.inputs.push(factor);
  // B is the smaller side of a branch: rank times the width of the output, whatever the batch.
  const g = createBuilder();
  const scaled = g.within({ origin: '', rule: 'export/strength' }, () =>
    found.map(({ b }) => {
      const out = g.Mul(b, factor);
      out.name = `${b.name}.scaled`;
      out.type = b.type;
      if (out.producer !== undefined) out.producer.name = out.name;
      return { b, out };
    }),
  );
  for (const { b, out } of scaled) replaceUses(b, out);
  graph.insertAfter(undefined, ...scaled.flatMap(({ out }) => (out.producer === undefined ? [] : [out.producer])));
  uniqueNames(graph);
  return factor.name;
}
