/** Files -> Model. */
export { type ElidedOption, type ElidedTensor, parseText, type TextOptions } from './text.ts';
