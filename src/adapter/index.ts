/** The public interface of this folder: reading, writing and combining adapters. */

export { beside, combine, type Weighted } from './combine.ts';
export { changesBase, initialFactors, setsBoth } from './init.ts';
export { type AdapterSettings, type OpenedAdapter, openAdapter, openKohya } from './open.ts';
export { packedLayers, unpackedLayers } from './packed.ts';
export { effectiveScale, type PeftConfig, parsePeftConfig, type Scaled } from './peftConfig.ts';
export type { BaseCopy } from './peftExtras.ts';
export { type PeftAdapter, readPeft } from './peftRead.ts';
export { type PeftLayer, peftKeysText } from './peftTensors.ts';
export { type FlatLayer, type FlatWeight, type PeftContent, peftFiles, writePeft } from './peftWrite.ts';
export { type PortableTensor, toFloats } from './portable.ts';
export { readPortable, writeNamedSafetensors, writeOnnxAdapter } from './portableFiles.ts';
export { weightFactors } from './weightInit.ts';
