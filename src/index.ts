/** The library's public face. Every command of the command line is one of these functions. */
export type { AdapterChoice, AdapterOptions } from './adapters.ts';
export { type CatalogueEntry, catalogue, LoraifyError } from './errors.ts';
export {
  type ExportFormat,
  type ExportOptions,
  type ExportResult,
  exportAdapter,
  exportFormats,
} from './export.ts';
export type { Manifest, ManifestLayer } from './formats/manifest.ts';
export {
  type InspectedGradient,
  type InspectedLayer,
  type Inspection,
  type InspectOptions,
  inspect,
} from './inspect.ts';
export { type CompileResult, compile } from './loraify.ts';
export type { InspectedMemory, MemoryKind } from './memory.ts';
export { type MergeOptions, type MergeResult, merge } from './merge.ts';
export type { CompileOptions } from './options.ts';
export { type OpenedPackage, openPackage, printModelText } from './packages.ts';
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
export {
  type EvaluateOptions,
  evaluate,
  type PredictOptions,
  type PredictResult,
  predict,
  Trainer,
  type TrainOptions,
  train,
} from './training.ts';
export { version } from './version.ts';
