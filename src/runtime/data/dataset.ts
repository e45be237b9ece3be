/** What a data file is to the trainer: rows with one value per model input, and labels. */

import { badData, didYouMean } from '../../errors.ts';
import type { NumericArray } from '../../formats/rawTensor.ts';
import { convert, type ElementType, type FailAt, isElementType } from './convert.ts';

/** An input or the labels as the manifest describes them. */
export interface FieldSpec {
  readonly name: string;
  readonly type: string;
  /** The first axis counts rows. Numbers are fixed sizes; a symbol or null may differ from row to row. */
  readonly shape: readonly (number | string | null)[];
  /** The same with lengths that the graphs have fixed: shorter rows are filled up to them. */
  readonly fixed?: FieldSpec['shape'] | undefined;
  /** What stands for it where the data lack it. */
  readonly missing?: Missing | undefined;
  /** The most entries that a row may have. */
  readonly longest?: number | undefined;
  /** Entries beyond a fixed length are cut off. */
  readonly isCut?: boolean | undefined;
}

export interface DataSpec {
  readonly inputs: readonly FieldSpec[];
  /** Absent where none are needed: prediction, or a model that computes its own loss. */
  readonly labels?: (FieldSpec & { readonly rule?: LabelRule | undefined }) | undefined;
}

/**
 * What a loss takes as labels. The graphs would not refuse others: negative classes count from the end there, without a word.
 * `class`: 0 to `classes` (as far as that is known), or the ignore index. `share`: 0 to 1, for bce.
 */
export type LabelRule =
  | { readonly kind: 'class'; readonly classes?: number | undefined; readonly ignoreIndex: number }
  | { readonly kind: 'share' };

export interface DataOptions {
  /** The column of the labels, in place of the manifest's name, `labels` or `label`. */
  readonly labelColumn?: string | undefined;
  /** Inputs may have NaN: the model knows what to do with it. */
  readonly allowNan?: boolean | undefined;
  /** Bytes of converted rows that a .jsonl reader keeps; rows beyond are read again when needed. Default 256 MiB. */
  readonly cacheBytes?: number | undefined;
  /** The label that does not count, for labels made from tokens. Default -100. */
  readonly ignoreIndex?: number | undefined;
}

export interface Field {
  readonly name: string;
  readonly type: ElementType;
  /** The manifest's shape without the axis of rows. */
  readonly shape: readonly (number | string | null)[];
  /** The same with lengths that the graphs have fixed. */
  readonly fixed?: readonly (number | string | null)[] | undefined;
  readonly isLabels: boolean;
  /** Of labels. */
  readonly rule?: LabelRule | undefined;
  readonly allowNan: boolean;
  /** The columns it may be in, the first one present counts. */
  readonly columns: readonly string[];
  /** What stands for it where there is none of these columns. */
  readonly missing?: Missing | undefined;
  /** The most entries along its first axis. */
  readonly longest?: number | undefined;
  /** Entries beyond a fixed length are cut off. */
  readonly isCut?: boolean | undefined;
}

export interface RowValue {
  readonly shape: readonly number[];
  /** In C order; float16 as bit patterns in uint16, bool as uint8. Not to be changed. */
  readonly data: NumericArray;
}

export type Row = ReadonlyMap<string, RowValue>;

export interface Dataset {
  readonly file: string;
  readonly rows: number;
  /** The inputs in the manifest's order, then the labels. */
  readonly fields: readonly Field[];
  /** Row 0 .. rows - 1, by the manifest's names. Errors: BAD_DATA naming the row, where it was not checked at opening. */
  row(index: number): Row;
  close(): void;
}

/** The fields of a spec. Errors: BAD_DATA for a type that JavaScript cannot feed and for a value without an axis of rows. */
export function fieldsOf(spec: DataSpec, options: DataOptions): Field[] {
  const { inputs, labels } = spec;
  const field = (
    { name, type, shape, fixed, missing, longest, isCut }: FieldSpec,
    columns: readonly string[],
    isLabels: boolean,
  ): Field => {
    if (!isElementType(type)) throw badData(`"${name}" has the type ${type}, which a data file cannot hold`);
    if (shape.length === 0)
      throw badData(`"${name}" is a scalar: without an axis of rows it cannot come from a data file`);
    // A label column that was named must be there.
    const known =
      inputs.some((input) => input.name === missing?.like) && !(isLabels && options.labelColumn !== undefined);
    const allowNan = options.allowNan === true && !isLabels;
    const shapes = { shape: shape.slice(1), fixed: fixed?.slice(1) };
    return { name, type, ...shapes, isLabels, allowNan, columns, longest, isCut, ...(known ? { missing } : {}) };
  };
  const fields = inputs.map((input) => field(input, [input.name], false));
  if (labels !== undefined) {
    const columns = options.labelColumn === undefined ? [labels.name, 'labels', 'label'] : [options.labelColumn];
    // A name that an input has cannot mean the labels.
    const free = columns.filter((c) => c === options.labelColumn || !inputs.some((input) => input.name === c));
    fields.push({ ...field(labels, free, true), rule: labels.rule });
  }
  return fields;
}

