/**
 * CSV with a header row: the label column, and either the only input spread over the other columns, or columns by name.
 */

import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { badData } from '../../errors.ts';
import { isMissing } from './cells.ts';
import { type CellReader, type CsvForm, cellReader, checkedText, csvForm } from './csvForm.ts';
import {
  checkedValue,
  checkSymbols,
  type DataOptions,
  type Dataset,
  type Field,
  type Row,
  type RowValue,
} from './dataset.ts';
import { type PackedRows, packedRows } from './packed.ts';
import { type Placement, placementsOf } from './placement.ts';
import { unnamedIndex } from './stray.ts';

/** Reads and converts the whole file. Errors: FILE_NOT_FOUND; BAD_DATA, which names the line and the column. */
export async function openCsv(file: string, fields: readonly Field[], options: DataOptions): Promise<Dataset> {
  const form = csvForm(file, options.onNotice); // also throws for an invalid path; a stream would end the process
  const cells = cellReader(file, form, options.onNotice);
  let rows: PackedRows | undefined;
  let table: Table | undefined;
  for await (const { record, line } of csvRecords(file, form)) {
    if (table === undefined) {
      const header = record.map((name) => name.trim());
      const placements = placementsOf({ file, header, index: unnamedIndex(header) }, fields, options);
      table = { file, header, placements, fields, cells };
      rows = packedRows(placements.map(({ field }) => field));
    } else rows?.add(parseRow(record, line, table));
  }
  if (rows === undefined) throw badData('the file is empty; its first line must name the columns', file);
  cells.finish();
  return rows.dataset(file, fields);
}

/** The records of a file, the header first. Errors: BAD_DATA, also for text that is not UTF-8. */
export async function* csvRecords(
  file: string,
  { delimiter, from }: CsvForm,
): AsyncGenerator<{ readonly record: readonly string[]; readonly line: number }> {
  const source = createReadStream(file);
  const limits = { max_record_size: 2 ** 24 };
  const parser = parse({ bom: true, info: true, skip_empty_lines: true, delimiter, from_line: from, ...limits });
  const text = Readable.from(checkedText(source, file));
  text.on('error', (error) => parser.destroy(error));
  try {
    for await (const item of text.pipe(parser)) {
      const { record, info }: { record: readonly string[]; info: { lines: number } } = item;
      yield { record, line: info.lines };
    }
  } catch (error) {
    if (error instanceof CsvError) throw badData(error.message, file);
    throw error;
  } finally {
    source.destroy();
  }
}

interface Table {
  readonly file: string;
  readonly header: readonly string[];
  readonly placements: readonly Placement[];
  readonly fields: readonly Field[];
  readonly cells: CellReader;
}

function parseRow(record: readonly string[], line: number, { file, header, placements, fields, cells }: Table): Row {
  const row = new Map<string, RowValue>();
  for (const { field, columns, shape = [] } of placements) {
    const where = (i?: number): string =>
      `line ${line}, column "${i === undefined ? field.name : header[columns[i] ?? -1]}"`;
    const fail = (reason: string, i?: number, hint?: string): Error => badData(`${where(i)}: ${reason}`, file, hint);
    const values = columns.map((column, i) => {
      const cell = record[column] ?? '';
      const value = field.classes?.has(cell.trim()) ? cell.trim() : cells.read(cell, () => where(i));
      if (value !== undefined) return value;
      if (field.classes !== undefined) return cell.trim();
      if (!isMissing(cell)) throw fail(notNumber(cell), i);
      if (!field.allowNan || !field.type.startsWith('float')) throw fail(missingReason(cell, field), i);
      return Number.NaN;
    });
    row.set(field.name, checkedValue(field, shape, values, fail));
  }
  checkSymbols(fields, row, (reason) => badData(`line ${line}: ${reason}`, file));
  return row;
}

const notNumber = (cell: string): string =>
  `"${cell}" is not a number${/^\s*\[/.test(cell) ? '; cells with lists need .jsonl or .parquet' : ''}`;

const missingReason = (cell: string, { type, isLabels }: Field): string =>
  `"${cell}" is a missing value${
    isLabels
      ? '; each row needs a label'
      : type.startsWith('float')
        ? '; --allow-nan reads it as NaN'
        : `, which ${type} cannot hold`
  }`;
