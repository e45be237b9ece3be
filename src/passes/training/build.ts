/** Runs the stages that make training graphs out of a prepared forward. */
import { emptyModel } from '../../graph/clone.ts';
import type { Model } from '../../graph/model.ts';
import { runStage } from '../common/pass.ts';
import { forwardContext } from './forward.ts';
import { evaluation, gradient, scan, step, update } from './pipeline.ts';
import type { Prepared, TrainingGraph } from './prepared.ts';
import { scanContext } from './scanGraph.ts';
import { stepContext } from './stepGraph.ts';

function buildEval(p: Prepared): Model {
  const c = forwardContext(p);
  runStage(evaluation, c, p.options.onPass);
  return c.model;
}

/** grad.onnx, built once for each prepared forward: train and train_k start from copies of it. */
export function buildGrad(p: Prepared): Model {
  const c = forwardContext(p);
  runStage(gradient, c, p.options.onPass);
  return c.model;
}

function buildTrain(p: Prepared): Model {
  const c = stepContext(p);
  runStage(step, c, p.options.onPass);
  return c.model;
}

function buildTrainK(p: Prepared): Model {
  const c = scanContext(p);
  runStage(scan, c, p.options.onPass);
  return c.model;
}

function buildUpdate(p: Prepared): Model {
  const c = { prepared: p, model: emptyModel(p.model, 'update') };
  runStage(update, c, p.options.onPass);
  return c.model;
}

const builders = {
  train: buildTrain,
  train_k: buildTrainK,
  eval: buildEval,
  grad: (p: Prepared) => p.gradient(),
  update: buildUpdate,
} as const satisfies Record<TrainingGraph, (p: Prepared) => Model>;

/** One of the training graphs. Errors: those of its stage, such as NO_GRADIENT; `prepared` stays usable. */
export function buildTraining(prepared: Prepared, which: TrainingGraph): Model {
  // Evaluation takes batches of any size.
  return builders[which](which === 'eval' ? (prepared.fixed?.open ?? prepared) : prepared);
}
