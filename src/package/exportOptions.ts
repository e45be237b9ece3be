/** Options and result of an export. */
import { keysOf } from '../graph/choices/choice.ts';
import { type AdapterInputs, type ExportFormat, exportFormats as rows } from '../graph/choices/package.ts';
import type { AdapterOptions } from './adapters.ts';

export type { ExportFormat } from '../graph/choices/package.ts';

export const exportFormats: readonly ExportFormat[] = keysOf(rows);

export interface ExportOptions extends AdapterOptions {
  readonly format: ExportFormat;
  /** A directory for `peft`, else a file. */
  readonly out: string;
  readonly force?: boolean | undefined;
  /** For `onnx`: the source, for a package that holds rounded weights; absent: where it was. */
  readonly source?: string | undefined;
  /** For `onnx`: where the adapter is; default `baked`. */
  readonly inputs?: AdapterInputs | undefined;
  /** For `onnx`: adds a scalar input that all branches are multiplied by. */
  readonly strength?: boolean | undefined;
}

export interface ExportResult {
  readonly format: ExportFormat;
  readonly out: string;
  /** The data file beside the model, where there is one. */
  readonly dataFile?: string;
  readonly layers: number;
  readonly inputs?: AdapterInputs;
  /** The name of the strength input. */
  readonly strength?: string;
  readonly warnings: readonly string[];
}

export interface ServeOptions {
  readonly inputs: AdapterInputs;
  readonly strength: boolean;
}
