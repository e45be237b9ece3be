/** CSV with a header row: the label column, and either the only input spread over the other columns, or columns by name. */

import { createReadStream } from 'node:fs';
import { CsvError, parse } from 'csv-parse';
import { badData } from '../../errors.ts';
import { openReader } from '../../formats/files.ts';
import { elementCount } from '../../formats/rawTensor.ts';
import { convert } from './convert.ts';
import { checkShape, checkSymbols, columnOf, type Dataset, type Field, type Row, type RowValue } from './dataset.ts';

/** The columns of one field, in the order of its elements. */
interface Placement {
  readonly field: Field;
  readonly columns: readonly number[];
  readonly shape: readonly number[];
}

/** Reads and converts the whole file. Errors: FILE_NOT_FOUND; BAD_DATA naming the line and the column. */
export async function openCsv(file: string, fields: readonly Field[]): Promise<Dataset> {
  openReader(file).close(); // says what is wrong with the path; a stream would end the process
  const source = createReadStream(file);
  const parser = parse({ bom: true, info: true, skip_empty_lines: true, max_record_size: 2 ** 24 });
  source.on('error', (error) => parser.destroy(error));
  const rows: Row[] = [];
  let header: readonly string[] | undefined;
  let placements: readonly Placement[] = [];
  try {
    for await (const item of source.pipe(parser)) {
      const { record, info }: { record: readonly string[]; info: { lines: number } } = item;
      if (header === undefined) {
        header = record.map((name) => name.trim());
        placements = placementsOf(header, fields, file);
      } else rows.push(parseRow(record, info.lines, header, placements, fields, file));
    }
  } catch (error) {
    if (error instanceof CsvError) throw badData(error.message, file);
    throw error;
  } finally {
    source.destroy();
  }
  if (header === undefined) throw badData('the file is empty; its first line must name the columns', file);
  return {
    file,
    rows: rows.length,
    fields,
    row(index) {
      const row = rows[index];
      if (row === undefined) throw badData(`there is no row ${index}`, file);
      return row;
    },
    close() {},
  };
}

function placementsOf(header: readonly string[], fields: readonly Field[], file: string): Placement[] {
  const index = new Map<string, number>();
  for (const [i, name] of header.entries()) {
    if (index.has(name)) throw badData(`two columns are named "${name}"`, file);
    index.set(name, i);
  }
  const names = new Set(header);
  const find = (field: Field): readonly number[] | undefined => byName(field, field.columns, index, file);
  // columnOf throws here, for nothing of that name is there.
  const get = (field: Field): readonly number[] =>
    find(field) ?? [header.indexOf(columnOf(field, names, 'the header', file))];
  const there = fields.filter((field) => field.missing === undefined || find(field) !== undefined);
  const labels = there.find((field) => field.isLabels);
  const labelColumns = labels && get(labels);
  const inputs = there.filter((field) => !field.isLabels);
  const only = inputs.length === 1 ? inputs[0] : undefined;
  const own = only && find(only);
  // One column that happens to have the input's name is all of it only where one element is wanted.
  const spread = only !== undefined && (own === undefined || (own.length === 1 && !isSingle(only)));
  // Without labels asked for (a prediction), a label column is still no input.
  const skipped = new Set(labelColumns ?? [index.get('labels') ?? index.get('label') ?? -1]);
  const others = header.map((_, i) => i).filter((i) => !skipped.has(i));

  return there.map((field) => {
    const columns = field.isLabels ? (labelColumns ?? []) : spread ? others : get(field);
    return { field, columns, shape: shapeFor(field, columns.length, file) };
  });
}

/** The column `name`, or the columns `name[0]`, `name[1]` ... in the order of their numbers; undefined where there is neither. */
function byName(
  { name }: Field,
  candidates: readonly string[],
  index: ReadonlyMap<string, number>,
  file: string,
): number[] | undefined {
  for (const candidate of candidates) {
    const single = index.get(candidate);
    if (single !== undefined) return [single];
    const numbered = new Map<number, number>();
    for (const [column, i] of index) {
      if (!column.startsWith(`${candidate}[`)) continue;
      const number = /^\[(\d+)\]$/.exec(column.slice(candidate.length))?.[1];
      if (number !== undefined) numbered.set(Number(number), i);
    }
    if (numbered.size === 0) continue;
    return Array.from({ length: numbered.size }, (_, i) => {
      const column = numbered.get(i);
      if (column === undefined)
        throw badData(`"${name}" has ${numbered.size} columns, but "${candidate}[${i}]" is missing`, file);
      return column;
    });
  }
  return undefined;
}

function isSingle(field: Field): boolean {
  return field.shape.every((dim) => dim === 1);
}

function fixed(field: Field): number[] {
  return field.shape.filter((dim) => typeof dim === 'number');
}

/** The shape of a row that `count` columns fill: at most one axis of the field may be open. */
function shapeFor(field: Field, count: number, file: string): number[] {
  const known = fixed(field);
  const product = elementCount(known) ?? 0;
  const open = field.shape.length - known.length;
  const size = open === 1 && product > 0 ? count / product : open;
  if (open > 1) throw badData(`"${field.name}" has several open axes, which columns cannot fill; use .jsonl`, file);
  const shape = field.shape.map((dim) => (typeof dim === 'number' ? dim : size));
  if (elementCount(shape) !== count) {
    const wanted = open === 1 ? `a multiple of ${product}` : product;
    throw badData(`"${field.name}" needs ${wanted} columns, but ${count} are there`, file);
  }
  return shape;
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
  for (const { field, columns, shape } of placements) {
    const fail = (reason: string): Error => badData(`line ${line}, "${field.name}": ${reason}`, file);
    const values = columns.map((column) => {
      const value = parseCell(record[column] ?? '');
      if (value === undefined) {
        throw badData(`line ${line}, column "${header[column]}": "${record[column]}" is not a number`, file);
      }
      return value;
    });
    checkShape(field, shape, fail);
    row.set(field.name, { shape, data: convert(field.type, values, fail) });
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
