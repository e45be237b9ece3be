/** What rows of text mean for a package: its task, the columns that the task has, and the ids and labels of a row. */

import { type InputInfo, type Manifest, openShape } from '../../formats/manifest.ts';
import { losses } from '../../graph/choices/losses.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import { listed } from '../data/cells.ts';
import type { ClassReader } from '../data/labels.ts';

/** The inputs of a model that text fills. */
export interface TextInputs {
  readonly ids: InputInfo;
  readonly mask?: InputInfo | undefined;
  readonly types?: InputInfo | undefined;
}

/** Names of inputs in the models of Hugging Face, ONNX's model zoo and tf2onnx. */
const inputNames = {
  ids: ['input_ids', 'input_ids:0', 'decoder_input_ids', 'tokens', 'token_ids', 'ids'],
  mask: ['attention_mask', 'attention_mask:0', 'input_mask', 'mask'],
  types: ['token_type_ids', 'token_type_ids:0', 'segment_ids'],
} as const;

/** The inputs that text fills; undefined if the model reads no tokens. */
export function textInputs(inputs: readonly InputInfo[]): TextInputs | undefined {
  const find = (names: readonly string[]): InputInfo | undefined =>
    names.flatMap((name) => inputs.find((input) => input.name === name) ?? [])[0];
  const sequences = inputs.filter((input) => /^u?int(32|64)$/.test(input.type) && input.shape.length === 2);
  const [only] = sequences;
  const ids = find(inputNames.ids) ?? (sequences.length === 1 ? only : undefined);
  return ids && { ids, mask: find(inputNames.mask), types: find(inputNames.types) };
}

export type TaskKind =
  | 'classification'
  | 'multi-label'
  | 'regression'
  | 'token-classification'
  | 'language-model'
  | 'unlabelled';

/** The columns of a task, each with the names that it may have. */
export interface Task {
  readonly kind: TaskKind;
  /** For messages: what the columns are. */
  readonly takes: string;
}

const takes: Readonly<Record<TaskKind, string>> = {
  classification: '"text", perhaps "text_pair", and "label"',
  'multi-label': '"text", perhaps "text_pair", and "labels", a list of names',
  regression: '"text", perhaps "text_pair", and "label", a number',
  'token-classification': '"tokens", a list of words, and "tags", a list of names or numbers',
  'language-model': '"text", or "prompt" and "completion", or "messages"',
  unlabelled: '"text" and perhaps "text_pair", or "tokens"',
};

/** The task of a package's loss; undefined if its labels do not come from text. */
export function taskOf({ loss, labels }: Manifest, ids: InputInfo, withLabels: boolean): Task | undefined {
  const kind = kindOf(loss, labels, ids, withLabels);
  return kind && { kind, takes: takes[kind] };
}

function kindOf(
  loss: Manifest['loss'],
  labels: Manifest['labels'],
  ids: InputInfo,
  withLabels: boolean,
): TaskKind | undefined {
  if (loss === undefined) return 'unlabelled';
  const { over, shift, share } = losses[loss.kind];
  if (shift === true) return 'language-model';
  const shape = labels && openShape(labels);
  const isPerToken = shape?.length === 2 && over === 'classes' && shape[1] === openShape(ids)[1];
  if (isPerToken) return 'token-classification';
  if (!withLabels) return 'unlabelled';
  if (over === 'classes') return shape?.length === 1 ? 'classification' : undefined;
  if (over !== 'elements' || shape === undefined) return undefined;
  const [, ...rest] = shape;
  if (share === true) return rest.length === 1 && rest[0] !== 1 ? 'multi-label' : 'regression';
  return rest.every((dim) => dim === 1) ? 'regression' : undefined;
}

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

/** The ids of a row, with what depends on them. */
export interface TextRow {
  readonly ids: readonly number[];
  readonly types: readonly number[];
  /** Labels of tokens, as many as ids. */
  readonly tags?: readonly number[] | undefined;
  /** Labels of the row. */
  readonly labels?: readonly unknown[] | undefined;
}

/** What the rows of a file are converted with. */
export interface Conversion {
  readonly task: Task;
  readonly tokenizer: TextTokenizer;
  readonly options: ColumnOptions & { readonly completionOnly?: boolean | undefined };
  /** The most tokens of a row. */
  readonly maxLength: number | undefined;
  readonly ignoreIndex: number;
  /** The names of classes; absent for other labels. */
  readonly classes: ClassReader | undefined;
  /** The number of labels of a row, for multi-label. */
  readonly width: number;
}

