/** Data files as rows of named values, before any column has a meaning: JSON, CSV, Parquet. */

import { openReader } from '../../formats/files.ts';
import { csvRecords } from '../data/csv.ts';
import { csvForm } from '../data/csvForm.ts';
import { maxLineBytes, parseObject } from '../data/jsonl.ts';
import { rowTexts } from '../data/jsonText.ts';
import { parquetTable } from '../data/parquet.ts';

/** A row of a file: strings, numbers, lists, by column. */
export interface SourceRow {
  /** Its place for messages: `line 3`. */
  readonly where: string;
  readonly columns: ReadonlyMap<string, unknown>;
}

/** The rows of a .jsonl, .json, .csv, .tsv or .parquet file; undefined for other formats. Errors: BAD_DATA, FILE_NOT_FOUND. */
export function sourceRows(file: string, extension: string): AsyncGenerator<SourceRow> | undefined {
  switch (extension) {
    case '.csv':
    case '.tsv':
      return csvRows(file);
    case '.parquet':
      return parquetRows(file);
    case '.npz':
    case '.safetensors':
      return undefined;
    default:
      return jsonRows(file);
  }
}

/** The names of the columns, or those of the first row of JSON; undefined for other formats and empty files. */
export async function sourceColumns(file: string, extension: string): Promise<ReadonlySet<string> | undefined> {
  if (extension === '.parquet') {
    const table = await parquetTable(file);
    table.close();
    return new Set(table.header);
  }
  if (extension === '.csv' || extension === '.tsv') {
    for await (const { record } of csvRecords(file, csvForm(file))) return new Set(record.map((name) => name.trim()));
    return undefined;
  }
  for await (const { columns } of sourceRows(file, extension) ?? []) return new Set(columns.keys());
  return undefined;
}

async function* jsonRows(file: string): AsyncGenerator<SourceRow> {
  const reader = openReader(file);
  try {
    for (const { bytes, line } of rowTexts(reader, maxLineBytes)) {
      const object = parseObject(bytes, line, file);
      if (object !== undefined)
        yield { where: `line ${line}`, columns: new Map<string, unknown>(Object.entries(object)) };
    }
  } finally {
    reader.close();
  }
}

async function* csvRows(file: string): AsyncGenerator<SourceRow> {
  let header: readonly string[] | undefined;
  for await (const { record, line } of csvRecords(file, csvForm(file))) {
    if (header === undefined) header = record.map((name) => name.trim());
    else yield { where: `line ${line}`, columns: new Map(header.map((name, i) => [name, record[i] ?? ''])) };
  }
}

async function* parquetRows(file: string): AsyncGenerator<SourceRow> {
  const table = await parquetTable(file);
  try {
    for await (const { index, values } of table.rows()) yield { where: `row ${index}`, columns: values };
  } finally {
    table.close();
  }
}
