/** Model -> files. */
export { encodeModel } from './encode.ts';
export type { Placement, Placements } from './encodeTensor.ts';
export {
  checkFileTarget,
  checkFolderTarget,
  createFile,
  createFolder,
  type FileOptions,
  type FolderOptions,
  recover,
  type TargetOptions,
} from './package.ts';
export { type PrintOptions, printModel, printModelPieces } from './text.ts';
export { type DataFile, planWeights, type WeightsPlan, writeWeights } from './weights.ts';
