/** The axis of the labels that counts the rows of a batch. */
import { badBatchAxis } from '../../errors.ts';
import { losses } from '../../graph/choices/losses.ts';
import type { Dim, Value } from '../../graph/model.ts';
import { shapeText } from '../../graph/shapeText.ts';
import { separated } from '../loss/flattened.ts';
import { divExact } from '../shapes/dims.ts';
import type { BatchAxis, Unplaced } from './prepared.ts';

export type Shape = readonly Dim[] | undefined;

/** The inputs' axes and the reason for them; no axis at all where the model has no batch axis. */
export interface Found {
  readonly inputs: ReadonlyMap<Value, BatchAxis>;
  readonly isRows: (d: Dim) => boolean;
  readonly why: string | undefined;
}

/** The labels' shape: that of the loss's tensor, without the classes, and with merged axes separate. */
export function labelShape({ choice: { kind, shape, classAxis, merged } }: Pick<Unplaced, 'choice'>): Shape {
  const { over } = losses[kind];
  if (over === 'model') return undefined;
  const at =
    over !== 'classes' || shape === undefined ? undefined : classAxis < 0 ? shape.length + classAxis : classAxis;
  const own = shape?.filter((_, i) => i !== at);
  return own && separated(own, at === 0 ? undefined : merged);
}

export function axisOf(shape: Shape, isRows: (d: Dim) => boolean, isOrdinary: boolean): BatchAxis {
  if (shape === undefined || isOrdinary) return 0;
  const at = shape.findIndex(isRows);
  if (at >= 0) return at;
  // An unknown axis, or one whose size was traced, may count rows.
  return shape[0] === null || typeof shape[0] === 'number' ? 0 : null;
}

/** Errors: BATCH_AXIS if there is none while inputs have one, or if entries cannot be assigned to rows. */
export function labelAxis(labels: Shape, found: Found, p: Unplaced): BatchAxis {
  const { kind, tensor } = p.choice;
  const asked = p.options.batchAxis.labels;
  const rows = rowDims(found);
  // The axes that an output merges are in any order.
  const separate = p.choice.merged === undefined ? -1 : (labels?.findIndex((d) => rows.includes(d)) ?? -1);
  const own = separate >= 0 ? separate : axisOf(labels, found.isRows, found.why === undefined);
  const axis = asked === undefined ? own : numberOf(asked);
  if (axis === null && losses[kind].over !== 'model')
    throw badBatchAxis(
      `the labels of "${tensor}" ${textOf(labels)} have no batch axis, but inputs have one (${found.why})`,
      'choose an output with one entry per row (--loss-output), or train one row a run with --batch-axis NAME=none for each input',
    );
  const several = severalPerRow(labels?.[axis ?? 0] ?? null, rows);
  if (several !== undefined && losses[kind].over !== 'caller')
    throw badBatchAxis(
      `the labels of "${tensor}" ${textOf(labels)} have several entries for each of "${several}", in an order that is not known`,
      'export the model with the axes of the output separate, or train one row a run with --batch-axis NAME=none for each input',
    );
  if (axis !== null && axis > 0 && losses[kind].shift === true)
    throw badBatchAxis(
      `the labels of "${tensor}" ${textOf(labels)} have the batch as axis ${axis}, and ${kind} shifts them along that axis`,
      'choose --loss cross-entropy and give the tokens that follow as labels, or export the model with the batch first',
    );
  return axis;
}

/** The dims of the batch axes of inputs. */
const rowDims = ({ inputs }: Found): Dim[] =>
  [...inputs].flatMap(([v, axis]) => (axis === null ? [] : (v.shape?.[axis] ?? [])));

/** The symbol of the rows that a dim is a multiple of. */
function severalPerRow(d: Dim, rows: readonly Dim[]): string | undefined {
  return rows.filter((s) => typeof s === 'string').find((s) => d !== s && divExact(d, s) !== null && !rows.includes(d));
}

export const numberOf = (value: string | undefined): BatchAxis =>
  value === undefined || value === 'none' ? null : Number(value);

export const textOf = (shape: Shape): string => shapeText(shape ?? []);
