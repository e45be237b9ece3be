/** Keys of metadata that mark trainable tensors. */
/** Marks A, B and magnitudes, as metadata of their tensors. */
export const trainableMark = 'loraify.trainable';

/** Marks an initializer that is trained itself, as a value's metadata. */
export const savedMark = 'loraify.saved';
