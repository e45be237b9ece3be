/** Marks a modules_to_save initializer, as a value's metadata. */
export const savedMark = 'loraify.saved';
