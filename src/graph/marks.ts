/** Metadata keys that several rooms read. */

/** On the tensors of A, B and magnitudes: they are written inside the model file, and no pass folds or shares them. */
export const trainableMark = 'loraify.trainable';