/** Makes an error of a row from a reason. */
export type Fail = (reason: string) => Error;

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

function findColumn(
  columns: ReadonlyMap<string, unknown>,
  names: readonly string[],
  given: string | undefined,
): string | undefined {
  return given ?? names.find((name) => columns.has(name));
}

/** A text of a row that is there and not empty. */
function textIn(columns: ReadonlyMap<string, unknown>, name: string, fail: Fail, isEmptyFine = false): string {
  const value = columns.get(name);
  if (value === undefined) throw fail(`there is no column "${name}"`);
  if (typeof value !== 'string') throw fail(`"${name}" is ${kindText(value)}, not a text`);
  if (value.trim() === '' && !isEmptyFine) throw fail(`"${name}" is empty`);
  if (/\p{Surrogate}/u.test(value)) throw fail(`"${name}" has half of a surrogate pair, which is no text`);
  return value;
}

const kindText = (value: unknown): string =>
  value === null
    ? 'null'
    : Array.isArray(value)
      ? 'a list'
      : typeof value === 'object'
        ? 'an object'
        : `a ${typeof value}`;

const missing = (columns: ReadonlyMap<string, unknown>, { task }: Conversion, what: string, fail: Fail): Error =>
  fail(
    `there is no column of ${what}; the task, ${task.kind}, takes ${task.takes}; there are ${listed([...columns.keys()])}`,
  );

function sentence(columns: ReadonlyMap<string, unknown>, how: Conversion, fail: Fail): TextRow {
  const { tokenizer, options, maxLength } = how;
  const name = findColumn(columns, columnNames.text, options.textColumn);
  if (name === undefined) throw missing(columns, how, 'text', fail);
  const pairName = findColumn(columns, columnNames.pair, options.textPairColumn);
  const text = textIn(columns, name, fail);
  const pair = pairName === undefined ? undefined : textIn(columns, pairName, fail);
  return tokenizer.encode(text, { pair, maxLength });
}

function labelOf(columns: ReadonlyMap<string, unknown>, how: Conversion, fail: Fail): [name: string, value: unknown] {
  const name = findColumn(columns, columnNames.label, how.options.labelColumn);
  if (name === undefined) throw missing(columns, how, 'labels', fail);
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

function jsonList(text: string, fail: Fail): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw fail(`${text} is not a JSON list`);
  }
}

/** A list in a cell, or the value itself. */
function listIn(columns: ReadonlyMap<string, unknown>, name: string, fail: Fail): readonly unknown[] {
  const value = columns.get(name);
  const list = typeof value === 'string' && value.trim().startsWith('[') ? jsonList(value, fail) : value;
  if (!Array.isArray(list)) throw fail(`"${name}" is ${kindText(value)}, not a list`);
  return list;
}

function wordsOf(columns: ReadonlyMap<string, unknown>, how: Conversion, fail: Fail): string[] {
  const name = findColumn(columns, columnNames.words, how.options.textColumn);
  if (name === undefined) throw missing(columns, how, 'words', fail);
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
  if (name === undefined) throw missing(columns, how, 'tags', fail);
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

/** TRL's forms: a text, or a prompt and its completion. */
function languageRow(columns: ReadonlyMap<string, unknown>, how: Conversion, fail: Fail): TextRow {
  const { tokenizer, options, maxLength = Number.POSITIVE_INFINITY, ignoreIndex } = how;
  const ended = (text: string): string => {
    const end = tokenizer.eos?.text ?? '';
    return text.endsWith(end) ? text : text + end;
  };
  const cutTo = (ids: readonly number[], from: number): TextRow => {
    const kept = ids.slice(0, maxLength);
    return { ids: kept, types: kept.map(() => 0), tags: kept.map((id, i) => (i < from ? ignoreIndex : id)) };
  };
  if (options.textColumn === undefined && columns.has('prompt')) {
    const prompt = textIn(columns, 'prompt', fail, true);
    if (!columns.has('completion')) throw missing(columns, how, 'completions ("completion")', fail);
    const whole = tokenizer.encode(prompt + ended(textIn(columns, 'completion', fail))).ids;
    if (options.completionOnly === false) return cutTo(whole, 0);
    const start = tokenizer.encode(prompt).ids;
    const parting = whole.findIndex((id, i) => id !== start[i]);
    return cutTo(whole, parting < 0 ? whole.length : parting);
  }
  const name = findColumn(columns, columnNames.text, options.textColumn);
  if (name === undefined) throw missing(columns, how, 'text', fail);
  return cutTo(tokenizer.encode(ended(textIn(columns, name, fail))).ids, 0);
}
