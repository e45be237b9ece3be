/** Random rows of small models, written to data files in the forms that people hold. */

import fc from 'fast-check';
import { encodeNpz } from '../../src/formats/npz.ts';
import { bytesOf, type RawTensor } from '../../src/formats/rawTensor.ts';
import { encodeSafetensors } from '../../src/formats/safetensors.ts';
import { stream } from '../../src/graph/random.ts';

/** The models of the test. `open`: the width of the input is a symbol. */
export interface SmallModel {
  readonly name: string;
  readonly task: 'classes' | 'numbers';
  readonly input: 'floats' | 'tokens';
  readonly width: number;
  /** Classes, or 1. */
  readonly outputs: number;
  /** The output is [N], not [N, 1]. */
  readonly isFlat?: boolean;
  /** The package has the names of the classes. */
  readonly hasNames?: boolean;
}

export const smallModels: readonly SmallModel[] = [
  { name: 'table', task: 'classes', input: 'floats', width: 4, outputs: 3, hasNames: true },
  { name: 'pair', task: 'classes', input: 'floats', width: 2, outputs: 2 },
  { name: 'text', task: 'classes', input: 'tokens', width: 5, outputs: 3, hasNames: true },
  { name: 'column', task: 'numbers', input: 'floats', width: 3, outputs: 1 },
  { name: 'flat', task: 'numbers', input: 'floats', width: 3, outputs: 1, isFlat: true },
];

/** The model in ONNX's text. NaN in the table's input counts as 0. */
export function modelText({ name, input, width, outputs, isFlat }: SmallModel): string {
  const random = stream(3, name);
  const numbers = (count: number): string => Array.from({ length: count }, () => random.normal().toFixed(3)).join(', ');
  const out = isFlat ? 'float[N] y' : `float[N, ${outputs}] ${outputs > 1 ? 'logits' : 'y'}`;
  const result = outputs > 1 ? 'logits' : 'y';
  const head = `<ir_version: 8, opset_import: ["" : 17]>\ng `;
  if (input === 'tokens')
    return `${head}(int64[N, S] input_ids) => (${out})
<float[20, 4] table = {${numbers(80)}}, float[4, ${outputs}] w = {${numbers(4 * outputs)}}>
{ e = Gather(table, input_ids)  m = ReduceMean<axes = [1], keepdims = 0>(e)  ${result} = MatMul(m, w) }`;
  const last = isFlat
    ? `z = MatMul(f, w)  axes = Constant<value = int64[1] {1}>()  y = Squeeze(z, axes)`
    : `${result} = MatMul(f, w)`;
  return `${head}(float[N, ${width}] x) => (${out})
<float[${width}, ${outputs}] w = {${numbers(width * outputs)}}, float zero = {0}>
{ n = IsNaN(x)  f = Where(n, zero, x)  ${last} }`;
}

/** Rows and the form of their file. */
export interface RowFile {
  readonly extension: '.csv' | '.tsv' | '.jsonl' | '.json' | '.npz' | '.safetensors';
  readonly x: readonly (readonly number[])[];
  readonly labels: readonly number[];
  /** The columns of a table without those of the input and the labels; before or after these. */
  readonly extra: 'none' | 'unnamed' | 'Unnamed: 0' | '__index_level_0__' | 'id' | 'split' | 'other';
  readonly extraLast: boolean;
  readonly labelForm: 'number' | 'point' | 'name' | 'column' | 'one-hot' | 'missing' | 'out of range';
  readonly labelName: 'label' | 'labels' | 'y' | 'Lable';
  /** The names of the columns that fill the input. */
  readonly columns: 'series' | 'numbered' | 'words';
  readonly delimiter: ',' | ';' | '\t' | '|';
  readonly hasDecimalComma: boolean;
  readonly end: '\n' | '\r\n';
  readonly hasMark: boolean;
  readonly nan: 'none' | 'empty' | 'nan' | 'null';
  readonly allowNan: boolean;
}

export const classNames: readonly string[] = ['cat', 'dog', 'a bird'];

