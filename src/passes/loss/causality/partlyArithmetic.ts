/** Arithmetic and comparisons on tensors that are known in part. */
import type { Node } from '../../../graph/model.ts';
import { attrsOf, type OpName } from '../../../graph/operators.ts';
import { dataTypeFromNumber, isFloat } from '../../../graph/tensor.ts';
import { elementwise, maskedBelow, type Partly } from './partly.ts';

/** undefined: not known, not even in part. */
export type PartlyOp = (node: Node, inputs: readonly (Partly | undefined)[]) => Partly | undefined;
export type Entry = readonly [OpName, PartlyOp];

const isMask = (x: number): boolean => x <= maskedBelow;
const unknownIf =
  (f: (...xs: number[]) => number) =>
  (...xs: number[]): number =>
    xs.some(Number.isNaN) ? Number.NaN : f(...xs);

/** All present operands, element by element. */
const map =
  (f: (...xs: number[]) => number): PartlyOp =>
  (node, inputs) => {
    const xs = inputs.filter((x) => x !== undefined);
    return xs.length === node.inputs.filter((v) => v !== undefined).length ? elementwise(xs, f) : undefined;
  };
const over =
  (f: (a: number, b: number) => number) =>
  (...xs: number[]): number =>
    xs.reduce((a, b) => f(a, b));

/** A masked score stays masked, whatever finite score is added. */
const add = (a: number, b: number): number =>
  isMask(a) && Number.isNaN(b) ? a : isMask(b) && Number.isNaN(a) ? b : a + b;
const mul = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b);
const and = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : Number.isNaN(a + b) ? Number.NaN : 1);
const or = (a: number, b: number): number => (a > 0 || b > 0 ? 1 : Number.isNaN(a + b) ? Number.NaN : 0);
const least = (a: number, b: number): number => (isMask(a) ? a : isMask(b) ? b : Math.min(a, b));
const flag = (f: (a: number, b: number) => boolean): PartlyOp => map(unknownIf((a = 0, b = 0) => Number(f(a, b))));
const both = (f: (a: number, b: number) => number): PartlyOp => map((a = 0, b = 0) => f(a, b));
const one = (f: (a: number) => number): PartlyOp => map(unknownIf((a = 0) => f(a)));

const divide: PartlyOp = (node, inputs) => {
  const whole = node.outputs[0]?.dtype !== undefined && !isFloat(node.outputs[0].dtype);
  return both((a, b) => (isMask(a) && Number.isNaN(b) ? a : whole ? Math.trunc(a / b) : a / b))(node, inputs);
};

const cast: PartlyOp = (node, inputs) => {
  const { to } = attrsOf(node, 'Cast');
  const dtype = to === undefined ? undefined : dataTypeFromNumber(to);
  if (dtype === undefined) return undefined;
  return one(dtype === 'bool' ? (x) => Number(x !== 0) : isFloat(dtype) ? (x) => x : Math.trunc)(node, inputs);
};

const where = map((c = 0, x = 0, y = 0) => (Number.isNaN(c) ? (x === y ? x : Number.NaN) : c !== 0 ? x : y));

export const partlyArithmetic: readonly Entry[] = [
  ['Add', both(add)],
  ['Sub', both((a, b) => add(a, -b))],
  ['Mul', both(mul)],
  ['Div', divide],
  ['Mod', both((a, b) => a - b * Math.floor(a / b))],
  ['Pow', both((a, b) => a ** b)],
  ['Neg', one((a) => -a)],
  ['Abs', one(Math.abs)],
  ['Sign', one(Math.sign)],
  ['Floor', one(Math.floor)],
  ['Ceil', one(Math.ceil)],
  ['Sqrt', one(Math.sqrt)],
  ['Exp', one(Math.exp)],
  ['Log', one(Math.log)],
  ['Reciprocal', one((a) => 1 / a)],
  ['Not', one((a) => 1 - a)],
  ['IsNaN', one(() => 0)],
  ['Min', map(over(least))],
  ['Max', map(over(Math.max))],
  ['Equal', flag((a, b) => a === b)],
  ['Less', flag((a, b) => a < b)],
  ['LessOrEqual', flag((a, b) => a <= b)],
  ['Greater', flag((a, b) => a > b)],
  ['GreaterOrEqual', flag((a, b) => a >= b)],
  ['And', both(and)],
  ['Or', both(or)],
  ['Xor', flag((a, b) => a !== b)],
  ['Identity', map((a = 0) => a)],
  ['Cast', cast],
  ['Where', where],
];
