/**
 * CSV with a header row: the label column, and either the only input spread over the other columns, or columns by name.
 */

import { createReadStream } from 'node:fs';
import { CsvError, parse } from 'csv-parse';
import { badData } from '../../errors.ts';
import { openReader } from '../../formats/files.ts';
import { checkedValue, checkSymbols, type Dataset, type Field, type Row, type RowValue } from './dataset.ts';
import { type PackedRows, packedRows } from './packed.ts';
import { type Placement, placementsOf } from './placement.ts';

/** Reads and converts the whole file. Errors: FILE_NOT_FOUND; BAD_DATA, which names the line and the column. */
export async function openCsv(file: string, fields: readonly Field[]): Promise<Dataset> {
  openReader(file).close(); // throws for an invalid path; a stream would end the process
  const source = createReadStream(file);
  const parser = parse({ bom: true, info: true, skip_empty_lines: true, max_record_size: 2 ** 24 });
  source.on('error', (error) => parser.destroy(error));
  let rows: PackedRows | undefined;
  let header: readonly string[] | undefined;
  let placements: readonly Placement[] = [];
  try {
    for await (const item of source.pipe(parser)) {
      const { record, info }: { record: readonly string[]; info: { lines: number } } = item;
      if (header === undefined) {
        header = record.map((name) => name.trim());
        placements = placementsOf(header, fields, file);
        rows = packedRows(placements.map(({ field }) => field));
      } else rows?.add(parseRow(record, info.lines, header, placements, fields, file));
    }
  } catch (error) {
    if (error instanceof CsvError) throw badData(error.message, file);
    throw error;
  } finally {
    source.destroy();
  }
  if (rows === undefined) throw badData('the file is empty; its first line must name the columns', file);
  return rows.dataset(file, fields);
}

function parseRow(
  record: readonly string[],
  line: number,
  header: readonly string[],
  placements: readonly Placement[],
  fields: readonly Field[],
  file: string,
): Row {
  const row = new Map<string, RowValue>();
  for (const { field, columns, shape = [] } of placements) {
    const fail = (reason: string, i?: number): Error => {
      const column = i === undefined ? field.name : header[columns[i] ?? -1];
      return badData(`line ${line}, column "${column}": ${reason}`, file);
    };
    const values = columns.map((column, i) => {
      const cell = record[column] ?? '';
      const value = field.allowNan && /^nan$/i.test(cell.trim()) ? Number.NaN : parseCell(cell);
      if (value === undefined) throw fail(`"${cell}" is not a number`, i);
      return value;
    });
    row.set(field.name, checkedValue(field, shape, values, fail));
  }
  checkSymbols(fields, row, (reason) => badData(`line ${line}: ${reason}`, file));
  return row;
}

/** A decimal number, or true / false; integers beyond 2^53 stay exact. undefined for anything else, NaN included. */
function parseCell(cell: string): number | bigint | boolean | undefined {
  const text = cell.trim();
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === 'true';
  if (!/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text)) return undefined;
  const value = Number(text);
  if (/^[+-]?\d+$/.test(text) && !Number.isSafeInteger(value)) return BigInt(text.replace('+', ''));
  return value;
}
