/** The options of a compile, which inspect takes too. */

import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { badOption, fileNotFound } from '../errors.ts';
import { recordOf } from '../graph/choices/choice.ts';
import {
  emits,
  existingLoras,
  inits,
  type OptimizerOption,
  optimizerOptions,
  optimizers,
  optimizersWith,
  pissaRounds,
  precisions,
  scalings,
  targets,
} from '../graph/choices/compile.ts';
import { heads, poolings } from '../graph/choices/heads.ts';
import {
  type LossOption,
  type LossParamName,
  lossChoices,
  lossesWith,
  lossOptions,
  lossParamNames,
  takersOf,
} from '../graph/choices/losses.ts';
import type { CompileOptions } from '../index.ts';
import {
  choice,
  choiceOr,
  choices,
  flag,
  integer,
  integers,
  list,
  number,
  type OptionHelp,
  pair,
  table,
  text,
  textTable,
} from './options.ts';

const adapter = 'Adapter:';
const head = 'Head:';
const training = 'Training graphs:';

const ofLoss = (name: LossOption): OptionHelp => {
  const { help, default: value } = lossOptions[name];
  const describe = `${help}; for ${takersOf(name).join(', ')}`;
  return { describe, group: training, ...(value === undefined ? {} : { default: String(value) }) };
};

/** A parameter of losses, each with its own meaning and default. */
const paramHelp = (name: LossParamName): OptionHelp => {
  const takers = lossesWith(name);
  const meanings = [...new Set(takers.map(({ param }) => param.help))].map(
    (help) => `${takers.flatMap(({ kind, param }) => (param.help === help ? [kind] : [])).join(', ')}: ${help}`,
  );
  const defaults = [...new Set(takers.map(({ param }) => param.default))];
  const [only] = defaults;
  return {
    describe: meanings.join('; '),
    group: training,
    default:
      defaults.length === 1 ? String(only) : takers.map(({ kind, param }) => `${param.default} (${kind})`).join(', '),
  };
};

const ofOptimizer = (name: OptimizerOption): OptionHelp => ({
  describe: `${optimizerOptions[name].help}; for ${optimizersWith(name).join(', ')}`,
  default: String(optimizerOptions[name].default),
  group: training,
});

export const selectionOptions = {
  rank: integer({ alias: 'r', describe: 'rank of every low-rank branch', default: '8', group: adapter }),
  alpha: number({
    alias: 'a',
    describe: 'LoRA alpha: the branch is multiplied by alpha / rank',
    default: '16',
    group: adapter,
  }),
  scaling: choice(scalings, {
    describe: 'formula of the factor of a branch',
    default: 'standard',
    group: adapter,
  }),
  init: choiceOr(inits, pissaRounds, {
    describe: "initial A and B; pissa and olora subtract A·B from the package's weights",
    default: 'kaiming',
    group: adapter,
  }),
  seed: integer({ describe: 'seed of all random numbers', default: '0', group: adapter }),
  target: list({
    describe: 'modules to adapt: exact paths, suffixes after a dot, or /regular expressions/',
    default: 'all',
    group: adapter,
  }),
  exclude: list({ describe: 'modules to leave out, in the same forms as --target', group: adapter }),
  layers: integers({ describe: "indices of the layers to adapt (PEFT's layers_to_transform)", group: adapter }),
  rankPattern: table({ describe: 'PATH=RANK,... ranks that differ from --rank', group: adapter }),
  alphaPattern: table({ describe: 'PATH=ALPHA,... alphas that differ from --alpha', group: adapter }),
  adapter: text({
    describe: 'PEFT directory to start from; its ranks, alphas and targets replace those options',
    group: adapter,
  }),
  existingLora: choice(existingLoras, {
    describe: 'use of LoRA branches that the model already has',
    default: 'train',
    group: adapter,
  }),
  dora: flag({ describe: 'train weight-decomposed layers (DoRA)', group: adapter }),
  modulesToSave: list({
    describe: "modules to train in full, such as a new classifier: ends of their paths (PEFT's modules_to_save)",
    group: adapter,
  }),
  dropout: number({
    describe: "probability that an element of a branch's input is zeroed in a training step",
    default: "the adapter's, else 0",
    group: adapter,
  }),
  head: choice(heads, {
    describe: 'put a new head on the features of the model, in the place of its output, and train it in full',
    group: head,
  }),
  pooling: choice(poolings, {
    describe: 'the vector of a row that the head reads',
    default: 'cls, mean or last by the kind of model',
    group: head,
  }),
  headInput: text({
    describe: 'the value that the head reads',
    default: "last_hidden_state, hidden_states, else the input of the model's last weighted layer",
    group: head,
  }),
  headSize: integer({ describe: 'outputs of a Linear in an embedding head', default: 'no Linear', group: head }),
  normalize: flag({
    describe: '--no-normalize: leave the length of an embedding as it is',
    default: 'true',
    group: head,
  }),
  loss: choice(lossChoices, {
    describe: 'loss to train on',
    default: 'auto',
    group: training,
  }),
  lossOutput: text({ describe: 'name of the output that the loss is attached to', group: training }),
  classAxis: integer(ofLoss('classAxis')),
  ignoreIndex: integer(ofLoss('ignoreIndex')),
  labelSmoothing: number(ofLoss('labelSmoothing')),
  classWeights: text(ofLoss('classWeights')),
  labels: list({ ...ofLoss('labels'), default: 'names in config.json' }),
  tokenizer: text({
    describe: 'folder with tokenizer.json, for rows of text; none: no tokenizer',
    default: 'beside the model or in the folder above',
    group: training,
  }),
  ...recordOf(lossParamNames, (name) => number(paramHelp(name))),
  bind: textTable({
    describe:
      'NAME=zeros|ones|empty|input|FILE,... values of inputs in the training graphs; FILE: .npy, .npz, .safetensors',
    default: 'caches empty, positions from the mask',
    group: training,
  }),
  batchAxis: textTable({
    describe:
      'NAME=AXIS|none,... the axis of an input, or of the labels, that counts the rows of a batch; none for all: one row a run',
    default: 'by names and shapes',
    group: training,
  }),
  batch: integer({
    describe: 'fixed number of rows in a step (the batch axis of the inputs)',
    default: 'open',
    group: training,
  }),
  seq: integer({
    describe: 'fixed number of positions in a row (the second axis of sequences); shorter rows are padded',
    default: 'open',
    group: training,
  }),
  dim: table({ describe: 'NAME=N,... fixed values of symbolic dimensions of the model', group: training }),
  precision: choice(precisions, {
    describe: 'storage type of frozen float32 weights; MatMuls use it where the provider can',
    default: 'fp32',
    group: training,
  }),
  opset: integer({ describe: 'opset of the training graphs', default: "max(source's, 18)", group: training }),
};