export function rowFile(model: SmallModel): fc.Arbitrary<RowFile> {
  const { input, task, width, outputs } = model;
  // Eighths have the same value in text, float32 and float64.
  const element =
    input === 'tokens' ? fc.integer({ min: 0, max: 19 }) : fc.integer({ min: -40, max: 40 }).map((n) => n / 8);
  const label =
    task === 'classes' ? fc.integer({ min: 0, max: outputs - 1 }) : fc.integer({ min: -40, max: 40 }).map((n) => n / 8);
  const usual = <const T>(first: T, ...others: readonly T[]) =>
    fc.oneof(
      { weight: 2 + others.length, arbitrary: fc.constant(first) },
      { weight: others.length, arbitrary: fc.constantFrom(...others) },
    );
  return fc.integer({ min: 1, max: 6 }).chain((count) =>
    fc.record({
      extension: fc.constantFrom('.csv', '.csv', '.tsv', '.jsonl', '.json', '.npz', '.safetensors'),
      x: fc.array(fc.array(element, { minLength: width, maxLength: width }), { minLength: count, maxLength: count }),
      labels: fc.array(label, { minLength: count, maxLength: count }),
      extra: usual('none', 'unnamed', 'Unnamed: 0', '__index_level_0__', 'id', 'split', 'other'),
      extraLast: fc.boolean(),
      labelForm:
        task === 'classes'
          ? usual('number', 'point', 'name', 'column', 'one-hot', 'missing', 'out of range')
          : usual('number', 'column', 'missing'),
      labelName: usual('label', 'labels', 'y', 'Lable'),
      columns: fc.constantFrom('series', 'numbered', 'words'),
      delimiter: usual(',', ';', '\t', '|'),
      hasDecimalComma: usual(false, true),
      end: fc.constantFrom('\n', '\r\n'),
      hasMark: usual(false, true),
      nan: input === 'tokens' ? fc.constant('none') : usual('none', 'empty', 'nan', 'null'),
      allowNan: fc.boolean(),
    }),
  );
}

/** Whether every reader must take the file: it has nothing that may be refused. */
export function isPlain(model: SmallModel, f: RowFile): boolean {
  const isTable = f.extension === '.csv' || f.extension === '.tsv';
  return (
    (f.extra === 'none' ||
      !isTable ||
      ((f.extra === 'unnamed' || f.extra === 'Unnamed: 0') && !f.extraLast) ||
      f.extra === '__index_level_0__') &&
    ['number', 'point', 'column', 'name'].includes(f.labelForm) &&
    (f.labelForm !== 'name' || model.hasNames === true || f.extension === '.npz' || f.extension === '.safetensors') &&
    f.labelName !== 'Lable' &&
    (f.nan === 'none' || f.allowNan) &&
    (!f.hasDecimalComma || !isTable || (f.delimiter !== ',' && f.extension !== '.tsv')) &&
    !mayBeThousands(model, f)
  );
}

/** Whether a reader must refuse the file: no loss of it is right. */
export function isWrong(f: RowFile): boolean {
  return (
    ['missing', 'out of range'].includes(f.labelForm) || f.labelName === 'Lable' || (f.nan !== 'none' && !f.allowNan)
  );
}

/** Whether any columns may fill the input, so that the file does not show which ones do. */
export const isOpen = ({ input }: SmallModel, f: RowFile): boolean =>
  input === 'tokens' && f.columns === 'words' && f.extra === 'other';

/** Decimal commas of which each could separate thousands. */
const mayBeThousands = ({ input }: SmallModel, f: RowFile): boolean =>
  f.hasDecimalComma &&
  input === 'floats' &&
  [...f.x.flat(), ...f.labels].some((n) => /^-?[1-9]\d*\.\d{3}$/.test(String(n)));

/** The file's bytes. Row 0 has the NaN, in its first element. */
export function encodeRows(model: SmallModel, f: RowFile): Uint8Array {
  if (f.extension === '.npz' || f.extension === '.safetensors') return arrays(model, f);
  return f.extension === '.csv' || f.extension === '.tsv' ? table(model, f) : json(model, f);
}

/** The value of the first element of row 0, where it is NaN. */
const hasNan = (f: RowFile, row: number, i: number): boolean => f.nan !== 'none' && row === 0 && i === 0;

/** The label of a row as JSON has it. */
function labelOf({ outputs }: SmallModel, f: RowFile, row: number): unknown {
  const label = f.labels[row] ?? 0;
  switch (f.labelForm) {
    case 'name':
      return classNames[label];
    case 'column':
      return [label];
    case 'one-hot':
      return Array.from({ length: outputs }, (_, i) => Number(i === label));
    case 'missing':
      return row === 0 ? null : label;
    case 'out of range':
      return row === 0 ? outputs : label;
    default:
      return label;
  }
}

