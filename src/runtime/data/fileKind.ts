/** Files that are not what their name declares: recognized by their first bytes, and refused with what they are. */

import { readdirSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { badData } from '../../errors.ts';
import { openReader } from '../../formats/files.ts';
import { signatures } from '../../formats/signatures.ts';
import { listed } from './cells.ts';

interface Kind {
  readonly what: string;
  /** The first bytes, one character each. */
  readonly starts: readonly string[];
  /** The extensions that such a file may have. */
  readonly extensions?: readonly string[];
  /** The way to make data of it. */
  readonly hint: string;
}

const workbook = 'save the sheet as CSV (UTF-8)';
const text = ['.csv', '.tsv', '.json', '.jsonl'];

const kinds: readonly Kind[] = [
  {
    what: 'a zip archive, such as an Excel workbook or an .npz file',
    starts: [signatures.zip, 'PK\x05\x06'],
    extensions: ['.npz'],
    hint: `give it its own extension (.npz), or unpack it; for an Excel workbook ${workbook}`,
  },
  { what: 'an Excel workbook', starts: ['\xd0\xcf\x11\xe0'], hint: workbook },
  { what: 'a gzip file', starts: [signatures.gzip], hint: 'unpack it first: gunzip FILE' },
  { what: 'a zstd file', starts: [signatures.zstd], hint: 'unpack it first: unzstd FILE' },
  { what: 'a bzip2 file', starts: [signatures.bzip2], hint: 'unpack it first: bunzip2 FILE' },
  { what: 'an xz file', starts: [signatures.xz], hint: 'unpack it first: unxz FILE' },
  { what: 'a Parquet file', starts: [signatures.parquet], extensions: ['.parquet'], hint: 'name it .parquet' },
  {
    what: 'a single NumPy array (.npy)',
    starts: ['\x93NUMPY'],
    hint: 'save all inputs and the labels in one file: numpy.savez("data.npz", INPUT=..., labels=...)',
  },
  { what: 'an HDF5 file', starts: [signatures.hdf5], hint: 'save the arrays with numpy.savez' },
  {
    what: 'an Arrow or Feather file',
    starts: ['ARROW1', '\xff\xff\xff\xff'],
    hint: 'save it as Parquet: datasets.Dataset.to_parquet, pandas.DataFrame.to_parquet',
  },
  {
    what: 'a Python pickle or a PyTorch file',
    starts: ['\x80\x02', '\x80\x03', '\x80\x04', '\x80\x05'],
    hint: 'save the arrays with numpy.savez or safetensors',
  },
  { what: 'an SQLite database', starts: ['SQLite format 3'], hint: 'export the table as CSV' },
  {
    what: 'text in UTF-16',
    starts: ['\xff\xfe', '\xfe\xff'],
    hint: 'save it as UTF-8: iconv -f UTF-16 -t UTF-8 FILE > NEW',
  },
];

/** Extensions of other files, with the way to make data of them. */
const others: Readonly<Record<string, string>> = {
  '.xlsx': workbook,
  '.xls': workbook,
  '.ods': workbook,
  '.gz': 'unpack it first: gunzip FILE',
  '.zip': 'unpack it first',
  '.npy': 'save all inputs and the labels in one file: numpy.savez("data.npz", INPUT=..., labels=...)',
  '.txt': 'name a table .csv or .tsv, and one object per line .jsonl',
  '.arrow': 'save it as Parquet: datasets.Dataset.to_parquet',
  '.feather': 'save it as Parquet: pandas.DataFrame.to_parquet',
  '.pt': 'save the arrays with numpy.savez or safetensors',
  '.pkl': 'save the arrays with numpy.savez or safetensors',
  '.h5': 'save the arrays with numpy.savez',
  '.ndjson': 'name it .jsonl',
  '.onnx': 'this is a model; --data takes the rows to train or evaluate on',
};

/**
 * The extension of a data file, in lower case. Errors: BAD_DATA for a folder, an unknown extension, and content of
 * another kind; FILE_NOT_FOUND.
 */
export function extensionOf(file: string, known: readonly string[]): string {
  const names = folderNames(file);
  if (names !== undefined) throw folder(file, names, known);
  const extension = extname(file).toLowerCase();
  if (!known.includes(extension))
    throw badData(
      `"${extension}" is not a data format; known are ${known.join(', ')}`,
      file,
      Object.hasOwn(others, extension) ? others[extension] : undefined,
    );
  const start = firstBytes(file);
  const kind = kinds.find(({ starts }) => starts.some((s) => start.startsWith(s)));
  if (kind !== undefined && !kind.extensions?.includes(extension) && !isSize(kind, extension))
    throw badData(`the file is not ${extension}: it is ${kind.what}`, file, kind.hint);
  if (!text.includes(extension)) {
    if (start === '') throw badData('the file is empty', file);
    if (kind === undefined && /^[\t\n\r -~]+$/.test(start))
      throw badData(`the file is not ${extension}: it is text`, file, `formats of text are ${text.join(', ')}`);
  } else if (/\.[ct]sv$/.test(extension) && /^(?:\xef\xbb\xbf)?\s*(?:\[\s*)?\{/.test(start))
    throw badData(`the file is not ${extension}: it is JSON`, file, 'name it .json or .jsonl');
  return extension;
}

/** A .safetensors file begins with the length of its header, which may be any bytes. */
const isSize = (kind: Kind, extension: string): boolean =>
  extension === '.safetensors' && !kind.starts.some((start) => start.length > 3);

/** The names in a folder; undefined for anything else. */
function folderNames(file: string): string[] | undefined {
  try {
    return statSync(file).isDirectory() ? readdirSync(file) : undefined;
  } catch {
    return undefined;
  }
}

function folder(file: string, names: readonly string[], known: readonly string[]): Error {
  const files = names.filter((name) => known.includes(extname(name).toLowerCase())).sort();
  const [first] = files;
  const hint =
    first === undefined
      ? `data is one file: ${known.join(', ')}`
      : `data is one file, such as ${join(file, first)}; the folder has ${listed(files)}`;
  return badData('this is a folder, not a data file', file, hint);
}

function firstBytes(file: string): string {
  const reader = openReader(file);
  try {
    return Buffer.from(reader.read(0, Math.min(reader.size, 16))).toString('latin1');
  } finally {
    reader.close();
  }
}