export const compileOptions = {
  ...selectionOptions,
  optimizer: choice(optimizers, { describe: 'optimizer in the training graphs', default: 'adamw', group: training }),
  betas: pair(ofOptimizer('betas')),
  eps: number(ofOptimizer('eps')),
  weightDecay: number({ describe: 'weight decay, decoupled for adamw', default: '0', group: training }),
  maxGradNorm: number({
    describe: 'global L2 norm above which gradients are clipped; 0: off',
    default: '1',
    group: training,
  }),
  momentum: number(ofOptimizer('momentum')),
  for: choice(targets, {
    describe: 'execution provider to optimize the training graphs for',
    default: 'portable',
    group: training,
  }),
  emit: choices(emits, {
    describe: 'graphs to write',
    default: 'all',
    group: training,
  }),
  out: text({ alias: 'o', describe: 'package directory', default: '<model>.lora' }),
  force: flag({ describe: 'replace an existing package' }),
  verify: flag({ describe: '--no-verify: do not open the package in ONNX Runtime', default: 'true' }),
  dryRun: flag({ describe: 'show what would be done, write nothing' }),
  dump: text({ describe: 'folder for the text of the model after every pass' }),
  timings: flag({ describe: 'show how long each pass took' }),
} satisfies Readonly<Record<keyof CompileOptions, z.ZodType>>;

type Values<S extends z.ZodRawShape> = z.output<z.ZodObject<S>>;

/** The options of the library's compile: class weights are read from their file, absent options are left out. */
export function libraryOptions(
  values: Values<typeof selectionOptions> | Values<typeof compileOptions>,
): CompileOptions {
  const { classWeights, ...rest } = values;
  const given: CompileOptions = classWeights === undefined ? {} : { classWeights: readWeights(classWeights) };
  return { ...given, ...rest };
}

function readWeights(file: string): number[] {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw badOption(`--class-weights: "${file}" is not JSON`);
    throw fileNotFound(file, error instanceof Error ? (error.message.split(', ')[0] ?? '') : String(error));
  }
  if (!Array.isArray(json) || !json.every((n): n is number => typeof n === 'number')) {
    throw badOption(`--class-weights: "${file}" must hold an array of numbers, one per class`);
  }
  return json;
}
