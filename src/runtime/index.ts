/** Packages executed on ONNX Runtime: the room's public face. */

export type { AdapterFile, AdapterFormat } from './checkpoint.ts';
export { type Comparison, compareModels } from './compare.ts';
export type { Dataset, PlainRow } from './data/index.ts';
export { type DoctorReport, doctor } from './doctor.ts';
export type { Evaluation } from './evaluate.ts';
export type { Step } from './fit.ts';
export type { NodePlacement } from './nodePlacement.ts';
export type { Prediction } from './predict.ts';
export { predictionArrays, predictionLines } from './predictionFiles.ts';
export type { TrainingState } from './protocol.ts';
export type { Data, RowOptions } from './rows.ts';
export { longestRun } from './runLength.ts';
export { train } from './train.ts';
export { type FitOptions, openTrainer, type Trainer, type TrainerOptions } from './trainer.ts';
export type { TrainEvent, TrainOptions, TrainResult } from './trainOptions.ts';
