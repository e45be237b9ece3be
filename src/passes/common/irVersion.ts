/** The newest IR version that ONNX Runtime 1.30 loads; onnx 1.23 writes 14, which changes nothing that is used here. */
const newest = 13;

/** The IR version to write: at least `least`, and one that the runtime loads. */
export const writtenIrVersion = (source: number, least: number): number => Math.min(newest, Math.max(source, least));
