/** The texts of the rows in a JSON file: one a line, objects one after another, or the elements of one array. */

import { badData } from '../../errors.ts';
import type { FileReader } from '../../formats/files.ts';
import { linesOf } from '../../formats/lines.ts';
import { notUtf8 } from './csvForm.ts';

/** The text of a row, which begins in a line. */
export interface RowText {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly line: number;
}

const chunkBytes = 2 ** 20;

/** JSON's characters outside strings are ASCII. */
const code = (sign: string): number => sign.charCodeAt(0);
const [quote, backslash, newline, comma] = [code('"'), code('\\'), 0x0a, code(',')];
const opening: ReadonlySet<number> = new Set([code('{'), code('[')]);
const closing: ReadonlySet<number> = new Set([code('}'), code(']')]);
const isBlank = (byte: number): boolean => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;

/**
 * The texts of rows. JSON Lines if the first line is a whole object; otherwise objects of any number of lines, inside
 * one array or not. @param most the limit of a row's bytes. Errors: BAD_DATA.
 */
export function* rowTexts(reader: FileReader, most: number): Generator<RowText> {
  const { file } = reader;
  const tooLong = (line: number): Error => badData(`line ${line} is longer than ${most} bytes`, file);
  const first = firstLine(reader, most);
  if (first === undefined) return;
  if (first.isWhole) yield* linesOf(reader, most, tooLong);
  else yield* values(reader, first.isArray, most, tooLong);
}

/** Whether the first line that is not blank is an object, and whether the file is one array. */
function firstLine(reader: FileReader, most: number): { isWhole: boolean; isArray: boolean } | undefined {
  const tooLong = (line: number): Error => badData(`line ${line} is longer than ${most} bytes`, reader.file);
  for (const { bytes, line } of linesOf(reader, most, tooLong)) {
    const start = bytes.findIndex((byte, i) => !isBlank(byte) && !(line === 1 && isMark(bytes, i)));
    if (start < 0) continue;
    if (bytes[start] === code('[')) return { isWhole: false, isArray: true };
    if (bytes[start] !== code('{')) throw notJson(reader.file, line, bytes);
    let depth = 0;
    let end = bytes.length;
    for (const { at, by } of brackets(bytes, start)) {
      depth += by;
      if (depth === 0) {
        end = at;
        break;
      }
    }
    // A line that ends within an object may also be JSON Lines that is cut; both are refused later then.
    const isWhole = depth === 0 && bytes.subarray(end + 1).every(isBlank);
    return { isWhole, isArray: false };
  }
  return undefined;
}

/** Whether a byte belongs to a byte order mark. */
const isMark = (bytes: Uint8Array, i: number): boolean =>
  i < 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;

function notJson(file: string, line: number, bytes: Uint8Array): Error {
  const text = new TextDecoder().decode(bytes.subarray(0, 40)).trim();
  const isTable = /^[^{[]*[,;\t]/.test(text);
  return badData(
    `line ${line}: not JSON: it begins with "${text}"`,
    file,
    isTable
      ? 'if this is a table, name the file .csv or .tsv'
      : 'each row is one object: {"INPUT": [...], "labels": 0}',
  );
}

/** The brackets of JSON outside strings: where, and the change of depth. */
function* brackets(bytes: Uint8Array, from: number): Generator<{ at: number; by: 1 | -1 }> {
  let isString = false;
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (isString && byte === backslash) at += 1;
    else if (byte === quote) isString = !isString;
    else if (!isString && opening.has(byte)) yield { at, by: 1 };
    else if (!isString && closing.has(byte)) yield { at, by: -1 };
  }
}

/** Objects one after another, or the elements of an array. */
function* values(
  reader: FileReader,
  isArray: boolean,
  most: number,
  tooLong: (line: number) => Error,
): Generator<RowText> {
  const { file } = reader;
  const outer = isArray ? 1 : 0;
  let [depth, line, startLine, start] = [0, 1, 1, -1];
  let [isString, isEscaped, isOver] = [false, false, false];
  for (let offset = 0; offset < reader.size; offset += chunkBytes) {
    const chunk = reader.read(offset, Math.min(chunkBytes, reader.size - offset));
    if (start >= 0 && offset - start > most) throw tooLong(startLine);
    for (const [i, byte] of chunk.entries()) {
      if (byte === newline) line += 1;
      if (isString) {
        if (isEscaped) isEscaped = false;
        else if (byte === backslash) isEscaped = true;
        else if (byte === quote) isString = false;
        continue;
      }
      if (isBlank(byte) || (offset === 0 && isMark(chunk, i))) continue;
      if (isOver) throw badData(`line ${line}: text after the end of the array`, file);
      if (byte === quote) isString = true;
      if (depth <= outer && start < 0 && !(isArray && depth === 0)) {
        if (opening.has(byte)) [start, startLine] = [offset + i, line];
        else if (isArray && closing.has(byte)) isOver = true;
        else if (!(isArray && byte === comma)) throw notObject(byte, line, file);
      }
      if (opening.has(byte)) depth += 1;
      else if (closing.has(byte)) depth -= 1;
      if (depth !== outer || start < 0 || !closing.has(byte)) continue;
      const length = offset + i + 1 - start;
      yield { offset: start, bytes: reader.read(start, length), line: startLine };
      start = -1;
    }
  }
  if (depth !== 0 || isString) throw badData(`line ${start < 0 ? line : startLine}: not JSON: it does not end`, file);
}

function notObject(byte: number, line: number, file: string): Error {
  if (byte !== comma) return badData(`line ${line}: not a JSON object`, file);
  return badData(`line ${line}: a comma after an object`, file, 'write one object a line without commas, or one array');
}

/** NaN and infinity as Python's json writes them. */
const tokens: ReadonlyMap<string, number> = new Map([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]);

/**
 * The value of a JSON text, which may contain NaN, Infinity and -Infinity; undefined for a blank one. Errors: BAD_DATA,
 * also for a name that occurs twice.
 */
export function parseJson(bytes: Uint8Array, line: number, file: string): unknown {
  const text = textOf(bytes, line, file);
  if (text.trim() === '') return undefined;
  const repeated = repeatedName(text);
  if (repeated !== undefined) throw badData(`line ${line}: ${repeated} occurs twice`, file);
  try {
    return JSON.parse(text);
  } catch (error) {
    const plain = text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g, (token) =>
      tokens.has(token) ? JSON.stringify(marked(token)) : token,
    );
    if (plain !== text) {
      try {
        return JSON.parse(plain, (_, value: unknown) =>
          typeof value === 'string' && value.startsWith(mark) ? (tokens.get(value.slice(mark.length)) ?? value) : value,
        );
      } catch {
        // The error of the text itself is the one to report.
      }
    }
    throw badData(`line ${line}: not JSON in UTF-8 (${error instanceof Error ? error.message : error})`, file);
  }
}

/** A prefix that no text of a data file has. */
const mark = '\u0000loraify:';
const marked = (token: string): string => `${mark}${token}`;

function textOf(bytes: Uint8Array, line: number, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes); // drops a byte order mark
  } catch {
    throw notUtf8(file, line);
  }
}

/** The first name that the outermost object has twice, of which JSON.parse would keep the last. */
function repeatedName(text: string): string | undefined {
  const seen = new Set<string>();
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1 && token.endsWith(':')) {
      const name = token.replace(/\s*:$/, '');
      if (seen.has(name)) return name;
      seen.add(name);
    }
  }
  return undefined;
}
