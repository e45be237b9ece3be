/**
 * Passes from Model to Model. training/pipeline.ts lists them in order; the head of each pass describes its input and
 * output.
 */
export { type Saved, trainModulesToSave } from './adapt/modulesToSave.ts';
export { isQuantized } from './common/constantOperand.ts';
export { forwardOf } from './common/forwardNodes.ts';
export { type OnPass, type PassRun, runStage } from './common/pass.ts';
export { type NearMiss, NearMisses } from './common/patternSearch.ts';
export { type Target, targets } from './common/target.ts';
export { verify } from './common/verify.ts';
export { isAdapted } from './dialect/adapted.ts';
export type { Product, Skipped } from './dialect/layerKind.ts';
export { headFamily } from './head/families.ts';
export type { HeadPlan } from './head/plan.ts';
export { type HeadRequest, type PlannedHead, planHead } from './head/planHead.ts';
export { chooseLoss, refuseOthers } from './loss/chooseLoss.ts';
export { lossScaling } from './loss/lossScale.ts';
export { exposeAdapters } from './lower/exposeAdapters.ts';
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
export { roundWeights, type Stored } from './precision/halfWeights.ts';
export {
  type Candidate,
  type Candidates,
  type Chosen,
  findCandidates,
  type NamingOptions,
} from './select/candidates.ts';
export { type Copy, findCopies, type JoinedCopy, joinCopies, namedCopies } from './select/copies.ts';
export {
  type ExistingLora,
  findExistingLora,
  type LiftedLora,
  type LoraBranch,
  liftLora,
} from './select/existingLora.ts';
export { foldedFrom } from './select/foldedUses.ts';
export { peftNames } from './select/loraNames.ts';
export { findParameters, type Parameter, parametersOf } from './select/parameters.ts';
export { namedPaths, patternValue, selector, unmatched } from './select/selection.ts';
export { inferShapes } from './shapes/index.ts';
export { buildTraining } from './training/build.ts';
export { type FixedLengths, fixLengths, lengthCalled } from './training/fixedLengths/index.ts';
export {
  type Blocked,
  type Differentiated,
  type GradientReport,
  reasonOf,
  reportGradients,
} from './training/gradientReport.ts';
export { labelShape } from './training/labelAxis.ts';
export { lengthLimits } from './training/lengthLimits.ts';
export { type OperatorState, operatorStates } from './training/operatorStates.ts';
export type { OptimizerOptions } from './training/optimizer.ts';
export {
  type AdaptContext,
  adaptation,
  type HeadContext,
  heading,
  modelGraph,
  type ServeContext,
  serving,
  stages,
} from './training/pipeline.ts';
export { prepare } from './training/prepare.ts';
export type { BatchAxes, Prepared, TrainingGraph } from './training/prepared.ts';
export { type StateLayout, stateLayout } from './training/stateLayout.ts';
export { tableRanges } from './training/tableRanges.ts';
