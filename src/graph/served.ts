/** What the inputs of an exported model are called, so that whoever holds a session finds them in its metadata. */

/** The symbol of a layer's rank axis: this, then the module path. */
export const rankSymbol = 'lora_r.';

/** The scalar that all branches are multiplied by; `.1` and so on follow where a model has an input of that name. */
export const strengthName = 'lora_strength';
