/** Model -> Model. The order of a compile is in loraify.ts; each pass says at its head what it takes and leaves. */
export { adapt, type Candidate, type Candidates, type Chosen, findCandidates } from './adapt.ts';
export { isAdapted } from './adapted.ts';
export { type AdapterInputs, adapterInputs, exposeAdapters } from './adapterInputs.ts';
export type { Absent, Binding, Bindings, Wanted } from './bind/index.ts';
export { type FixedLengths, fixLengths, lengthCalled } from './fixed/index.ts';
export { type Blocked, type Differentiated, type GradientReport, reasonOf, reportGradients } from './gradientReport.ts';
export { computesIn, narrowsActivations } from './halfProducts.ts';
export { type Stored, storeHalf } from './halfWeights.ts';
export { forwardOf } from './halves.ts';
export type { Product, Skipped } from './layers/kind.ts';
export { chooseLoss, type LossKind, lossKinds } from './lossChoice.ts';
export { lossScaling } from './lossScale.ts';
export { lowerBeside } from './lower.ts';
export {
  bytesOfValues,
  fedTo,
  type Held,
  lengthsNeeded,
  packedBytes,
  peakOf,
  weightBytes,
} from './memory/estimate.ts';
export { type OperatorState, operatorStates } from './operatorStates.ts';
export type { OptimizerOptions } from './optimizer.ts';
export { rebase } from './rebase.ts';
export { findParameters, type Parameter, parametersOf, type Saved, trainWhole } from './saved.ts';
export { patternValue, selector, unmatched } from './selection.ts';
export { type Target, targets } from './speed.ts';
export { type StateLayout, stateLayout, trainableMark } from './state.ts';
export { buildTraining, type Prepared, prepare, type TrainingGraph, trainingGraphs } from './training.ts';
export { verify } from './verify.ts';
