/**
 * Mutants of a source file: one expression each is changed (a sign, an operator, a dropped term, a swapped branch). All
 * mutants of a file are in one text, and a number selects one: `($m(17) ? a - b : a + b)`, so that a test is loaded
 * once for all of them and every test can report the mutants that it reaches.
 */
import ts from 'typescript';

/**
 * The kind of a mutant's change. The first three change the calculus, the others the choice of a form, or whether one
 * is taken.
 */
export const kinds = ['sign or operator', 'term or factor', 'constant', 'form', 'type', 'guard'] as const;
export type Kind = (typeof kinds)[number];

export interface Mutant {
  readonly file: string;
  readonly line: number;
  readonly kind: Kind;
  readonly from: string;
  readonly to: string;
  /** The source text from there on. */
  readonly ahead: string;
}

interface Change extends Mutant {
  readonly start: number;
  readonly end: number;
  /** The text before the expression, if the changed part is not an expression itself. */
  readonly lead: string;
}

type Emit = (node: ts.Node, kind: Kind, to: string, lead?: string) => void;

/** Counterparts: each is replaced by the other. */
const swaps: Readonly<Record<string, string>> = {
  Add: 'Sub',
  Sub: 'Add',
  Mul: 'Div',
  Div: 'Mul',
  Greater: 'Less',
  Less: 'Greater',
  GreaterOrEqual: 'LessOrEqual',
  LessOrEqual: 'GreaterOrEqual',
  Min: 'Max',
  Max: 'Min',
  And: 'Or',
  Or: 'And',
  Sin: 'Cos',
  Cos: 'Sin',
  plus: 'minus',
  minus: 'plus',
  least: 'most',
  most: 'least',
};

/** Calls that may be replaced by any of their operands, and those that may be replaced by the first. */
const sums = new Set('Add Sub Mul Div And Or Max Min Mod plus minus times over least most'.split(' '));
const wrapped = new Set(
  'Neg Exp Sqrt Log Abs Sign Tanh Sigmoid Reciprocal ReduceSum ReduceMean Expand T Clip Floor Ceil Round Pow Square'
    .split(' ')
    .concat(['fromStart', 'reshapeLike', 'unreduce', 'Where']),
);

const operators: Readonly<Record<string, readonly [other: string, kind: Kind]>> = {
  '+': ['-', 'sign or operator'],
  '-': ['+', 'sign or operator'],
  '*': ['/', 'sign or operator'],
  '/': ['*', 'sign or operator'],
  '<': ['>', 'form'],
  '>': ['<', 'form'],
  '===': ['!==', 'form'],
  '!==': ['===', 'form'],
  '&&': ['||', 'form'],
  '||': ['&&', 'form'],
};

/** The kind of a condition. */
function about(condition: string): Kind {
  if (/dtype|isFloat|\bstash|\bwide\b|precision/.test(condition)) return 'type';
  return /undefined|null|\.kind|\.length/.test(condition) ? 'guard' : 'form';
}

/** The mutants of a file, and its text with all of them, numbered from `first`. */
export function mutantsOf(file: string, text: string, first: number): { mutants: Mutant[]; switched: string } {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2023, true);
  const changes: Change[] = [];
  const emit: Emit = (node, kind, to, lead = '') => {
    const [start, end] = [node.getStart(), node.getEnd()];
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    changes.push({ file, line, kind, from: node.getText(), to, ahead: text.slice(start), start, end, lead });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) call(node, emit);
    if (ts.isConditionalExpression(node))
      for (const e of [node.whenTrue, node.whenFalse]) emit(node, about(node.condition.getText()), e.getText());
    if (ts.isBinaryExpression(node)) binary(node, emit);
    if (ts.isPrefixUnaryExpression(node)) negation(node, emit);
    if (ts.isArrayLiteralExpression(node) && isResult(node)) result(node, emit);
    if (ts.isPropertyAssignment(node) || ts.isShorthandPropertyAssignment(node)) property(node, emit);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { mutants: changes, switched: switchedText(text, changes, first) };
}

