/** The options of a compile, which inspect takes too. */

import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { badOption, fileNotFound } from '../errors.ts';
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
  pair,
  table,
  text,
  textTable,
} from './options.ts';

const adapter = 'Adapter:';
const training = 'Training graphs:';

export const selectionOptions = {
  rank: integer({ alias: 'r', describe: 'rank of every branch', default: '8', group: adapter }),
  alpha: number({ alias: 'a', describe: 'LoRA alpha', default: '16', group: adapter }),
  scaling: choice(['standard', 'rslora', 'alpha'], {
    describe: 'standard: alpha/r; rslora: alpha/sqrt(r); alpha: no division',
    default: 'standard',
    group: adapter,
  }),
  init: choiceOr(
    ['kaiming', 'kaiming-rank', 'gaussian', 'orthogonal', 'pissa', 'olora'],
    { is: (v): v is `pissa_niter_${number}` => /^pissa_niter_\d+$/.test(v), form: 'pissa_niter_N' },
    {
      describe: "start of A and B; pissa and olora take it out of the package's weights",
      default: 'kaiming',
      group: adapter,
    },
  ),
  seed: integer({ describe: 'everything random comes from it', default: '0', group: adapter }),
  target: list({
    describe: 'module paths: exact, a suffix behind a dot, or /regular expression/',
    default: 'all',
    group: adapter,
  }),
  exclude: list({ describe: 'module paths to leave out, in the same forms', group: adapter }),
  layers: integers({ describe: "indices of layers (PEFT's layers_to_transform)", group: adapter }),
  rankPattern: table({ describe: 'PATH=RANK,... where the rank differs', group: adapter }),
  alphaPattern: table({ describe: 'PATH=ALPHA,... where alpha differs', group: adapter }),
  adapter: text({ describe: 'start from a PEFT directory; its ranks, alphas and targets count', group: adapter }),
  dora: flag({ describe: 'weight-decomposed layers (DoRA)', group: adapter }),
  modulesToSave: list({
    describe: "modules trained whole, a classifier say: ends of their paths (PEFT's modules_to_save)",
    group: adapter,
  }),
  dropout: number({
    describe: "share of a branch's input left out in each step",
    default: "the adapter's, else 0",
    group: adapter,
  }),
  loss: choice(['auto', 'cross-entropy', 'causal-lm', 'mse', 'l1', 'huber', 'bce', 'output', 'external'], {
    describe: 'loss to train on',
    default: 'auto',
    group: training,
  }),
  lossOutput: text({ describe: 'output that the loss is attached to', group: training }),
  classAxis: integer({ describe: 'axis of the classes', default: '-1', group: training }),
  ignoreIndex: integer({ describe: 'label that does not count', default: '-100', group: training }),
  labelSmoothing: number({ describe: '0 to 1', default: '0', group: training }),
  classWeights: text({ describe: 'JSON file with one weight per class', group: training }),
  bind: textTable({
    describe: 'NAME=zeros|ones|empty|input|FILE,... what training graphs fix inputs to; FILE: .npy, .npz, .safetensors',
    default: 'caches empty, positions from the mask',
    group: training,
  }),
  batch: integer({
    describe: 'rows of a step: fixes the first axis of the inputs in the training graphs',
    default: 'open',
    group: training,
  }),
  seq: integer({
    describe: 'positions of a row: fixes the second axis of sequences in the training graphs; shorter rows are padded',
    default: 'open',
    group: training,
  }),
  dim: table({ describe: 'NAME=N,... fixes lengths by their names in the model', group: training }),
  precision: choice(['fp32', 'fp16', 'bf16'], {
    describe: 'what frozen float32 weights are stored in, and products with them computed in; fp32: as they are',
    default: 'fp32',
    group: training,
  }),
  opset: integer({ describe: 'of the training graphs', default: "max(source's, 18)", group: training }),
};

export const compileOptions = {
  ...selectionOptions,
  optimizer: choice(['adamw', 'sgd'], { describe: 'optimizer in the graph', default: 'adamw', group: training }),
  betas: pair({ describe: 'of adamw', default: '0.9,0.999', group: training }),
  eps: number({ describe: 'of adamw', default: '1e-8', group: training }),
  weightDecay: number({ describe: 'decoupled for adamw', default: '0', group: training }),
  maxGradNorm: number({
    describe: 'global norm at which gradients are clipped; 0: off',
    default: '1',
    group: training,
  }),
  momentum: number({ describe: 'of sgd', default: '0.9', group: training }),
  for: choice(['portable', 'cpu', 'cuda', 'webgpu'], {
    describe: 'execution provider that the training graphs are made for',
    default: 'portable',
    group: training,
  }),
  emit: choices(['all', 'model', 'train', 'train_k', 'eval', 'grad', 'update'], {
    describe: 'graphs to write',
    default: 'all',
    group: training,
  }),
  out: text({ alias: 'o', describe: 'package directory', default: '<model>.lora' }),
  force: flag({ describe: 'replace an existing package' }),
  dryRun: flag({ describe: 'say what would be done, write nothing' }),
  dump: text({ describe: 'write the text of the model after every pass into this folder' }),
  timings: flag({ describe: 'show how long each pass took' }),
};

type Values<S extends z.ZodRawShape> = z.output<z.ZodObject<S>>;

/** What the library takes: class weights read from their file, absent options left out. */
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
