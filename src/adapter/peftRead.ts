/** Reads PEFT adapter directories (peft/utils/save_and_load.py; keys as save_pretrained writes them). */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { adapterUnsupported, badAdapter } from '../errors.ts';
import { readWhole } from '../formats/files.ts';
import type { RawTensor } from '../formats/rawTensor.ts';
import { openSafetensors } from '../formats/safetensors.ts';
import { type PeftConfig, parsePeftConfig } from './peftConfig.ts';
import { peftExtras } from './peftExtras.ts';
import { configName, type PeftLayer, peftLayers, weightsName } from './peftTensors.ts';

export interface PeftAdapter extends PeftConfig {
  /** The layers by module path, in the order of the file. */
  readonly tensors: ReadonlyMap<string, PeftLayer>;
  /** Full weights (modules_to_save) in torch's layout, by parameter: `classifier.weight`. */
  readonly saved: ReadonlyMap<string, RawTensor>;
}

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
        `pickled weights are not read; save again as ${weightsName}`,
        directory,
      );
    }
    throw badAdapter(`"${directory}" has no ${weightsName}`, directory);
  }
  const text = readWhole(configFile, 2 ** 24, (size) => badAdapter(`${size} bytes are too many`, configFile));
  const config = parsePeftConfig(new TextDecoder().decode(text), configFile, own, ['use_dora', 'modules_to_save']);
  const source = openSafetensors(weightsFile);
  try {
    const extras = peftExtras(source, config, weightsFile);
    const tensors = extras.decomposed(peftLayers(extras.rest, config, weightsFile));
    return { ...config, tensors, saved: extras.saved };
  } finally {
    source.close();
  }
}
