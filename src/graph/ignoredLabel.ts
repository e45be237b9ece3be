/**
 * The float label of an ignored element, in graphs with fixed shapes: the largest float32, so that one comparison finds
 * it on every provider. It pads rows and batches, as the ignore index does for class labels.
 */
export const noLabel = 3.4028234663852886e38;
