/** The newest IR version that ONNX Runtime 1.30 loads; onnx 1.23 writes 14, which changes nothing that is used here. */
export const newestIrVersion = 13;

/** The IR version to write: at least `least`, and one that the runtime loads. */
export const writtenIrVersion = (source: number, least: number): number =>
  Math.min(newestIrVersion, Math.max(source, least));
