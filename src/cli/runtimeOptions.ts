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
  threads: integer({ describe: 'threads of one operator', default: 'one per core' }),
};

export const dataOptions = {
  data: required({ describe: '.jsonl, .npz, .safetensors, .csv or .parquet' }),
  labelColumn: text({ describe: 'column of the labels', default: 'labels or label' }),
  batchSize: integer({ describe: 'rows of a batch', default: '8, or what the package has fixed' }),
  maxLength: integer({ describe: 'longer rows are cut' }),
  allowNan: flag({ describe: 'inputs may hold NaN: the model deals with it' }),
  pad: table({ describe: 'INPUT=VALUE,... that short rows are filled with', default: '0' }),
};

export const outputFile = {
  out: required({ alias: 'o', describe: 'file or directory to write' }),
  force: flag({ describe: 'replace what is there' }),
};

export const sourceOption = {
  source: text({
    describe: 'the model that was compiled, for a package of rounded weights (--precision)',
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
    describe: 'how several adapters become one, as in PEFT',
    default: 'linear where ranks are equal, else cat',
  }),
};
