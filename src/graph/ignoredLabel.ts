/**
 * A float label that does not count, in graphs whose lengths are fixed: the largest float32, so that one comparison finds it on every
 * provider. It fills up rows and batches, as the ignore index does where labels are classes.
 */
export const noLabel = 3.4028234663852886e38;
