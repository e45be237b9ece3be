/**
 * The fields of adapter_config.json (peft/tuners/lora/config.py, LoraConfig of PEFT 0.21, and those of earlier
 * versions). None is passed over in silence: a field is read, only a note, or refused if it is used.
 */
import { adapterUnsupported } from '../errors.ts';

/** `read`: peftConfig.ts reads it, or refuses what it may hold. `note`: it does not change what an adapter computes. */
const fields: Readonly<Record<string, 'read' | 'note'>> = {
  alora_invocation_tokens: 'read',
  alpha_pattern: 'read',
  arrow_config: 'read',
  auto_mapping: 'note',
  base_model_name_or_path: 'note',
  bias: 'read',
  // Settings of an initialization, which init_lora_weights names.
  corda_config: 'note',
  ensure_weight_tying: 'read',
  eva_config: 'note',
  exclude_modules: 'read',
  fan_in_fan_out: 'note',
  inference_mode: 'note',
  init_lora_weights: 'read',
  kasa_config: 'read',
  layer_replication: 'read',
  layers_pattern: 'read',
  layers_to_transform: 'read',
  loftq_config: 'note',
  lora_alpha: 'read',
  lora_bias: 'read',
  lora_dropout: 'read',
  lora_ga_config: 'note',
  megatron_config: 'read',
  megatron_core: 'note',
  modules_to_save: 'read',
  monteclora_config: 'read',
  peft_type: 'read',
  peft_version: 'note',
  qalora_group_size: 'note',
  r: 'read',
  rank_pattern: 'read',
  revision: 'note',
  runtime_config: 'note',
  target_modules: 'read',
  target_parameters: 'read',
  task_type: 'note',
  trainable_token_indices: 'read',
  use_bdlora: 'read',
  use_dora: 'read',
  use_qalora: 'read',
  use_rslora: 'read',
  velora_config: 'read',
  // PEFT before 0.3, and a note of another trainer.
  merge_weights: 'note',
  unsloth_fixed: 'note',
};

/** Initializations that leave the base weights and the form of the branch as they are. */
const plainInits: ReadonlySet<string> = new Set(['gaussian', 'eva', 'orthogonal']);
/** Those that change the base weights: peftConfig.ts decides about them. */
const otherInits = /^(pissa|olora|corda|loftq|lora_ga)/;

/**
 * Refuses fields and initializations that this release does not know. `text` is a JSON object. The result tells whether
 * the adapters of tied weights are tied, which matters only if the adapter has any.
 */
export function checkFields(text: string, file: string): { readonly tiesWeights: boolean } {
  const config: unknown = JSON.parse(text);
  if (typeof config !== 'object' || config === null) return { tiesWeights: false };
  const isUsed = (v: unknown): boolean =>
    v !== null && v !== false && v !== '' && (typeof v !== 'object' || Object.keys(v).length > 0);
  for (const [name, value] of Object.entries(config))
    if (!Object.hasOwn(fields, name) && isUsed(value))
      throw adapterUnsupported(
        `${name}`,
        'this field is not one of PEFT 0.21, so what it changes is not known; if it is only a note, remove it from the file',
        file,
      );
  const init: unknown = 'init_lora_weights' in config ? config.init_lora_weights : undefined;
  if (typeof init === 'string' && !plainInits.has(init) && !otherInits.test(init))
    throw adapterUnsupported(`init_lora_weights "${init}"`, 'this initialization is not known', file);
  return { tiesWeights: 'ensure_weight_tying' in config && config.ensure_weight_tying === true };
}
