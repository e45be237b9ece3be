/** The trainer's view of a data file: rows with one value per model input, and labels. */

import { badData, didYouMean } from '../../errors.ts';
import type { NumericArray } from '../../formats/rawTensor.ts';
import type { LengthLimit, TableRange } from '../../graph/tables.ts';
import { convert, type ElementType, type FailAt, isElementType } from './convert.ts';
import { at, type ClassReader, classReader, type LabelRule, labelShape, oneHotReason } from './labels.ts';
import { checkIndices, checkLength, rangesOfRows, truncates, withoutAxis } from './tables.ts';

export type { LabelRule } from './labels.ts';

/** An input or the labels, as the manifest describes them. */
export interface FieldSpec {
  readonly name: string;
  readonly type: string;
  /** Numbers are fixed sizes; a symbol or null may differ from row to row. */
  readonly shape: readonly (number | string | null)[];
  /** The axis that counts rows, the first by default; null: none. */
  readonly batchAxis?: number | null | undefined;
  /** The same with dims that the graphs fix: shorter rows are padded to them. */
  readonly fixed?: FieldSpec['shape'] | undefined;
  /** The default value if the data lack it. */
  readonly missing?: Missing | undefined;
  /** The tables that its elements are indices of. */
  readonly tables?: readonly TableRange[] | undefined;
  /** The lengths for which tables of the model have entries. */
  readonly lengths?: readonly LengthLimit[] | undefined;
  /** The maximum number of entries of a row. */
  readonly longest?: number | undefined;
  /** Entries beyond a fixed size are truncated. */
  readonly isCut?: boolean | undefined;
}

export interface DataSpec {
  readonly inputs: readonly FieldSpec[];
  /** Absent if no labels are needed: prediction, or a model that computes its own loss. */
  readonly labels?: (FieldSpec & { readonly rule?: LabelRule | undefined }) | undefined;
}

export interface DataOptions {
  /** The column of the labels, instead of the manifest's name, `labels` or `label`. */
  readonly labelColumn?: string | undefined;
  /** Allows NaN in inputs, for models that handle it. */
  readonly allowNan?: boolean | undefined;
  /** Bytes of converted rows that a .jsonl reader keeps; further rows are read again when needed. Default 256 MiB. */
  readonly cacheBytes?: number | undefined;
  /** The ignored label, for labels made from tokens. Default -100. */
  readonly ignoreIndex?: number | undefined;
  /** Inputs of the model that are not read: columns with their names are left out without a notice. */
  readonly unread?: readonly string[] | undefined;
  /** Called with notices for the user that are not errors, such as columns that are left out. */
  readonly onNotice?: ((text: string) => void) | undefined;
}

export interface Field {
  readonly name: string;
  readonly type: ElementType;
  /** The manifest's shape without the axis of rows. */
  readonly shape: readonly (number | string | null)[];
  /** The same with dims that the graphs fix. */
  readonly fixed?: readonly (number | string | null)[] | undefined;
  /** The axis of rows in the tensor of a batch, the first by default; null: none, so that all rows are equal. */
  readonly batchAxis?: number | null | undefined;
  readonly isLabels: boolean;
  /** The rule for labels. */
  readonly rule?: LabelRule | undefined;
  /** Present for labels that are classes. */
  readonly classes?: ClassReader | undefined;
  readonly allowNan: boolean;
  /** The columns it may be in; the first one present is used. */
  readonly columns: readonly string[];
  /** The default value if none of these columns is present. */
  readonly missing?: Missing | undefined;
  /** The tables that its elements are indices of, and lengths that tables have entries for; axes are those of a row. */
  readonly tables?: readonly TableRange[] | undefined;
  readonly lengths?: readonly LengthLimit[] | undefined;
  /** The maximum number of entries along its first axis. */
  readonly longest?: number | undefined;
  /** Entries beyond a fixed size are truncated. */
  readonly isCut?: boolean | undefined;
}

export interface RowValue {
  readonly shape: readonly number[];
  /** In C order; float16 as bit patterns in uint16, bool as uint8. Must not be changed. */
  readonly data: NumericArray;
}

