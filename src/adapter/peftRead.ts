/** Reads PEFT adapter directories (peft/utils/save_and_load.py; keys as save_pretrained writes them). */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { adapterUnsupported, badAdapter } from '../errors.ts';
import { readWhole } from '../formats/files.ts';
import { type RawTensor, rawDtypes } from '../formats/rawTensor.ts';
import { openSafetensors, type SafetensorsFile, type TensorRange } from '../formats/safetensors.ts';
import { type PeftConfig, parsePeftConfig } from './peftConfig.ts';
import { type BaseCopy, type ExtrasSource, peftExtras } from './peftExtras.ts';
import { checkFields } from './peftFields.ts';
import { configName, type PeftLayer, peftLayers, peftPrefix, weightsName } from './peftTensors.ts';

export interface PeftAdapter extends PeftConfig {
  /** The layers by module path, in the order of the file. */
  readonly tensors: ReadonlyMap<string, PeftLayer>;
  /** Full weights (modules_to_save) in torch's layout, by parameter: `classifier.weight`. */
  readonly saved: ReadonlyMap<string, RawTensor>;
  /** Weights of the base, by parameter. */
  readonly copies: ReadonlyMap<string, BaseCopy>;
}

/** Wrappers around the PEFT model, whose segments state_dict() puts before its keys. */
const outside = /^(?:(?:module|_orig_mod|_fsdp_wrapped_module)\.)+(?=base_model\.)/;

/**
 * The tensors under PEFT's keys: without wrappers around the PEFT model, and with the prefix that its inner model
 * lacks.
 */
function unwrapped(source: SafetensorsFile, file: string): ExtrasSource {
  const keys = [...source.tensors.keys()];
  const inner = !keys.some((key) => key.replace(outside, '').startsWith(peftPrefix));
  const original = new Map(keys.map((key) => [inner ? `${peftPrefix}${key}` : key.replace(outside, ''), key]));
  const tensors = new Map([...original].flatMap(([key, own]) => entryOf(key, source.tensors.get(own))));
  return {
    tensors,
    read: (key) => source.read(original.get(key) ?? key),
    copyOf: (key) => laterFrom(file, original.get(key) ?? key, tensors.get(key)?.shape ?? []),
  };
}

const entryOf = (key: string, range: TensorRange | undefined): [string, TensorRange][] =>
  range === undefined ? [] : [[key, range]];

const laterFrom = (file: string, key: string, shape: readonly number[]): BaseCopy => ({
  shape,
  open(use) {
    const source = openSafetensors(file);
    try {
      const range = source.tensors.get(key);
      if (range === undefined) throw badAdapter(`the tensor "${key}" disappeared`, file);
      const { dtype, start } = range;
      const wide = rawDtypes[dtype];
      use((from, count) => ({ dtype, shape: [count], data: source.readBytes(start + from * wide, count * wide) }));
    } finally {
      source.close();
    }
  },
});

/**
 * Reads a PEFT directory: LoRA and DoRA on linear layers, convolutions of one group and embeddings, and
 * modules_to_save, any float type. `own` as in parsePeftConfig. Errors: BAD_ADAPTER (a file missing or malformed, a
 * rank that contradicts the config), ADAPTER_UNSUPPORTED by feature, BAD_SAFETENSORS, BAD_PATTERN.
 */
export function readPeft(directory: string, own?: string): PeftAdapter {
  const configFile = join(directory, configName);
  const weightsFile = join(directory, weightsName);
  if (!existsSync(configFile)) throw badAdapter(`"${directory}" has no ${configName}`, directory);
  if (!existsSync(weightsFile)) {
    if (existsSync(join(directory, 'adapter_model.bin'))) {
      throw adapterUnsupported(
        'adapter_model.bin',
        `pickled weights are not read; PeftModel.from_pretrained(base, DIR).save_pretrained(OUT) saves them as ${weightsName}`,
        directory,
      );
    }
    throw badAdapter(`"${directory}" has no ${weightsName}`, directory);
  }
  const text = readWhole(configFile, 2 ** 24, (size) => badAdapter(`${size} bytes are too many`, configFile));
  const config = parsePeftConfig(new TextDecoder().decode(text), configFile, own, ['use_dora', 'modules_to_save']);
  const { tiesWeights } = checkFields(new TextDecoder().decode(text), configFile);
  const source = openSafetensors(weightsFile);
  try {
    const extras = peftExtras(unwrapped(source, weightsFile), config, weightsFile);
    const tensors = extras.decomposed(peftLayers(extras.rest, config, weightsFile));
    const tied = extras.saved.size > 0 || [...tensors.values()].some((l) => l.form === 'embedding');
    if (tiesWeights && tied)
      throw adapterUnsupported(
        'ensure_weight_tying',
        'it ties the adapters of tied weights, which are trained apart here',
        configFile,
      );
    return { ...config, tensors, saved: extras.saved, copies: extras.copies };
  } finally {
    source.close();
  }
}
