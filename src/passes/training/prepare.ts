/**
 * Prepares the forward of an adapted model: normalized, canonical, with its loss chosen and the names of its interface.
 */
import { losses } from '../../graph/choices/losses.ts';
import { cloneModel } from '../../graph/clone.ts';
import { unreachedWarning } from '../../graph/layers.ts';
import type { Model, Value } from '../../graph/model.ts';
import { runStage } from '../common/pass.ts';
import { isDropout } from '../dialect/dropout.ts';
import { type ChosenLoss, chooseLoss } from '../loss/chooseLoss.ts';
import { axesMerged } from '../loss/flattened.ts';
import { classLabels } from '../loss/hardOutputs.ts';
import { needsLossScale } from '../loss/lossScale.ts';
import { type Bindings, bindInputs } from '../normalize/bind/index.ts';
import { cacheKind } from '../normalize/bind/names.ts';
import { normalize } from '../normalize/index.ts';
import { narrowsActivations } from '../precision/computesIn.ts';
import { findBatchAxes } from './batchAxes.ts';
import { buildGrad } from './build.ts';
import { finalNames } from './names.ts';
import { canonicalization, joining, type PrepareContext } from './pipeline.ts';
import type { Prepared, TrainingOptions, Unplaced } from './prepared.ts';
import { reachedByLayers, unreachedFrom } from './reach.ts';
import type { StateLayout } from './stateLayout.ts';

/** `adapted` is not changed. Throws if normalization, shape inference or the loss does not allow training. */
export function prepare(adapted: Model, layout: StateLayout, options: TrainingOptions): Prepared {
  const { target, stored, dropout, misses, onPass } = options;
  const notes: string[] = [];
  const { model, bindings } = normalizedFor(adapted, options, notes);
  const c: PrepareContext = { model, target, stored, dropout, misses, notes };
  runStage(canonicalization, c, onPass);
  const reached = reachedByLayers(model.graph, layout);
  const cached = bindings.bound.some((b) => cacheKind(b.name) !== undefined);
  const chosen = chooseLoss(model.graph, options.choice, { reached, cached });
  const unreached = unreachedFrom(startOf(chosen), reached, layout);
  const doubt = unreachedWarning(chosen.output.name, unreached, layout.slots.length);
  const names = finalNames(model, chosen);
  runStage(joining, c, onPass);
  let gradient: Model | undefined;
  const unplaced: Unplaced = {
    model,
    gradient: () => (gradient ??= buildGrad(prepared)),
    layout,
    names,
    options,
    bindings,
    notes: c.notes,
    warnings: [...(chosen.warnings ?? []), ...(doubt === undefined ? [] : [doubt])],
    unreached,
    lossScaled: needsLossScale(model.graph, startOf(chosen), narrowsActivations(target)),
    seeded: [...model.graph.allNodes()].some(isDropout),
    choice: {
      kind: chosen.kind,
      output: chosen.output.name,
      tensor: chosen.tensor.name,
      reason: chosen.reason,
      classAxis: chosen.classAxis,
      shape: (chosen.value ?? chosen.tensor).shape,
      merged: losses[chosen.kind].over === 'caller' ? undefined : axesMerged(chosen.value ?? chosen.tensor),
      dtype: chosen.tensor.dtype,
      classes: classesOf(chosen),
      threshold: thresholdOf(chosen),
      classLabels: losses[chosen.kind].over === 'classes' ? classLabels(chosen.output) : undefined,
      tokens: chosen.tokens,
    },
  };
  const prepared: Prepared = { ...unplaced, batch: findBatchAxes(unplaced) };
  return prepared;
}

/** A normalized copy, and the inputs that were bound during normalization. */
function normalizedFor(
  adapted: Model,
  options: TrainingOptions,
  notes: string[],
): { model: Model; bindings: Bindings } {
  const { model } = cloneModel(adapted);
  let bindings: Bindings = { bound: [], tokens: undefined, longest: undefined, absent: new Map() };
  normalize(model, {
    ...(options.opset === undefined ? {} : { opset: options.opset }),
    bind: (m) => {
      bindings = bindInputs(m, options.bind, options.choice.lossOutput);
    },
    report: (text) => {
      notes.push(text);
    },
    onPass: options.onPass,
  });
  return { model, bindings };
}

function classesOf({ kind, tensor, value = tensor, classAxis }: ChosenLoss): number | undefined {
  const count = losses[kind].over === 'classes' ? value.shape?.at(classAxis) : undefined;
  return typeof count === 'number' && count > 0 ? count : undefined;
}

/** A value that all logits of the loss come before, of which there may be several. */
const startOf = ({ tensor, value = tensor, build }: ChosenLoss): Value => (build === undefined ? tensor : value);

/** The cut between binary predictions, unless the names of output and tensor imply it: 0 for logits, else 0.5. */
function thresholdOf({ kind, output, tensor, threshold }: ChosenLoss): number | undefined {
  const implied = output === tensor ? 0 : 0.5;
  return losses[kind].metrics === 'binary' && threshold !== implied ? threshold : undefined;
}
