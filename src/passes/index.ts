/**
 * Passes from Model to Model. compile/compileModel.ts has the order of a compile; the head of each pass describes its
 * input and output.
 */

export { adapt } from './adapt/adapt.ts';
export { type Saved, trainModulesToSave } from './adapt/modulesToSave.ts';
export { rebase } from './adapt/residualWeights.ts';
export { forwardOf } from './common/forwardNodes.ts';
export { type Target, targets } from './common/target.ts';
export { verify } from './common/verify.ts';
export { isAdapted } from './dialect/adapted.ts';
export type { Product, Skipped } from './dialect/layerKind.ts';
export { trainableMark } from './dialect/marks.ts';
export { chooseLoss, type LossKind, lossKinds } from './loss/chooseLoss.ts';
export { lossScaling } from './loss/lossScale.ts';
export { type AdapterInputs, adapterInputs, exposeAdapters } from './lower/exposeAdapters.ts';
export { lowerBeside } from './lower/modelGraph.ts';
export {
  bytesOfValues,
  fedTo,
  type Held,
  lengthsNeeded,
  packedBytes,
  peakOf,
  weightBytes,
} from './memory/estimate.ts';
export type { Absent, Binding, Bindings, Wanted } from './normalize/bind/index.ts';
export { computesIn, narrowsActivations } from './precision/computesIn.ts';
export { type Stored, storeHalf } from './precision/halfWeights.ts';
export { type Candidate, type Candidates, type Chosen, findCandidates } from './select/candidates.ts';
export { findParameters, type Parameter, parametersOf } from './select/parameters.ts';
export { patternValue, selector, unmatched } from './select/selection.ts';
export { type FixedLengths, fixLengths, lengthCalled } from './training/fixedLengths/index.ts';
export {
  type Blocked,
  type Differentiated,
  type GradientReport,
  reasonOf,
  reportGradients,
} from './training/gradientReport.ts';
export { type OperatorState, operatorStates } from './training/operatorStates.ts';
export type { OptimizerOptions } from './training/optimizer.ts';
export { buildTraining, prepare } from './training/prepare.ts';
export { type Prepared, type TrainingGraph, trainingGraphs } from './training/prepared.ts';
export { type StateLayout, stateLayout } from './training/stateLayout.ts';
