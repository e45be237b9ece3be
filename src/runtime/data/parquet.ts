/** Parquet: columns by name, lists as arrays; otherwise as in CSV. */

import type { AsyncBuffer, FileMetaData, SchemaTree } from 'hyparquet';
import { z } from 'zod';
import { badData } from '../../errors.ts';
import { type FileReader, openReader } from '../../formats/files.ts';
import { checkedValue, checkSymbols, type DataOptions, type Dataset, type Field, type RowValue } from './dataset.ts';
import { packedRows } from './packed.ts';
import { type Placement, placementsOf } from './placement.ts';
import { nestedValue } from './rowsDataset.ts';

/** A Parquet file whose columns have no meaning yet. */
export interface ParquetTable {
  readonly header: readonly string[];
  /** The columns that pandas stored an index in. */
  readonly index: readonly string[];
  /** Whether a column has lists. */
  isList(column: number): boolean;
  /** The rows in their order, row group by row group. @param columns all by default. */
  rows(
    columns?: readonly string[],
  ): AsyncGenerator<{ readonly index: number; readonly values: ReadonlyMap<string, unknown> }>;
  close(): void;
}

/** Opens a file and reads its schema. Errors: FILE_NOT_FOUND, BAD_DATA. */
export async function parquetTable(file: string): Promise<ParquetTable> {
  const reader = openReader(file);
  try {
    const { parquetMetadataAsync, parquetReadObjects, parquetSchema } = await import('hyparquet');
    const { compressors } = await import('hyparquet-compressors');
    const source = bufferOf(reader);
    const readable = <T>(action: Promise<T>): Promise<T> =>
      action.catch((error: unknown) => {
        throw badData(`not a Parquet file that can be read: ${error instanceof Error ? error.message : error}`, file);
      });
    const metadata = await readable(parquetMetadataAsync(source));
    const tree = parquetSchema(metadata).children;
    return {
      header: tree.map((column) => column.element.name),
      index: pandasIndex(metadata),
      isList: (column) => isList(tree[column]),
      async *rows(columns) {
        let start = 0;
        for (const group of metadata.row_groups) {
          const end = start + Number(group.num_rows);
          const chosen = columns === undefined ? {} : { columns: [...columns] };
          const part = { file: source, metadata, compressors, rowStart: start, rowEnd: end, ...chosen };
          for (const [i, found] of (await readable(parquetReadObjects(part))).entries())
            yield { index: start + i, values: new Map<string, unknown>(Object.entries(found)) };
          start = end;
        }
      },
      close: reader.close,
    };
  } catch (error) {
    reader.close();
    throw error;
  }
}

/**
 * Reads and converts the required columns, row group by row group. Errors: FILE_NOT_FOUND; BAD_DATA, which names row
 * and column.
 */
export async function openParquet(file: string, fields: readonly Field[], options: DataOptions): Promise<Dataset> {
  const table = await parquetTable(file);
  try {
    const { header } = table;
    const index = table.index.map((name) => header.indexOf(name));
    const places = placementsOf({ file, header, index, holdsAll: table.isList }, fields, options);
    const columns = [...new Set(places.flatMap((place) => place.columns))].flatMap((i) => header[i] ?? []);
    const rows = packedRows(places.map(({ field }) => field));
    for await (const { index: row, values } of table.rows(columns)) rows.add(rowOf(values, row, header, places, file));
    return rows.dataset(file, fields);
  } finally {
    table.close();
  }
}

function bufferOf(reader: FileReader): AsyncBuffer {
  return {
    byteLength: reader.size,
    slice(start, end = reader.size) {
      const bytes = reader.read(start, Math.max(0, Math.min(end, reader.size) - start));
      return new Uint8Array(bytes).buffer;
    },
  };
}

/** The columns that pandas stored an index in. */
function pandasIndex({ key_value_metadata = [] }: FileMetaData): string[] {
  const text = key_value_metadata.find(({ key }) => key === 'pandas')?.value;
  const found = pandasMetadata.safeParse(text);
  return found.success ? found.data.index_columns.filter((column) => typeof column === 'string') : [];
}

const pandasMetadata = z
  .string()
  .transform((text, context) => {
    try {
      return JSON.parse(text);
    } catch {
      context.addIssue({ code: 'custom', message: 'not JSON' });
      return z.NEVER;
    }
  })
  .pipe(z.object({ index_columns: z.array(z.union([z.string(), z.record(z.string(), z.unknown())])) }));

function isList(column: SchemaTree | undefined): boolean {
  return column !== undefined && (column.children.length > 0 || column.element.repetition_type === 'REPEATED');
}

function rowOf(
  values: ReadonlyMap<string, unknown>,
  index: number,
  header: readonly string[],
  places: readonly Placement[],
  file: string,
): ReadonlyMap<string, RowValue> {
  const fail = (reason: string, hint?: string): Error => badData(`row ${index}: ${reason}`, file, hint);
  const row = new Map<string, RowValue>();
  for (const { field, columns, shape } of places) {
    const names = columns.map((column) => header[column] ?? '');
    const [first = ''] = names;
    if (shape === undefined) row.set(field.name, nestedValue(field, values.get(first), first, fail));
    else {
      const cells = names.map((name) => values.get(name));
      const failAt = (reason: string, i?: number, hint?: string): Error =>
        fail(`column "${i === undefined ? field.name : names[i]}": ${reason}`, hint);
      row.set(field.name, checkedValue(field, shape, cells, failAt));
    }
  }
  checkSymbols(
    places.map((place) => place.field),
    row,
    fail,
  );
  return row;
}
