/** Writes models and packages to files. */
export { editedBytes, type GraphParts, partsOf } from './editedSource.ts';
export { encodeModel } from './encode.ts';
export type { Placement, Placements } from './encodeTensor.ts';
export { copyWithIrVersion } from './irVersion.ts';
export type { Bypass } from './mergeBypass.ts';
export {
  type Merged,
  mergeWeights,
  type UntieChange,
  type UntieEdit,
  type WeightChange,
  type WeightEdit,
} from './mergeBytes.ts';
export { canMerge, type Delta, mergedBlocks, outputLengths } from './mergeMath.ts';
export { type ModelFile, writeModelFile } from './modelFile.ts';
export {
  checkFileTarget,
  checkFolderTarget,
  createFile,
  createFolder,
  type FileOptions,
  type FolderOptions,
  recover,
  type TargetOptions,
} from './outputs.ts';
export { type PrintOptions, printModel, printModelPieces } from './printText.ts';
export {
  isSourceOf,
  type Skeleton,
  type Splice,
  type SplicedSource,
  skeletonName,
  splicedSource,
  writeSkeleton,
} from './skeleton.ts';
export {
  type DataFile,
  planWeights,
  type StartedWeights,
  startWeights,
  type WeightsPlan,
  writeWeights,
} from './weights.ts';
