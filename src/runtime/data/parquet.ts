/** Parquet: columns by name, lists as arrays; otherwise as in CSV. */

import type { AsyncBuffer, FileMetaData, SchemaTree } from 'hyparquet';
import { z } from 'zod';
import { badData } from '../../errors.ts';
import { type FileReader, openReader } from '../../formats/files.ts';
import { checkedValue, checkSymbols, type DataOptions, type Dataset, type Field, type RowValue } from './dataset.ts';
import { packedRows } from './packed.ts';
import { type Placement, placementsOf } from './placement.ts';
import { nestedValue } from './rowsDataset.ts';

/**
 * Reads and converts the required columns, row group by row group. Errors: FILE_NOT_FOUND; BAD_DATA, which names row
 * and column.
 */
export async function openParquet(file: string, fields: readonly Field[], options: DataOptions): Promise<Dataset> {
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
    const header = tree.map((column) => column.element.name);
    const index = pandasIndex(metadata).map((name) => header.indexOf(name));
    const places = placementsOf({ file, header, index, holdsAll: (i) => isList(tree[i]) }, fields, options);
    const columns = [...new Set(places.flatMap((place) => place.columns))].flatMap((i) => header[i] ?? []);
    const rows = packedRows(places.map(({ field }) => field));
    let start = 0;
    for (const group of metadata.row_groups) {
      const end = start + Number(group.num_rows);
      const part = { file: source, metadata, compressors, columns, rowStart: start, rowEnd: end };
      for (const [i, found] of (await readable(parquetReadObjects(part))).entries()) {
        const values: ReadonlyMap<string, unknown> = new Map(Object.entries(found));
        rows.add(rowOf(values, start + i, header, places, file));
      }
      start = end;
    }
    return rows.dataset(file, fields);
  } finally {
    reader.close();
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
