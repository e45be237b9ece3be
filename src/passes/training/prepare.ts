/**
 * The training graphs out of an adapted model: forward and loss, gradients of A and B, optimizer, as one step, as its two halves,
 * and as a Scan over K steps. Each is built on a copy of the normalized forward graph.
 */

import { createBuilder } from '../../graph/builder.ts';
import { cloneModel } from '../../graph/clone.ts';
import { type Model, uniqueNames } from '../../graph/model.ts';
import { absorbBiases } from '../canonicalize/absorbBiases.ts';
import { canonicalize } from '../canonicalize/adaptedForm.ts';
import { compactGelu } from '../canonicalize/gelu.ts';
import { groupHeads } from '../canonicalize/groupedHeads.ts';
import { joinAdapted } from '../canonicalize/joined.ts';
import { compactNorms } from '../canonicalize/norms.ts';
import { compactSilu } from '../canonicalize/silu.ts';
import { splitSlices } from '../canonicalize/sliceToSplit.ts';
import { takesFused } from '../common/target.ts';
import { verify } from '../common/verify.ts';
import { isDropout } from '../dialect/dropout.ts';
import { type ChosenLoss, chooseLoss } from '../loss/chooseLoss.ts';
import { needsLossScale } from '../loss/lossScale.ts';
import { type Bindings, bindInputs } from '../normalize/bind/index.ts';
import { removeIdentities } from '../normalize/cleanup.ts';
import { hoistWeights } from '../normalize/hoistWeights.ts';
import { normalize } from '../normalize/index.ts';
import { computesIn, narrowsActivations } from '../precision/computesIn.ts';
import { halfProducts } from '../precision/halfProducts.ts';
import { computable } from '../precision/missingKernels.ts';
import { providerGaps } from '../providers/replacements.ts';
import { inferNode, inferShapes } from '../shapes/index.ts';
import { buildEval, buildGrad, buildTrain, buildUpdate } from './graphs.ts';
import { finalNames } from './names.ts';
import type { Prepared, TrainingGraph, TrainingOptions } from './prepared.ts';
import { buildTrainK } from './scanGraph.ts';
import type { StateLayout } from './stateLayout.ts';

/** `adapted` is left as it is. Throws where normalization, shapes or the loss do not allow training. */
export function prepare(adapted: Model, layout: StateLayout, options: TrainingOptions): Prepared {
  const { model } = cloneModel(adapted);
  const trace = options.trace ?? (() => {});
  let bindings: Bindings = { bound: [], tokens: undefined, longest: undefined, absent: new Map() };
  normalize(model, {
    ...(options.opset === undefined ? {} : { opset: options.opset }),
    bind: (m) => {
      bindings = bindInputs(m, options.bind, options.choice.lossOutput);
    },
  });
  trace('normalize', model);
  hoistWeights(model.graph);
  inferShapes(model.graph);
  const { stored } = options;
  const widened = computable(model, stored);
  if (widened.length > 0) {
    // Casts between two types that are one now.
    removeIdentities(model);
    inferShapes(model.graph);
  }
  const notes = [...widened, ...providerGaps(model, options.target)];
  canonicalize(model.graph, createBuilder(inferNode, model.graph.inputs), options.dropout);
  model.graph.adopt();
  if (groupHeads(model.graph, createBuilder(inferNode, model.graph.inputs))) model.graph.adopt();
  const fused = takesFused(options.target);
  let renamed = false;
  for (const graph of [...model.graph.allGraphs()]) {
    absorbBiases(graph);
    renamed = splitSlices(graph) || renamed;
    compactNorms(graph, fused);
    compactSilu(graph);
    if (compactGelu(graph, fused)) model.opsets.set('com.microsoft', 1);
  }
  if (renamed) uniqueNames(model.graph);
  const { target } = options;
  if (stored !== undefined && !narrowsActivations(target) && computesIn(stored, target) === stored) {
    halfProducts(model.graph, stored);
    model.graph.adopt();
  }
  inferShapes(model.graph);
  verify(model, { internal: true });
  trace('canonicalize', model);
  const chosen = chooseLoss(model.graph, options.choice);
  const names = finalNames(model, chosen);
  if (options.target === 'cuda') {
    joinAdapted(model.graph);
    verify(model, { internal: true });
    trace('join', model);
  }
  let gradient: Model | undefined;
  const prepared: Prepared = {
    model,
    gradient: () => (gradient ??= buildGrad(prepared)),
    layout,
    names,
    options,
    bindings,
    notes,
    lossScaled: needsLossScale(model.graph, chosen.tensor, narrowsActivations(target)),
    seeded: [...model.graph.allNodes()].some(isDropout),
    choice: {
      kind: chosen.kind,
      output: chosen.output.name,
      tensor: chosen.tensor.name,
      reason: chosen.reason,
      classAxis: chosen.classAxis,
      classes: classesOf(chosen),
    },
  };
  return prepared;
}

function classesOf({ kind, tensor, classAxis }: ChosenLoss): number | undefined {
  const count = kind === 'cross-entropy' || kind === 'causal-lm' ? tensor.shape?.at(classAxis) : undefined;
  return typeof count === 'number' && count > 0 ? count : undefined;
}

const builders = {
  train: buildTrain,
  train_k: buildTrainK,
  eval: buildEval,
  grad: (p: Prepared) => p.gradient(),
  update: buildUpdate,
} as const;

/** One of the training graphs. Throws NO_GRADIENT and the like; `prepared` stays usable. */
export function buildTraining(prepared: Prepared, which: TrainingGraph): Model {
  // Evaluation takes whatever a data file holds.
  const model = builders[which](which === 'eval' ? (prepared.fixed?.open ?? prepared) : prepared);
  prepared.options.trace?.(which, model);
  return model;
}
