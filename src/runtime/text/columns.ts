/** The columns of rows of text: their names, and their values. */

import type { LoraifyError } from '../../errors.ts';
import { listed } from '../data/cells.ts';
import type { Task } from './task.ts';

export interface ColumnOptions {
  readonly textColumn?: string | undefined;
  readonly textPairColumn?: string | undefined;
  readonly labelColumn?: string | undefined;
}

/** The usual names of columns. */
export const columnNames = {
  text: ['text', 'sentence', 'sentence1'],
  pair: ['text_pair', 'sentence2'],
  words: ['tokens', 'words'],
  tags: ['tags', 'ner_tags', 'labels'],
  label: ['label', 'labels'],
} as const;

/** Columns that tell a file of text from one of token ids. */
export const isTextFile = (columns: ReadonlySet<string>, { textColumn }: ColumnOptions): boolean =>
  (textColumn !== undefined && columns.has(textColumn)) ||
  [...columnNames.text, ...columnNames.words, 'messages', 'prompt'].some((name) => columns.has(name));

/** Whether there are columns beside those of text: a text may describe a row of numbers. */
export function hasOtherColumns(columns: ReadonlySet<string>): boolean {
  const known = new Set<string>([...Object.values(columnNames).flat(), 'messages', 'prompt', 'completion', 'tools']);
  return [...columns].some((column) => !known.has(column));
}

/** Makes an error of a row from a reason. */
export type Fail = (reason: string) => LoraifyError;

export function findColumn(
  columns: ReadonlyMap<string, unknown>,
  names: readonly string[],
  given: string | undefined,
): string | undefined {
  return given ?? names.find((name) => columns.has(name));
}

/** A text of a row that is there and not empty. */
export function textIn(columns: ReadonlyMap<string, unknown>, name: string, fail: Fail, isEmptyFine = false): string {
  const value = columns.get(name);
  if (value === undefined) throw fail(`there is no column "${name}"`);
  if (typeof value !== 'string') throw fail(`"${name}" is ${kindText(value)}, not a text`);
  if (value.trim() === '' && !isEmptyFine) throw fail(`"${name}" is empty`);
  if (/\p{Surrogate}/u.test(value)) throw fail(`"${name}" has half of a surrogate pair, which UTF-8 cannot hold`);
  return value;
}

export const kindText = (value: unknown): string =>
  value === null
    ? 'null'
    : Array.isArray(value)
      ? 'a list'
      : typeof value === 'object'
        ? 'an object'
        : `a ${typeof value}`;

export const missing = (columns: ReadonlyMap<string, unknown>, task: Task, what: string, fail: Fail): LoraifyError =>
  fail(
    `there is no column of ${what}; the task, ${task.kind}, takes ${task.takes}; there are ${listed([...columns.keys()])}`,
  );

export function jsonList(text: string, fail: Fail): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw fail(`${text} is not a JSON list`);
  }
}

/** A list in a cell, or the value itself. */
export function listIn(columns: ReadonlyMap<string, unknown>, name: string, fail: Fail): readonly unknown[] {
  const value = columns.get(name);
  const list = typeof value === 'string' && value.trim().startsWith('[') ? jsonList(value, fail) : value;
  if (!Array.isArray(list)) throw fail(`"${name}" is ${kindText(value)}, not a list`);
  return list;
}