function call(node: ts.CallExpression, emit: Emit): void {
  const callee = node.expression;
  if (!ts.isPropertyAccessExpression(callee)) return;
  const name = callee.name.text;
  const args = node.arguments.map((a) => a.getText());
  const inside = args.join(', ');
  const other = swaps[name];
  if (other !== undefined) emit(node, 'sign or operator', `${callee.expression.getText()}.${other}(${inside})`);
  const operands = sums.has(name) ? args : wrapped.has(name) ? args.slice(0, 1) : name === 'Where' ? args.slice(1) : [];
  // The operands of Min and Max are a list.
  for (const a of operands)
    if (a.startsWith('[')) for (const i of [0, 1]) emit(node, 'term or factor', `${a}[${i}]`);
    else if (a !== 'undefined' && !a.startsWith('...')) emit(node, 'term or factor', a);
  if (name === 'Where' && args.length === 3)
    emit(node, 'sign or operator', `${callee.getText()}(${args[0]}, ${args[2]}, ${args[1]})`);
  const number = node.arguments[name === 'like' ? 1 : 0];
  if ((name === 'like' || name === 'float') && number !== undefined)
    emit(number, 'constant', number.getText() === '0' ? '1' : `-(${number.getText()})`);
}

function binary(node: ts.BinaryExpression, emit: Emit): void {
  const [a, b] = [node.left.getText(), node.right.getText()];
  const [other, kind] = operators[node.operatorToken.getText()] ?? [];
  if (other === undefined || kind === undefined) return;
  emit(node, kind === 'form' ? about(node.getText()) : kind, `${a} ${other} ${b}`);
}

/** Whole numbers below zero count axes from the end. */
function negation(node: ts.PrefixUnaryExpression, emit: Emit): void {
  const { operator, operand } = node;
  const isAxis = ts.isNumericLiteral(operand) && Number.isInteger(Number(operand.text));
  if (operator === ts.SyntaxKind.MinusToken && !isAxis) emit(node, 'sign or operator', operand.getText());
  if (operator === ts.SyntaxKind.ExclamationToken) emit(node, about(operand.getText()), operand.getText());
}

function result(node: ts.ArrayLiteralExpression, emit: Emit): void {
  for (const e of node.elements)
    if (ts.isSpreadElement(e)) emit(e.expression, 'term or factor', '[undefined]');
    else if (e.getText() !== 'undefined') emit(e, 'term or factor', 'undefined');
}

/** Attributes that are 0 or 1, and factors of products. */
function property(node: ts.PropertyAssignment | ts.ShorthandPropertyAssignment, emit: Emit): void {
  const name = node.name.getText();
  if (ts.isShorthandPropertyAssignment(node)) {
    if (name === 'alpha') emit(node, 'term or factor', '1', 'alpha: ');
    return;
  }
  const value = node.initializer;
  if (ts.isNumericLiteral(value) && ['0', '1'].includes(value.text))
    emit(value, 'constant', value.text === '1' ? '0' : '1');
  else if (name === 'alpha' && !ts.isNumericLiteral(value)) emit(value, 'term or factor', '1');
}

/** An array that a rule returns: its elements are gradients. Pairs for a Map are not. */
function isResult(node: ts.ArrayLiteralExpression): boolean {
  const { parent } = node;
  if (ts.isReturnStatement(parent)) return true;
  if (!ts.isArrowFunction(parent) || !ts.isCallExpression(parent.parent)) return false;
  return !ts.isNewExpression(parent.parent.parent);
}

/** The text in which `$m` of a mutant's number turns it on. */
function switchedText(text: string, changes: readonly Change[], first: number): string {
  const sites = new Map<string, { start: number; end: number; lead: string; options: string }>();
  for (const [i, { start, end, to, lead }] of changes.entries()) {
    const key = `${start}:${end}`;
    const site = sites.get(key) ?? { start, end, lead, options: '' };
    site.options += `$m(${first + i}) ? (${to}) : `;
    sites.set(key, site);
  }
  // Outer ones first; each is written around the inner ones.
  const list = [...sites.values()].sort((a, b) => a.start - b.start || b.end - a.end);
  let next = 0;
  const write = (from: number, to: number): string => {
    let [out, at] = ['', from];
    for (let s = list[next]; s !== undefined && s.start < to; s = list[next]) {
      next++;
      const inner = write(s.start, s.end);
      out += `${text.slice(at, s.start)}${s.lead}(${s.options}${inner})`;
      at = s.end;
    }
    return out + text.slice(at, to);
  };
  return write(0, text.length);
}
