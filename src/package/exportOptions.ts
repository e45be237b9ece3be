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
  /** For `onnx`: the source, for a package with rounded weights; absent: its recorded path. */
  readonly source?: string | undefined;
  /** For `onnx`: the form of the adapter; default `baked`. */
  readonly inputs?: AdapterInputs | undefined;
  /**
   * For `peft`: the path of the body in the class that loads the adapter, such as `bert` or `model`; `none`: names as in
   * the package; absent: that of the family in config.json, where its class has the package's head.
   */
  readonly prefix?: string | undefined;
  /** For `onnx`: adds a scalar input that scales all branches. */
  readonly strength?: boolean | undefined;
}

export interface ExportResult {
  readonly format: ExportFormat;
  readonly out: string;
  /** The data file beside the model, if there is one. */
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
