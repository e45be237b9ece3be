/** The public interface of the library. Every command of the command line is one of these functions. */

export type { InspectedMemory, MemoryKind } from './compile/estimateMemory.ts';
export { type CompileResult, compile } from './compile/index.ts';
export {
  type InspectedGradient,
  type InspectedLayer,
  type Inspection,
  type InspectOptions,
  inspect,
} from './compile/inspect.ts';
export type { CompileOptions } from './compile/options.ts';
export { type CatalogueEntry, catalogue, LoraifyError } from './errors.ts';
export type { Manifest, ManifestLayer } from './formats/manifest.ts';
export type { AdapterChoice, AdapterOptions } from './package/adapters.ts';
export { exportAdapter } from './package/exportAdapter.ts';
export { type ExportFormat, type ExportOptions, type ExportResult, exportFormats } from './package/exportOptions.ts';
export { type MergeOptions, type MergeResult, merge } from './package/merge.ts';
export { type OpenedPackage, openPackage, printModelText } from './package/open.ts';
export {
  type EvaluateOptions,
  evaluate,
  type PredictOptions,
  type PredictResult,
  predict,
  Trainer,
  type TrainOptions,
  train,
} from './package/run.ts';
export {
  type DoctorReport,
  doctor,
  type Evaluation,
  type FitOptions,
  type NodePlacement,
  type Step,
  type TrainEvent,
  type TrainResult,
} from './runtime/index.ts';
export { version } from './version.ts';
