/**
 * The choices of a user, each written once as a table. A row is one value, with the facts about it that code needs and
 * a sentence for `--help` and docs/reference/cli.md. Options, checks, the manifest, passes and the runtime read the
 * tables; code branches on a field of the row, not on the name of the value. The files of this folder import only each
 * other, so that the command line reads them without loading the library.
 */

/** The fields of every row. */
export interface Choice {
  /** A clause without a full stop. */
  readonly help: string;
}

/** The values of a choice, in the order of its table. */
export const keysOf = <T extends object>(table: T): (keyof T & string)[] =>
  Object.keys(table).filter((key): key is keyof T & string => Object.hasOwn(table, key));

/** Whether a text is one of the values of a choice. */
export const isKey = <T extends object>(table: T, text: string): text is keyof T & string => Object.hasOwn(table, text);

/** A record with an entry for each key. */
export function recordOf<K extends string, V>(keys: readonly K[], entry: (key: K) => V): Record<K, V>;
export function recordOf(keys: readonly string[], entry: (key: string) => unknown): Record<string, unknown> {
  return Object.fromEntries(keys.map((key) => [key, entry(key)]));
}