export type Row = ReadonlyMap<string, RowValue>;

export interface Dataset {
  readonly file: string;
  readonly rows: number;
  /** The inputs in the manifest's order, then the labels. */
  readonly fields: readonly Field[];
  /**
   * Row 0 .. rows - 1, by the manifest's names. Errors: BAD_DATA, which names the row, if it was not checked at
   * opening.
   */
  row(index: number): Row;
  close(): void;
}

/**
 * The fields of a spec. Errors: BAD_DATA for a type that JavaScript cannot feed and for a value without an axis of
 * rows.
 */
export function fieldsOf(spec: DataSpec, options: DataOptions): Field[] {
  const { inputs, labels } = spec;
  const field = (
    { name, type, shape, batchAxis = 0, fixed, missing, longest, isCut, tables, lengths }: FieldSpec,
    columns: readonly string[],
    isLabels: boolean,
  ): Field => {
    if (!isElementType(type)) throw badData(`"${name}" has the type ${type}, which data files do not support`);
    if (shape.length === 0 && batchAxis !== null)
      throw badData(`"${name}" is a scalar: without an axis of rows it cannot come from a data file`);
    // A label column given by the user must be present.
    const known =
      inputs.some((input) => input.name === missing?.like) && !(isLabels && options.labelColumn !== undefined);
    const allowNan = options.allowNan === true && !isLabels;
    const isOwn = (_: unknown, axis: number): boolean => axis !== batchAxis;
    const shapes = { shape: shape.filter(isOwn), fixed: fixed?.filter(isOwn) };
    return {
      name,
      type,
      ...shapes,
      ...(batchAxis === 0 ? {} : { batchAxis }),
      isLabels,
      allowNan,
      columns,
      longest,
      isCut,
      tables: tables && rangesOfRows(tables, batchAxis),
      lengths: lengths && withoutAxis(lengths, batchAxis),
      ...(known ? { missing } : {}),
    };
  };
  const fields = inputs.map((input) => field(input, [input.name], false));
  if (labels !== undefined) {
    const columns = options.labelColumn === undefined ? [labels.name, 'labels', 'label'] : [options.labelColumn];
    // A column with the name of an input cannot be the labels.
    const free = [...new Set(columns)].filter(
      (c) => c === options.labelColumn || !inputs.some((input) => input.name === c),
    );
    const { rule } = labels;
    const classes = rule?.kind === 'class' ? classReader(rule) : undefined;
    fields.push({ ...field(labels, free, true), rule, classes });
  }
  return fields;
}

/** The column of a field. Errors: BAD_DATA, which lists the columns that are present. */
export function columnOf(field: Field, available: ReadonlySet<string>, where: string, file: string): string {
  const found = field.columns.find((column) => available.has(column));
  if (found !== undefined) return found;
  const [wanted = field.name] = field.columns;
  const near = didYouMean(wanted, available);
  const there = [...available].slice(0, 20).map((name) => `"${name}"`);
  const rest = near || (there.length === 0 ? '; there is nothing else' : `; there are ${there.join(', ')}`);
  throw badData(`${where} lacks the ${field.isLabels ? 'labels' : 'input'} "${wanted}"${rest}`, file);
}

/** Checks one value of a row. @param values its elements in C order. */
export function checkedValue(
  field: Field,
  shape: readonly number[],
  values: ArrayLike<unknown>,
  fail: FailAt,
): RowValue {
  const data = convert(field.type, labelValues(field, values, fail), fail);
  checkElements(field, { shape, data }, fail);
  return { shape, data };
}

/** The values with names of classes as their numbers. */
export function labelValues({ classes }: Field, values: ArrayLike<unknown>, fail: FailAt): ArrayLike<unknown> {
  if (classes === undefined) return values;
  const arePlain = ArrayBuffer.isView(values) || Array.from(values).every((value) => typeof value !== 'string');
  return arePlain && !classes.hasNames ? values : Array.from(values, (value, i) => classes.read(value, at(fail, i)));
}