/** The column that holds a field. Errors: BAD_DATA that names what is there instead. */
export function columnOf(field: Field, available: ReadonlySet<string>, where: string, file: string): string {
  const found = field.columns.find((column) => available.has(column));
  if (found !== undefined) return found;
  const [wanted = field.name] = field.columns;
  const near = didYouMean(wanted, available);
  const there = [...available].slice(0, 20).map((name) => `"${name}"`);
  const rest = near || (there.length === 0 ? '; there is nothing else' : `; there are ${there.join(', ')}`);
  throw badData(`${where} lacks the ${field.isLabels ? 'labels' : 'input'} "${wanted}"${rest}`, file);
}

/** One value of a row, checked. @param values its elements in C order. */
export function checkedValue(
  field: Field,
  shape: readonly number[],
  values: ArrayLike<unknown>,
  fail: FailAt,
): RowValue {
  const data = convert(field.type, values, fail);
  checkElements(field, data, fail);
  return { shape, data };
}

/** Refuses NaN, and labels that the loss does not know. `data` are elements of the field's type. */
export function checkElements({ type, rule, allowNan, isLabels }: Field, data: NumericArray, fail: FailAt): void {
  if (!allowNan && type.startsWith('float')) {
    const isNan = type === 'float16' ? (bits: number) => (bits & 0x7fff) > 0x7c00 : Number.isNaN;
    for (let i = 0; i < data.length; i++) if (isNan(Number(data[i]))) throw fail(nanReason(isLabels), i);
  }
  if (rule === undefined) return;
  for (let i = 0; i < data.length; i++) {
    const label = Number(data[i]);
    if (rule.kind === 'share') {
      if (!(label >= 0 && label <= 1)) throw fail(`${label} is not between 0 and 1, as bce has it`, i);
    } else if (label !== rule.ignoreIndex && (label < 0 || label >= (rule.classes ?? Number.POSITIVE_INFINITY))) {
      const range = rule.classes === undefined ? 'from 0 on' : `0 to ${rule.classes - 1}`;
      throw fail(`${label} is no class: they are ${range}, and ${rule.ignoreIndex} for what does not count`, i);
    }
  }
}

const nanReason = (isLabels: boolean): string =>
  isLabels
    ? 'NaN, which makes the loss NaN'
    : 'NaN, which makes the loss NaN; --allow-nan lets it in, for models that expect it';

/** An element by its place: `"x"[2][0]`. */
export function elementName(name: string, shape: readonly number[], index: number | undefined): string {
  if (index === undefined) return `"${name}"`;
  let rest = index;
  const places = shape.toReversed().map((length) => {
    const at = rest % length;
    rest = Math.floor(rest / length);
    return `[${at}]`;
  });
  return `"${name}"${places.toReversed().join('')}`;
}

/** Checks one value's shape against its field. `fail` makes the error from a reason. */
export function checkShape(field: Field, shape: readonly number[], fail: (reason: string) => Error): void {
  const fits =
    shape.length === field.shape.length &&
    field.shape.every((dim, axis) => typeof dim !== 'number' || dim === shape[axis]);
  if (!fits) {
    const wanted = field.shape.map((dim) => dim ?? '?').join(', ');
    throw fail(`"${field.name}" has the shape [${shape.join(', ')}], not [${wanted}]`);
  }
  const [length = 0] = shape;
  if (field.longest !== undefined && length > field.longest)
    throw fail(
      `"${field.name}" has ${length} entries, but the model's caches hold ${field.longest}; --max-length ${field.longest} cuts`,
    );
  for (const [axis, most] of (field.isCut === true ? [] : (field.fixed ?? [])).entries())
    if (typeof most === 'number' && (shape[axis] ?? 0) > most)
      throw fail(
        `"${field.name}" has ${shape[axis]} entries, but the package is compiled for ${most}; --max-length ${most} cuts`,
      );
}

/** Checks that axes with one symbol have one length within a row: the tokens and their mask, say. */
export function checkSymbols(
  fields: readonly Field[],
  row: ReadonlyMap<string, Pick<RowValue, 'shape'>>,
  fail: (reason: string) => Error,
): void {
  const seen = new Map<string, { length: number; name: string }>();
  for (const field of fields) {
    const shape = row.get(field.name)?.shape;
    if (shape === undefined) continue;
    for (const [axis, symbol] of field.shape.entries()) {
      if (typeof symbol !== 'string') continue;
      const length = shape[axis] ?? 0;
      const other = seen.get(symbol);
      if (other === undefined) seen.set(symbol, { length, name: field.name });
      else if (other.length !== length) {
        throw fail(`"${other.name}" and "${field.name}" differ in length (${symbol} is ${other.length} and ${length})`);
      }
    }
  }
}

/** What stands for the input: as many entries as the input `like` has in the same row. */
export interface Missing {
  /** 1; the cumulative sum of the mask minus 1, and 1 where it is 0; 0; the elements of `like`, but for those the mask hides. */
  readonly value: 'ones' | 'positions' | 'zeros' | 'copy';
  readonly like: string;
}