function table(model: SmallModel, f: RowFile): Uint8Array {
  const d = f.extension === '.tsv' ? '\t' : f.delimiter;
  const decimal = (n: number): string => {
    const text = String(n);
    const local = f.hasDecimalComma ? text.replace('.', ',') : text;
    return local.includes(d) ? `"${local}"` : local;
  };
  const name = model.input === 'tokens' ? 'input_ids' : 'x';
  const words = ['height', 'width', 'depth', 'price', 'age'];
  const inputs = Array.from({ length: model.width }, (_, i) =>
    f.columns === 'series' ? `f${i}` : f.columns === 'numbered' ? `${name}[${i}]` : (words[i] ?? ''),
  );
  const labels =
    f.labelForm === 'one-hot' ? Array.from({ length: model.outputs }, (_, i) => `${f.labelName}[${i}]`) : [f.labelName];
  const extra = f.extra === 'none' ? [] : [f.extra === 'unnamed' ? '' : f.extra];
  const line = (cells: readonly string[], more: readonly string[]): string =>
    (f.extraLast ? [...cells, ...more] : [...more, ...cells]).join(d);
  const rows = f.x.map((x, row) => {
    const cells = x.map((n, i) =>
      hasNan(f, row, i) ? { empty: '', nan: 'NaN', null: 'null', none: '' }[f.nan] : decimal(n),
    );
    const label = labelOf(model, f, row);
    const own = [label]
      .flat()
      .map((l) =>
        l === null
          ? ''
          : typeof l === 'number'
            ? f.labelForm === 'point'
              ? `${l}${f.hasDecimalComma && d !== ',' ? ',' : '.'}0`
              : decimal(l)
            : String(l),
      );
    return line([...cells, ...own], f.extra === 'none' ? [] : [f.extra === 'split' ? 'train' : String(row)]);
  });
  const text = [line([...inputs, ...labels], extra), ...rows, ''].join(f.end);
  return Buffer.from(`${f.hasMark ? '\ufeff' : ''}${text}`);
}

function json(model: SmallModel, f: RowFile): Uint8Array {
  const name = model.input === 'tokens' ? 'input_ids' : 'x';
  const rows = f.x.map((x, row) => {
    const cells = x.map((n, i) => (hasNan(f, row, i) ? (f.nan === 'nan' ? 'NaN' : 'null') : String(n)));
    const extra = f.extra === 'none' ? '' : `, "${f.extra}": ${f.extra === 'split' ? '"train"' : row}`;
    return `{"${name}": [${cells.join(', ')}], "${f.labelName}": ${JSON.stringify(labelOf(model, f, row))}${extra}}`;
  });
  const text = f.extension === '.json' ? `[${rows.join(`,${f.end}`)}]` : rows.join(f.end);
  return Buffer.from(`${f.hasMark ? '\ufeff' : ''}${text}`);
}

function arrays(model: SmallModel, f: RowFile): Uint8Array {
  const { x, labels } = f;
  const name = model.input === 'tokens' ? 'input_ids' : 'x';
  const flat = x.flatMap((row, r) => row.map((n, i) => (hasNan(f, r, i) ? Number.NaN : n)));
  const shape = [x.length, model.width];
  const input: RawTensor =
    model.input === 'tokens'
      ? { dtype: 'I64', shape, data: bytesOf(BigInt64Array.from(flat, BigInt)) }
      : { dtype: 'F32', shape, data: bytesOf(Float32Array.from(flat)) };
  const values = labels
    .flatMap((_, row) => [labelOf(model, f, row)].flat())
    .map((v) => (typeof v === 'number' ? v : Number.NaN));
  // Strings are in the fixtures of numpy; here a name is its number.
  const numbers = f.labelForm === 'name' ? labels : values;
  const width = numbers.length / labels.length;
  const isWhole = model.task === 'classes' && f.labelForm !== 'point' && numbers.every(Number.isInteger);
  const own: RawTensor = {
    dtype: isWhole ? 'I64' : 'F64',
    shape: width > 1 || f.labelForm === 'column' ? [labels.length, width] : [labels.length],
    data: bytesOf(isWhole ? BigInt64Array.from(numbers, BigInt) : Float64Array.from(numbers)),
  };
  const all = [
    [name, input],
    [f.labelName, own],
  ] as const;
  return f.extension === '.npz' ? encodeNpz(all) : Buffer.concat(encodeSafetensors(all));
}
