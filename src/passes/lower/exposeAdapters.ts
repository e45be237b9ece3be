/**
 * Provides a deployed model with its adapter: as weights inside it, or as inputs. The model has its branches already
 * (lowerModelGraph); here A and B of the main graph take the requested form. Bodies and functions read them from there,
 * so they need no change.
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
import type { AdapterInputs } from '../../graph/choices/package.ts';
import { factorShapes, rankAxes } from '../../graph/layers.ts';
import {
  freshName,
  type Graph,
  graphsOf,
  type Layer,
  type Model,
  namesIn,
  replaceUses,
  tensorType,
  uniqueNames,
  Value,
} from '../../graph/model.ts';
import { rankSymbol, strengthName } from '../../graph/served.ts';
import { inlineTensor, tensorOf } from '../../graph/tensor.ts';

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
  if (kind !== 'baked') exposeFactors(graph, found, kind);
  return strength ? addStrength(model, found, kind) : undefined;
}

interface Factors {
  readonly layer: Layer;
  readonly a: Value;
  readonly b: Value;
}

/** A and B of every layer become inputs with an open rank, with empty defaults where they are optional. */
function exposeFactors(graph: Graph, layers: readonly Factors[], kind: 'required' | 'optional'): void {
  const rest = new Set(layers.flatMap(({ a, b }) => [a, b]));
  const kept = graph.initializers.filter((v) => !rest.has(v));
  graph.initializers.length = 0;
  graph.initializers.push(...kept);
  for (const { layer, a, b } of layers) {
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

/** A scalar input that multiplies every branch. Returns its name. */
function addStrength(model: Model, layers: readonly Factors[], kind: AdapterInputs): string {
  const { graph } = model;
  const factor = new Value(freshName(strengthName, namesIn(graphsOf(model))), tensorType('float32', []));
  if (kind === 'optional') {
    factor.tensor = tensorOf('float32', [], [1]);
    graph.initializers.push(factor);
  }
  graph.inputs.push(factor);
  // B is the smaller side of a branch: rank times the width of the output, whatever the batch.
  const g = createBuilder();
  const scaled = g.within({ origin: '', rule: 'export/strength' }, () =>
    layers.map(({ b }) => {
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