/** Refuses names of classes in a file for a package without names. Errors: BAD_DATA. */
export function finishLabels(fields: readonly Field[], file: string): void {
  for (const { classes } of fields) classes?.finish(file);
}

/** Refuses NaN, labels that the loss does not accept, and what tables have no entries for. */
export function checkElements(field: Field, { shape, data }: RowValue, fail: FailAt): void {
  const { type, rule, allowNan, isLabels, tables = [], lengths = [] } = field;
  if (!allowNan && type.startsWith('float')) {
    const [isNan, isInfinite] = type === 'float16' ? halfTests : floatTests;
    for (let i = 0; i < data.length; i++) {
      const value = Number(data[i]);
      if (isNan(value)) throw fail(nanReason(isLabels), i);
      // Masks contain infinity.
      if (isLabels && isInfinite(value)) throw fail('an infinite label makes the loss infinite', i);
    }
  }
  for (const limit of lengths) checkLength(limit, shape, data, fail);
  for (const range of tables) checkIndices(range, shape, data, fail);
  if (rule === undefined) return;
  for (let i = 0; i < data.length; i++) {
    const label = Number(data[i]);
    if (rule.kind === 'share') {
      if (!(label >= 0 && label <= 1)) throw fail(`${label} is out of range: bce takes values from 0 to 1`, i);
    } else if (label !== rule.ignoreIndex && (label < 0 || label >= (rule.classes ?? Number.POSITIVE_INFINITY))) {
      const range = rule.classes === undefined ? 'from 0 on' : `0 to ${rule.classes - 1}`;
      throw fail(`${label} is out of range: classes are ${range}; use ${rule.ignoreIndex} to ignore a position`, i);
    }
  }
}

const floatTests = [Number.isNaN, (value: number) => Math.abs(value) === Number.POSITIVE_INFINITY] as const;
/** The same for bit patterns. */
const halfTests = [(bits: number) => (bits & 0x7fff) > 0x7c00, (bits: number) => (bits & 0x7fff) === 0x7c00] as const;

const nanReason = (isLabels: boolean): string =>
  isLabels
    ? 'NaN or null, which makes the loss NaN'
    : 'NaN or null, which makes the loss NaN; --allow-nan allows it, for models that handle it';

/** An element by its position: `"x"[2][0]`. */
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

/**
 * Checks one value's shape against its field, and returns it: that of labels without or with their axes of size 1.
 * `fail` makes the error from a reason.
 */
export function checkShape(
  field: Field,
  given: readonly number[],
  fail: (reason: string, hint?: string) => Error,
): readonly number[] {
  const isEqual =
    given.length === field.shape.length &&
    field.shape.every((dim, axis) => typeof dim !== 'number' || dim === given[axis]);
  const shape = isEqual ? given : field.isLabels ? labelShape(field.shape, given) : undefined;
  if (shape === undefined) {
    const wanted = field.shape.map((dim) => dim ?? '?').join(', ');
    const hint = oneHotReason(field.rule, field.shape.length, given);
    throw fail(`"${field.name}" has the shape [${given.join(', ')}], not [${wanted}]${hint}`);
  }
  const [length = 0] = shape;
  if (field.longest !== undefined && length > field.longest)
    throw fail(
      `"${field.name}" has ${length} entries, but the model's caches hold ${field.longest}`,
      truncates(field.longest),
    );
  for (const [axis, most] of (field.isCut === true ? [] : (field.fixed ?? [])).entries())
    if (typeof most === 'number' && (shape[axis] ?? 0) > most)
      throw fail(
        `"${field.name}" has ${shape[axis]} entries, but the package is compiled for ${most}`,
        truncates(most),
      );
  return shape;
}

/** Checks that axes with one symbol have the same size within a row, for example the tokens and their mask. */
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

/** The default value of an input: as many entries as the input `like` has in the same row. */
export interface Missing {
  /**
   * 1; the cumulative sum of the mask minus 1, and 1 where it is 0; 0; the elements of `like`, except those that the
   * mask excludes.
   */
  readonly value: 'ones' | 'positions' | 'zeros' | 'copy';
  readonly like: string;
}
