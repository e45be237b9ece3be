/** Executes packages on ONNX Runtime: the public interface of this folder. */

export type { Data, RowOptions } from './batches/openRows.ts';
export type { Dataset, PlainRow } from './data/index.ts';
export type { Evaluation } from './evaluate/evaluate.ts';
export type { Prediction } from './evaluate/predict.ts';
export { predictionArrays, predictionLines } from './evaluate/predictionFiles.ts';
export { verdicts } from './evaluate/verdict.ts';
export type { AdapterFile, AdapterFormat } from './runFolder/checkpoint.ts';
export { runsOf } from './runFolder/finished.ts';
export { type Comparison, compareModels } from './session/compare.ts';
export { type DoctorReport, doctor } from './session/doctor.ts';
export { refusal } from './session/loads.ts';
export type { NodePlacement } from './session/nodePlacement.ts';
export { longestRun } from './train/runLength.ts';
export type { Step } from './train/runPlan.ts';
export { train } from './train/train.ts';
export { type FitOptions, openTrainer, type Trainer, type TrainerOptions } from './train/trainer.ts';
export type { TrainEvent, TrainOptions, TrainResult } from './train/trainOptions.ts';
export type { TrainingState } from './worker/protocol.ts';
