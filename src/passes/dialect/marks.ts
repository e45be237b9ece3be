/** Metadata keys that mark trainable tensors. */
/** Marks A, B and magnitudes, as metadata of their tensors. */
export const trainableMark = 'loraify.trainable';

/** Marks a modules_to_save initializer, as a value's metadata. */
export const savedMark = 'loraify.saved';
