/** Options of the commands that run a package. */

import { combinations, providers } from '../graph/choices/package.ts';
import { adapters, choice, flag, integer, listFrom, required, table, text } from './options.ts';

export const packageArgument = { package: required({ positional: true, describe: 'package directory' }) };

export const runtimeOptions = {
  executionProvider: listFrom(providers, {
    alias: 'ep',
    describe: 'ONNX Runtime execution provider; a list is an order of preference',
    default: 'cpu',
  }),
  threads: integer({ describe: 'threads that compute one operator', default: 'one per core' }),
};

export const dataOptions = {
  data: required({ describe: 'data file: .jsonl, .json, .npz, .safetensors, .csv, .tsv or .parquet' }),
  labelColumn: text({ describe: 'name of the column with the labels', default: 'labels or label' }),
  textColumn: text({
    describe: 'name of the column with texts, where the package has a tokenizer',
    default: 'text or sentence',
  }),
  textPairColumn: text({
    describe: 'name of the column with the second text of a pair',
    default: 'text_pair or sentence2',
  }),
  completionOnly: flag({
    describe: 'count the tokens of "completion" only; --no-completion-only counts those of "prompt" too',
    default: 'true',
  }),
  assistantOnly: flag({ describe: "count the tokens of the assistant's turns of conversations only" }),
  batchSize: integer({ describe: 'rows of a batch', default: '8, or what the package has fixed' }),
  maxLength: integer({ describe: 'positions of a row; longer rows are cut' }),
  allowNan: flag({ describe: 'accept NaN, null and empty cells in inputs, for models that handle NaN' }),
  pad: table({ describe: 'INPUT=VALUE,... padding values of short rows', default: '0' }),
};

export const outputFile = {
  out: required({ alias: 'o', describe: 'file or directory to write' }),
  force: flag({ describe: 'replace an existing target' }),
};

export const sourceOption = {
  source: text({
    describe: 'source model of the package, needed if its weights are rounded (--precision)',
    default: 'where it was',
  }),
};

/** One adapter, or several as one. */
export const adapterOptions = {
  adapter: adapters({
    describe: 'PEFT directory or adapter file; NAME=STRENGTH,... combines several',
    default: "the package's own",
  }),
  combination: choice(combinations, {
    describe: 'method of combining several adapters, as in PEFT',
    default: 'linear where ranks are equal, else cat',
  }),
};
