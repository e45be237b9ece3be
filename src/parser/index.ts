/** Reads model files. */

export type { ExternalFile, ModelSource, PayloadStretch, Place } from '../proto/index.ts';
export { absentData } from './external.ts';
export { type FileSource, fileSource } from './fileSource.ts';
export { type Parsed, parseFile, parseSource } from './parse.ts';
export { type ElidedOption, type ElidedTensor, parseText, type TextOptions } from './parseText.ts';
