/** Data files: one reader per format, chosen by the extension. */

import { extname } from 'node:path';
import { badData } from '../../errors.ts';
import { openNpz, openSafetensorsData } from './columns.ts';
import { openCsv } from './csv.ts';
import { type DataOptions, type DataSpec, type Dataset, type Field, fieldsOf } from './dataset.ts';
import { openJsonl } from './jsonl.ts';
import { completed } from './missing.ts';
import { openParquet } from './parquet.ts';

export { type BatchOptions, type BatchTensor, batch, rowLengths } from './batch.ts';
export type { ElementType } from './convert.ts';
export type { DataOptions, DataSpec, Dataset, Field, FieldSpec, LabelRule, Row, RowValue } from './dataset.ts';
export { type BatchOrder, batchOrder, type OrderOptions, permutation } from './order.ts';
export { type PlainRow, rowsDataset } from './rowsDataset.ts';

type Reader = (file: string, fields: readonly Field[], options: DataOptions) => Dataset | Promise<Dataset>;

const readers: Readonly<Record<string, Reader>> = {
  '.jsonl': openJsonl,
  '.npz': openNpz,
  '.safetensors': openSafetensorsData,
  '.csv': openCsv,
  '.parquet': openParquet,
};

/**
 * Opens a data file for the manifest's inputs and labels; other columns are ignored. Every value is checked before this
 * returns, so that training does not stop in the middle. Errors: FILE_NOT_FOUND; BAD_DATA for an unknown format, a
 * missing column, a malformed row (by its line), a file without rows.
 */
export async function openData(file: string, spec: DataSpec, options: DataOptions = {}): Promise<Dataset> {
  const extension = extname(file).toLowerCase();
  const known = Object.keys(readers).join(', ');
  const reader = readers[extension];
  if (reader === undefined) throw badData(`"${extension}" is not a data format; known are ${known}`, file);
  const dataset = await reader(file, fieldsOf(spec, options), options);
  if (dataset.rows === 0) {
    dataset.close();
    throw badData('the file has no rows', file);
  }
  return completed(dataset, options.ignoreIndex ?? -100);
}
