/** Data files: one reader per format, chosen by the extension. */

import { badData } from '../../errors.ts';
import { openNpz, openSafetensorsData } from './columns.ts';
import { openCsv } from './csv.ts';
import { type DataOptions, type DataSpec, type Dataset, type Field, fieldsOf, finishLabels } from './dataset.ts';
import { extensionOf } from './fileKind.ts';
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
  '.json': openJsonl,
  '.npz': openNpz,
  '.safetensors': openSafetensorsData,
  '.csv': openCsv,
  '.tsv': openCsv,
  '.parquet': openParquet,
};

/** The extension of a data file. Errors: BAD_DATA for an unknown one, and for content of another kind; FILE_NOT_FOUND. */
export const dataExtension = (file: string): string => extensionOf(file, Object.keys(readers));

/**
 * Opens a data file for the manifest's inputs and labels. Every value is checked before this returns, so that training
 * does not stop in the middle. Errors: FILE_NOT_FOUND; BAD_DATA for an unknown format, a missing column, a malformed
 * row (by its line), a file without rows.
 */
export async function openData(file: string, spec: DataSpec, options: DataOptions = {}): Promise<Dataset> {
  const reader = readers[dataExtension(file)] ?? openJsonl;
  const fields = fieldsOf(spec, options);
  const dataset = await reader(file, fields, options);
  try {
    if (dataset.rows === 0) throw badData('the file has no rows', file);
    finishLabels(fields, file);
    return completed(dataset, options.ignoreIndex ?? -100);
  } catch (error) {
    dataset.close();
    throw error;
  }
}
