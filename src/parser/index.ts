/** Files -> Model. */
export type { ExternalFile } from './external.ts';
export { type FileSource, fileSource } from './fileSource.ts';
export { type ModelSource, type Parsed, parseFile, parseSource } from './parse.ts';
export type { Place } from './place.ts';
export type { PayloadStretch } from './tensors.ts';
export { type ElidedOption, type ElidedTensor, parseText, type TextOptions } from './text.ts';
