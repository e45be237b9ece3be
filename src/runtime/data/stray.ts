/**
 * Columns of a data file that are not inputs: an index, leftovers, misspelt names. None is taken or lost in silence.
 */

import { badData, editDistance } from '../../errors.ts';
import { listed } from './cells.ts';
import type { DataOptions, Field } from './dataset.ts';

/** The usual names of labels, which are never inputs. */
export const labelNames: readonly string[] = ['labels', 'label'];

/** Names of columns that identify, describe or split rows. */
const notData: ReadonlySet<string> = new Set([
  'id',
  'ids',
  'idx',
  'index',
  'level_0',
  'uid',
  'uuid',
  'guid',
  'key',
  'row',
  'row_id',
  'row_number',
  'rownum',
  'name',
  'text',
  'sentence',
  'split',
  'fold',
  'set',
  'file',
  'filename',
  'path',
  'date',
  'time',
  'timestamp',
  'label',
  'labels',
  'target',
  'targets',
  'class',
  'weight',
  'sample_weight',
]);

export const isNotData = (name: string): boolean => notData.has(name.trim().toLowerCase());

/**
 * The name of a column that pandas makes from an index: in Parquet, or when it reads a first column without a name.
 */
export const isIndexName = (name: string): boolean => /^(__index_level_\d+__|Unnamed: 0(\.\d+)*)$/.test(name);

/** Whether a column has no name, or the one that pandas gives such columns when it reads them. */
export const isUnnamed = (name: string): boolean => name === '' || /^Unnamed: \d+(_level_\d+)?(\.\d+)*$/.test(name);

/** The first columns of a table without a name: the index that `to_csv` writes. */
export function unnamedIndex(header: readonly string[]): number[] {
  const end = header.findIndex((name) => !isUnnamed(name));
  return Array.from({ length: end < 0 ? 0 : end }, (_, i) => i);
}

/** The check of the names in a file; rows of .jsonl are checked one after another. */
export interface NameCheck {
  /** Errors: BAD_DATA for two columns of labels, and for a misspelt name of an input that the file lacks. */
  check(names: Iterable<string>, where: string): void;
  /** Sends a notice about the columns that are left out. */
  finish(): void;
}

/**
 * @param there the fields that the file has; the values of others are computed from the tokens, so that a misspelt name
 * would change numbers without an error.
 */
export function nameCheck(
  file: string,
  fields: readonly Field[],
  there: readonly Field[],
  options: DataOptions,
): NameCheck {
  const columns = new Set(fields.flatMap((field) => field.columns));
  const absent = fields.filter(({ name }) => !there.some((field) => field.name === name));
  const labels = fields.find((field) => field.isLabels);
  const unread = new Set([...(options.unread ?? []), ...labelNames]);
  const seen = new Set<string>();
  const leftOut: string[] = [];
  return {
    check(names, where) {
      const found = [...names];
      const both =
        labels === undefined
          ? []
          : labelNames.filter((column) => labels.columns.includes(column) && found.includes(column));
      if (both.length > 1) throw twoLabels(both, where, file);
      for (const name of found) {
        const field = absent.find((f) => f.columns.includes(name));
        if (field !== undefined) throw badData(`${where} has "${name}", but earlier rows lack it`, file);
        if (seen.has(name) || columns.has(name)) continue;
        seen.add(name);
        checkSpelling(name, absent, where, file);
        if (!unread.has(name)) leftOut.push(name);
      }
    },
    finish() {
      if (leftOut.length > 0) options.onNotice?.(leftOutText(leftOut, file));
    },
  };
}

const leftOutText = (names: readonly string[], file: string): string =>
  names.length === 1
    ? `${file}: "${names[0]}" is not an input: it is left out`
    : `${file}: ${listed(names)} are not inputs: they are left out`;

const twoLabels = (names: readonly string[], where: string, file: string): Error =>
  badData(`${where} has ${names.length} columns of labels, ${listed(names)}`, file, '--label-column NAME selects one');

/** Errors: BAD_DATA for a name that differs little from that of a field without a column. */
export function checkSpelling(name: string, absent: readonly Field[], where: string, file: string): void {
  for (const field of absent) {
    const near = field.columns.find((column) => isNear(name, column));
    if (near !== undefined)
      throw badData(
        `${where} has "${name}", which is not an input; did you mean "${near}"?`,
        file,
        `rename it to "${near}", or remove it`,
      );
  }
}

/** Whether names differ only in letter case, separators, or one or two letters. */
function isNear(name: string, known: string): boolean {
  const [a, b] = [name, known].map((text) => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, ''));
  if (a === undefined || b === undefined || a === '') return false;
  // One letter makes another word of a short name.
  const most = b.length < 4 ? 0 : b.length < 8 ? 1 : 2;
  // A name with another number is another name.
  const isNumbered = a.replace(/\d/g, '') === b.replace(/\d/g, '');
  const isTransposed = most > 0 && [...a].sort().join() === [...b].sort().join();
  return a === b || isTransposed || (!isNumbered && editDistance(a, b) <= most);
}
