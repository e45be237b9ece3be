/** Options of the commands that run a package. */

import { combinations, providers } from '../graph/choices/package.ts';
import { adapters, choice, flag, integer, listFrom, required, table, text } from './options.ts';

/** The headings of the options in the help of the commands that run a package. */
export const groups = {
  data: 'Data:',
  text: 'Rows of text:',
  length: 'Length and learning rate:',
  evaluation: 'Evaluation:',
  adapter: 'Adapter:',
  output: 'Output:',
  runtime: 'ONNX Runtime:',
} as const;

export const packageArgument = { package: required({ positional: true, describe: 'package directory' }) };

export const runtimeOptions = {
  executionProvider: listFrom(providers, {
    alias: 'ep',
    describe: 'ONNX Runtime execution provider; a list is an order of preference',
    default: 'cpu',
    group: groups.runtime,
  }),
  threads: integer({ describe: 'threads that compute one operator', default: 'one per core', group: groups.runtime }),
};

export const dataOptions = {
  data: required({
    describe: 'data file: .jsonl, .json, .npz, .safetensors, .csv, .tsv or .parquet',
    group: groups.data,
  }),
  labelColumn: text({ describe: 'name of the column with the labels', default: 'labels or label', group: groups.data }),
  textColumn: text({
    describe: 'name of the column with texts, where the package has a tokenizer',
    default: 'text or sentence',
    group: groups.text,
  }),
  textPairColumn: text({
    describe: 'name of the column with the second text of a pair',
    default: 'text_pair or sentence2',
    group: groups.text,
  }),
  completionOnly: flag({
    describe: 'count the tokens of "completion" only; --no-completion-only counts those of "prompt" too',
    default: 'true',
    group: groups.text,
  }),
  assistantOnly: flag({
    describe: "count the tokens of the assistant's turns of conversations only",
    group: groups.text,
  }),
  batchSize: integer({ describe: 'rows of a batch', default: '8, or what the package has fixed', group: groups.data }),
  maxLength: integer({ describe: 'positions of a row; longer rows are cut', group: groups.data }),
  allowNan: flag({
    describe: 'accept NaN, null and empty cells in inputs, for models that handle NaN',
    group: groups.data,
  }),
  pad: table({ describe: 'INPUT=VALUE,... padding values of short rows', default: '0', group: groups.data }),
};

export const outputFile = {
  out: required({ alias: 'o', describe: 'file or directory to write', group: groups.output }),
  force: flag({ describe: 'replace an existing target', group: groups.output }),
};

export const sourceOption = {
  source: text({
    describe: 'source model of the package, needed if its weights are rounded (--precision)',
    default: 'where it was',
    group: groups.adapter,
  }),
};

/** One adapter, or several as one. */
export const adapterOptions = {
  adapter: adapters({
    describe: 'PEFT directory or adapter file; NAME=STRENGTH,... combines several',
    default: "that of the package's only run",
    group: groups.adapter,
  }),
  combination: choice(combinations, {
    describe: 'method of combining several adapters, as in PEFT',
    default: 'linear where ranks are equal, else cat',
    group: groups.adapter,
  }),
};
