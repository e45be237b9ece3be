/** JSON: one object per row, input name -> nested array; one a line, one after another, or in one array. */

import { badData } from '../../errors.ts';
import { openReader } from '../../formats/files.ts';
import type { DataOptions, Dataset, Field, Row } from './dataset.ts';
import { parseJson, rowTexts } from './jsonText.ts';
import { fieldsThere } from './missing.ts';
import { readRow } from './rowsDataset.ts';
import { type NameCheck, nameCheck } from './stray.ts';

/** The limit of a line, which is converted to a string and parsed as a whole. */
export const maxLineBytes = 2 ** 28;

/**
 * Reads and checks every line once. Converted rows are kept up to `cacheBytes`; for the others only their offset in the
 * file. Errors: FILE_NOT_FOUND; BAD_DATA, which names the line.
 */
export function openJsonl(file: string, fields: readonly Field[], options: DataOptions): Dataset {
  const reader = openReader(file);
  try {
    let budget = options.cacheBytes ?? 2 ** 28;
    const places: { readonly offset: number; readonly length: number; readonly line: number }[] = [];
    const kept: (Row | undefined)[] = [];
    // The first row determines which inputs are present.
    let there: readonly Field[] | undefined;
    let names: NameCheck | undefined;
    const parse = (bytes: Uint8Array, line: number): Row | undefined => {
      const object = parseObject(bytes, line, file);
      if (object === undefined) return undefined;
      there ??= fieldsThere(fields, ({ columns }) => columns.some((column) => Object.hasOwn(object, column)));
      names ??= nameCheck(file, fields, there, options);
      names.check(Object.keys(object), `line ${line}`);
      return readRow(object, there, `line ${line}`, file);
    };
    for (const { offset, bytes, line } of rowTexts(reader, maxLineBytes)) {
      const row = parse(bytes, line);
      if (row === undefined) continue;
      budget -= rowBytes(row);
      places.push({ offset, length: bytes.length, line });
      kept.push(budget > 0 ? row : undefined);
    }
    names?.finish();
    return {
      file,
      rows: places.length,
      fields,
      row(index) {
        const place = places[index];
        if (place === undefined) throw badData(`there is no row ${index}`, file);
        const row = kept[index] ?? parse(reader.read(place.offset, place.length), place.line);
        if (row === undefined) throw badData(`line ${place.line} was changed while the file was in use`, file);
        return row;
      },
      close: reader.close,
    };
  } catch (error) {
    reader.close();
    throw error;
  }
}

/** undefined for a blank line. Errors: BAD_DATA. */
export function parseObject(bytes: Uint8Array, line: number, file: string): object | undefined {
  const json = parseJson(bytes, line, file);
  if (json === undefined) return undefined;
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw badData(`line ${line}: not a JSON object`, file);
  return json;
}

function rowBytes(row: Row): number {
  let bytes = 200; // the approximate size of the map itself
  for (const { data } of row.values()) bytes += data.byteLength + 200;
  return bytes;
}
