/** Places a loss of logits behind an output that is a probability: on its logits, its logarithm, or itself. */
import { badLoss } from '../../errors.ts';
import { type LossKind, losses } from '../../graph/choices/losses.ts';
import type { Value } from '../../graph/model.ts';
import { attrsOf, opKey } from '../../graph/operators.ts';
import { boundsOf } from './bounds.ts';
import { axisOf } from './classAxis.ts';
import { type Bounds, inUnit, simplexAxis } from './intervals.ts';
import { type Build, type Reading, readProbability } from './probabilities.ts';

/** The meaning of the value that a loss is computed on. */
export type LossForm = 'logits' | 'probabilities' | 'log-probabilities';

export interface Placement {
  /** The value of the source that the loss is attached to. */
  readonly tensor: Value;
  /** Makes the value that the loss is computed on; absent: `tensor` itself. */
  readonly build?: Build | undefined;
  readonly form: LossForm;
  readonly classAxis: number;
  /** Elements of the output above it are the prediction 1, for binary labels. */
  readonly threshold: number;
  readonly warnings: readonly string[];
  /** The end of the reason, for the user: "on the input of Sigmoid"; empty for the output as it is. */
  readonly where: string;
}

/** A value with elements in [0, 1], or the logarithm of one. */
interface Unit {
  readonly p: Value;
  readonly logged: boolean;
  readonly bounds: Bounds;
}

function unitOf(value: Value): Unit | undefined {
  let v = value;
  while (
    v.producer !== undefined &&
    ['Identity', 'Cast'].includes(opKey(v.producer)) &&
    v.producer.inputs[0] !== undefined
  )
    v = v.producer.inputs[0];
  const [log] = v.producer !== undefined && opKey(v.producer) === 'Log' ? v.producer.inputs : [];
  const p = log ?? value;
  const bounds = boundsOf(p);
  return inUnit(bounds) ? { p, logged: log !== undefined, bounds } : undefined;
}

/** The loss that a probability calls for, with the reason; undefined for other values. */
export function lossOfProbability(
  value: Value,
):
  | { readonly kind: 'cross-entropy' | 'bce'; readonly classAxis: number | undefined; readonly why: string }
  | undefined {
  const read = readProbability(value);
  if (read !== undefined) {
    const kind = read.classes !== undefined || read.elements === undefined ? 'cross-entropy' : 'bce';
    const what = kind === 'bce' ? 'binary cross-entropy' : 'cross-entropy';
    const on =
      read.classes === undefined && kind !== 'bce' ? 'on its logarithm' : `on what goes into ${sourceName(read)}`;
    const why = `"${value.name}" comes from ${read.from}${pathText(read)}, so ${what} ${on}${clipText(read)}`;
    return { kind, classAxis: read.classes && (ownAxis(value) ?? read.classes.axis), why };
  }
  const unit = unitOf(value);
  if (unit?.bounds.probable !== true) return undefined;
  const axis = simplexAxis(unit.bounds);
  const is = `"${value.name}" ${unit.logged ? 'is the logarithm of a probability' : 'is a probability by construction'}`;
  return axis === undefined
    ? { kind: 'bce', classAxis: undefined, why: `${is}, so binary cross-entropy ${ofProbability}` }
    : {
        kind: 'cross-entropy',
        classAxis: axis,
        why: `${is}, and those of the classes have the sum 1, so cross-entropy ${ofProbability}`,
      };
}

const ofProbability = 'of the probability itself, its logarithm clamped at -100';

/** The axis attribute of a Softmax that is the output itself: it may count from the end. */
function ownAxis(value: Value): number | undefined {
  let v: Value | undefined = value;
  while (v?.producer !== undefined && opKey(v.producer) === 'Identity') v = v.producer.inputs[0];
  const node = v?.producer;
  return node !== undefined && ['Softmax', 'LogSoftmax'].includes(opKey(node))
    ? attrsOf(node, 'Softmax').axis
    : undefined;
}

const sourceName = ({ from, through }: Reading): string => (through.length === 0 ? 'it' : from);
const pathText = ({ through }: Reading): string =>
  through.length === 0 ? '' : ` through ${[...through].reverse().join(', ')}`;
const clipText = ({ clip }: Reading): string =>
  clip === undefined
    ? ''
    : ` (not clipped to [${clip.map((n) => Number(n.toPrecision(8))).join(', ')}] as the output is)`;

