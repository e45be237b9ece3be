/** Converts rows of text to token ids and labels. */

import { columnNames, type Fail, findColumn, jsonList, kindText, listIn, missing, textIn } from './columns.ts';
import { languageRow } from './languageRows.ts';
import type { Conversion, TextRow } from './textRow.ts';

/** Converts a row. @param fail makes the error that names the row. */
export function textRow(columns: ReadonlyMap<string, unknown>, how: Conversion, fail: Fail): TextRow {
  const { kind } = how.task;
  if (kind === 'language-model') return languageRow(columns, how, fail);
  if (kind === 'token-classification') return taggedRow(columns, how, fail);
  if (kind === 'unlabelled' && findColumn(columns, columnNames.text, how.options.textColumn) === undefined) {
    const words = wordsOf(columns, how, fail);
    return how.tokenizer.encodeWords(words, how);
  }
  const encoding = sentence(columns, how, fail);
  if (kind === 'unlabelled') return encoding;
  const [name, value] = labelOf(columns, how, fail);
  return { ...encoding, labels: kind === 'multi-label' ? manyLabels(value, how, at(fail, name)) : [value] };
}

/** A name of a column in front of a reason. */
const at =
  (fail: Fail, column: string): Fail =>
  (reason) =>
    fail(`"${column}": ${reason}`);

function sentence(columns: ReadonlyMap<string, unknown>, how: Conversion, fail: Fail): TextRow {
  const { tokenizer, options, maxLength } = how;
  const name = findColumn(columns, columnNames.text, options.textColumn);
  if (name === undefined) throw missing(columns, how.task, 'text', fail);
  const pairName = findColumn(columns, columnNames.pair, options.textPairColumn);
  const text = textIn(columns, name, fail);
  const pair = pairName === undefined ? undefined : textIn(columns, pairName, fail);
  return tokenizer.encode(text, { pair, maxLength });
}

function labelOf(columns: ReadonlyMap<string, unknown>, how: Conversion, fail: Fail): [name: string, value: unknown] {
  const name = findColumn(columns, columnNames.label, how.options.labelColumn);
  if (name === undefined) throw missing(columns, how.task, 'labels', fail);
  if (!columns.has(name)) throw fail(`there is no column "${name}"`);
  const value = columns.get(name);
  if (how.task.kind === 'multi-label') return [name, value];
  const [own = value] = Array.isArray(value) && value.length === 1 ? value : [value];
  return [name, label(own, how, at(fail, name))];
}

/** A label as its number. */
function label(value: unknown, { classes }: Conversion, fail: Fail): unknown {
  const trimmed = typeof value === 'string' ? value.trim() : value;
  if (trimmed === '' || trimmed === null || trimmed === undefined) throw fail('it is empty; each row needs a label');
  const isNumber = typeof trimmed === 'string' && /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(trimmed);
  if (classes === undefined) return isNumber ? Number(trimmed) : trimmed;
  return isNumber && !classes.has(trimmed) ? classes.read(Number(trimmed), fail) : classes.read(trimmed, fail);
}

/** One number for each class: 1 for those in a list of names, or the list itself. */
function manyLabels(value: unknown, how: Conversion, fail: Fail): readonly unknown[] {
  const list = typeof value === 'string' && value.trim().startsWith('[') ? jsonList(value, fail) : value;
  const items: readonly unknown[] = Array.isArray(list) ? list : [list];
  const areNumbers = items.length === how.width && items.every((item) => typeof item === 'number');
  if (areNumbers) return items;
  const chosen = new Set(
    items.filter((item) => item !== '' && item !== null).map((item) => Number(label(item, how, fail))),
  );
  for (const number of chosen)
    if (!(number >= 0 && number < how.width)) throw fail(`${number} is not one of ${how.width} classes`);
  return Array.from({ length: how.width }, (_, i) => Number(chosen.has(i)));
}

function wordsOf(columns: ReadonlyMap<string, unknown>, how: Conversion, fail: Fail): string[] {
  const name = findColumn(columns, columnNames.words, how.options.textColumn);
  if (name === undefined) throw missing(columns, how.task, 'words', fail);
  const words = listIn(columns, name, fail);
  if (words.length === 0) throw fail(`"${name}" is empty`);
  return words.map((word, i) => {
    if (typeof word !== 'string') throw fail(`"${name}"[${i}] is ${kindText(word)}, not a word`);
    return word;
  });
}

/** The first piece of a word has its label, the others and special tokens none. */
function taggedRow(columns: ReadonlyMap<string, unknown>, how: Conversion, fail: Fail): TextRow {
  const words = wordsOf(columns, how, fail);
  const { ids, types, words: places } = how.tokenizer.encodeWords(words, how);
  const name = findColumn(columns, columnNames.tags, how.options.labelColumn);
  if (name === undefined) throw missing(columns, how.task, 'tags', fail);
  const tags = listIn(columns, name, fail);
  if (tags.length !== words.length)
    throw fail(`there are ${words.length} words, but "${name}" has ${tags.length} entries`);
  const numbers = tags.map((tag, i) => Number(label(tag, how, (reason) => fail(`"${name}"[${i}]: ${reason}`))));
  return {
    ids,
    types,
    tags: places.map((word, i) =>
      word === undefined || word === places[i - 1] ? how.ignoreIndex : (numbers[word] ?? how.ignoreIndex),
    ),
  };
}
