/** Names of an exported model's inputs, which a caller finds in the session's metadata. */

/** The prefix of the symbol of a layer's rank axis; the module path follows. */
export const rankSymbol = 'lora_r.';

/** The scalar that scales all branches; `.1` and so on are appended if the model already has an input of that name. */
export const strengthName = 'lora_strength';