/**
 * The place of a loss on `value`. `axisGiven`: the class axis is the user's. Errors: BAD_LOSS if the probabilities are
 * those of classes along another axis.
 */
export function placement(kind: LossKind, value: Value, classAxis: number, axisGiven: boolean): Placement {
  const { over, logits } = losses[kind];
  const plain: Placement = { tensor: value, form: 'logits', classAxis, threshold: 0, warnings: [], where: '' };
  if (logits !== true) return plain;
  const read = readProbability(value);
  const unit = read === undefined ? unitOf(value) : undefined;
  if (read === undefined && unit === undefined) return { ...plain, warnings: doubtsByName(kind, value) };
  const logged = read?.logged ?? unit?.logged ?? false;
  const base = { ...plain, threshold: logged ? Math.log(0.5) : 0.5 };
  if (over === 'elements') return read === undefined ? ofUnit(base, unit) : onElements(base, value, read);
  const own = read?.classes?.axis ?? (unit && simplexAxis(unit.bounds));
  const axis = own === undefined ? classAxis : agreedAxis(value, classAxis, own, axisGiven);
  const found =
    read === undefined
      ? ofUnit({ ...base, classAxis: axis }, unit)
      : onClasses({ ...base, classAxis: axis }, value, read);
  const open =
    own === undefined
      ? [
          `${kind} takes the probabilities of classes, but those of "${value.name}" need not have the sum 1 along axis ${axis}: --loss bce compares each with a label from 0 to 1`,
        ]
      : [];
  return { ...found, warnings: open };
}

/** The axis of the classes: that of the softmax. One that was given must be the same. */
function agreedAxis(value: Value, classAxis: number, own: number, axisGiven: boolean): number {
  const rank = value.shape?.length;
  const same = rank === undefined ? classAxis === own : axisOf(classAxis, rank) === axisOf(own, rank);
  if (same) return classAxis;
  if (axisGiven)
    throw badLoss(
      `--class-axis is ${classAxis}, but "${value.name}" has the probabilities of classes along axis ${own}: leave --class-axis out`,
    );
  return own;
}

function onElements(base: Placement, value: Value, read: Reading): Placement {
  const { elements, logged, root } = read;
  if (elements !== undefined)
    return {
      ...base,
      tensor: root,
      build: read.classes === undefined ? built(read, elements) : elements,
      where: whereText(read),
    };
  const build: Build | undefined = logged ? (g) => g.Exp(value) : undefined;
  return { ...base, tensor: value, build, form: 'probabilities', where: `on the probability itself${clampText}` };
}

function onClasses(base: Placement, value: Value, read: Reading): Placement {
  const { classes, logs, logged, root } = read;
  if (classes !== undefined)
    return { ...base, tensor: root, build: built(read, classes.build), where: whereText(read) };
  if (logs !== undefined)
    return {
      ...base,
      tensor: root,
      build: logs,
      form: 'log-probabilities',
      where: `on the logarithm of the probability${clipText(read)}`,
    };
  return {
    ...base,
    tensor: value,
    form: logged ? 'log-probabilities' : 'probabilities',
    where: `on the probability itself${clampText}`,
  };
}

const clampText = ', its logarithm clamped at -100';

/** The logits are a value of the source if nothing is between the output and its Sigmoid or Softmax. */
const built = (read: Reading, build: Build): Build | undefined =>
  read.through.length === 0 && !read.from.startsWith('a ') ? undefined : build;

const whereText = (read: Reading): string => {
  const behind = read.through.length === 0 ? '' : `, looking through ${[...read.through].join(', ')}`;
  return `on the input of ${read.from}${behind}${clipText(read)}`;
};

/** The loss of a probability of which no logits are known. */
function ofUnit(base: Placement, unit: Unit | undefined): Placement {
  if (unit === undefined) return base;
  const where = `on the probability "${unit.p.name}" itself${clampText}`;
  return { ...base, tensor: unit.p, form: 'probabilities', where };
}

/** A value that only its name calls a probability. */
function doubtsByName(kind: LossKind, { name }: Value): readonly string[] {
  return /prob|softmax|sigmoid/i.test(name)
    ? [
        `"${name}" is named like a probability, but ${kind} takes logits, and no operator before it is known to make one: if its values lie between 0 and 1, put the loss on what goes into that operator`,
      ]
    : [];
}
