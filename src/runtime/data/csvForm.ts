/** The form of a CSV file: its encoding, the sign between columns, and the sign before decimals. */

import { badData } from '../../errors.ts';
import { openReader } from '../../formats/files.ts';
import { infinity } from './cells.ts';

/** The signs between columns that are found, with their names for messages. */
const delimiters = { ',': 'commas', ';': 'semicolons', '\t': 'tabs', '|': 'vertical bars' } as const;
export type Delimiter = keyof typeof delimiters;

const isDelimiter = (sign: string): sign is Delimiter => Object.hasOwn(delimiters, sign);
const signs = Object.keys(delimiters).filter(isDelimiter);

export interface CsvForm {
  readonly delimiter: Delimiter;
  /** The line of the header; the first line may be Excel's `sep=;`. */
  readonly from: number;
}

/** Bytes that the sign is found in. */
const sampleBytes = 2 ** 16;

/**
 * The sign between columns: that of the first two lines, outside quotes; a comma if there is only one column. A sign
 * that both lines have equally often comes first, then the one that occurs most often.
 */
export function csvForm(file: string, onNotice: (text: string) => void = () => {}): CsvForm {
  const reader = openReader(file);
  let sample: string;
  try {
    sample = new TextDecoder().decode(reader.read(0, Math.min(reader.size, sampleBytes)));
  } finally {
    reader.close();
  }
  const declared = /^sep=(.)\r?\n/.exec(sample);
  const sign = declared?.[1] ?? '';
  if (isDelimiter(sign)) return { delimiter: sign, from: 2 };
  const [header, second] = firstRecords(sample);
  const found = signs
    .filter((d) => (header.get(d) ?? 0) > 0)
    .map((d) => ({ delimiter: d, count: header.get(d) ?? 0, isEven: second.get(d) === header.get(d) }))
    .sort((a, b) => Number(b.isEven) - Number(a.isEven) || b.count - a.count)[0];
  const delimiter = found?.delimiter ?? ',';
  if (delimiter !== (/\.tsv$/i.test(file) ? '\t' : ',') && found !== undefined)
    onNotice(`${file}: columns are separated by ${delimiters[delimiter]}`);
  return { delimiter, from: 1 };
}

/** The number of times that each sign is in the first two records that are not empty, outside quotes. */
function firstRecords(text: string): [Map<string, number>, Map<string, number>] {
  const records: [Map<string, number>, Map<string, number>] = [new Map(), new Map()];
  let at = 0;
  let isQuoted = false;
  let isEmpty = true;
  for (const sign of text) {
    if (sign === '"') isQuoted = !isQuoted;
    if (!isQuoted && (sign === '\n' || sign === '\r')) {
      if (!isEmpty) at += 1;
      isEmpty = true;
    } else {
      isEmpty = false;
      const counts = records[at];
      if (counts === undefined) break;
      if (!isQuoted) counts.set(sign, (counts.get(sign) ?? 0) + 1);
    }
  }
  return records;
}

/** The bytes of a file, piece by piece. Errors: BAD_DATA for bytes that are not UTF-8, with their line. */
export async function* checkedText(source: AsyncIterable<unknown>, file: string): AsyncGenerator<Uint8Array> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const isWrong = (chunk?: Uint8Array): boolean => {
    try {
      decoder.decode(chunk, { stream: chunk !== undefined });
      return false;
    } catch {
      return true;
    }
  };
  let line = 1;
  for await (const chunk of source) {
    if (!(chunk instanceof Uint8Array)) continue;
    if (isWrong(chunk)) throw notUtf8(file, line + wrongLine(chunk));
    line += newlines(chunk);
    yield chunk;
  }
  if (isWrong()) throw notUtf8(file, line);
}

export const notUtf8 = (file: string, line: number): Error =>
  badData(
    `line ${line}: the text is not UTF-8`,
    file,
    'save the file as UTF-8; for Windows-1252: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW',
  );

function newlines(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) if (byte === 0x0a) count += 1;
  return count;
}

/** The number of complete lines before the first one that is not UTF-8. */
function wrongLine(chunk: Uint8Array): number {
  // Complete sequences need no bytes of the lines around them; the first line may begin inside a sequence.
  let start = chunk.indexOf(0x0a) + 1;
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for (let line = 1; start > 0; line++) {
    const end = chunk.indexOf(0x0a, start);
    try {
      decoder.decode(chunk.subarray(start, end < 0 ? chunk.length : end));
    } catch {
      return line;
    }
    start = end + 1;
  }
  return 0;
}

/** Reads the numbers of a CSV file, whose decimals follow a point, or in all cells a comma. */
export interface CellReader {
  /** A number, or true / false; integers beyond 2^53 stay exact. undefined for any other text. */
  read(cell: string, where: () => string): number | bigint | boolean | undefined;
  /** Errors: BAD_DATA if the file does not show whether commas are decimal. */
  finish(): void;
}

const decimalPoint = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const decimalComma = /^[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?$/;
/** 1,234 may also be 1234. */
const thousands = /^[+-]?[1-9]\d{0,2},\d{3}$/;

export function cellReader(
  file: string,
  { delimiter }: CsvForm,
  onNotice: (text: string) => void = () => {},
): CellReader {
  const isComma = delimiter === ',';
  /** The first cells with a decimal point, with a comma, and with a comma that may separate thousands. */
  let point: string | undefined;
  let comma: string | undefined;
  let unclear: string | undefined;
  const mixed = (cell: string, where: string, other: string): Error =>
    badData(`${where}: "${cell}" and ${other}: decimals follow a point or a comma, not both`, file);
  return {
    read(cell, where) {
      const text = cell.trim();
      if (decimalPoint.test(text)) {
        const value = Number(text);
        if (!isComma && text.includes('.')) {
          if (comma !== undefined || unclear !== undefined) throw mixed(text, where(), comma ?? unclear ?? '');
          point ??= `"${text}" (${where()})`;
        }
        if (Number.isSafeInteger(value)) return value;
        // Too large for any type.
        if (!Number.isFinite(value)) return undefined;
        return /^[+-]?\d+$/.test(text) ? BigInt(text.replace('+', '')) : value;
      }
      if (/^(true|false)$/i.test(text)) return text.toLowerCase() === 'true';
      if (isComma || !decimalComma.test(text)) return infinity(text);
      if (point !== undefined) throw mixed(text, where(), point);
      if (comma === undefined && !thousands.test(text)) {
        comma = `"${text}" (${where()})`;
        onNotice(`${file}: decimals follow a comma`);
      } else if (comma === undefined) unclear ??= `${where()}: "${text}"`;
      return Number(text.replace(',', '.'));
    },
    finish() {
      if (unclear !== undefined && comma === undefined)
        throw badData(
          `${unclear} may be a decimal comma or separate thousands, and no other cell shows which`,
          file,
          'write numbers with a decimal point',
        );
    },
  };
}
