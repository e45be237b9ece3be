/** Model -> files. */
export { type PrintOptions, printModel, printModelPieces } from './text.ts';
