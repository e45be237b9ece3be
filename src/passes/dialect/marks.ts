/** Marks an initializer that is trained itself (modules_to_save), as a value's metadata. */
export const savedMark = 'loraify.saved';
