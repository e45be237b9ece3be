/** The length of functions: what is longer than a screen is split into parts whose names are concepts, or says why not. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { longFunctions, mostLines, mostLong } from './longFunctions.ts';

const root = join(import.meta.dirname, '../..');

/** A function's own name, that of what holds it, or the first argument of the call that takes it. */
function nameOf(node: ts.SignatureDeclaration): string {
  if (node.name !== undefined) return node.name.getText();
  const { parent } = node;
  if (ts.isCallExpression(parent)) {
    const [first] = parent.arguments;
    return first !== undefined && ts.isStringLiteral(first) ? first.text : parent.expression.getText();
  }
  return ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent) ? parent.name.getText() : '';
}

/** Every function of a text with its number of lines. */
function functionsIn(file: string, text: string): { readonly name: string; readonly lines: number }[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found: { name: string; lines: number }[] = [];
  const lineAt = (position: number): number => source.getLineAndCharacterOfPosition(position).line;
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined)
      found.push({ name: `${file} ${nameOf(node)}`, lines: lineAt(node.end) - lineAt(node.getStart()) + 1 });
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const functions = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((f) => f.endsWith('.ts'))
  .map((f) => posix.join('src', f.replaceAll('\\', '/')))
  .flatMap((f) => functionsIn(f, readFileSync(join(root, f), 'utf8')));

describe('functions', () => {
  it('are counted with their signature, whatever their kind', () => {
    const text = 'const a = () => {\n};\nrule(\n"Op",\n() => {\n\n});\nclass C {\nm() {\n\n\n}\n}';
    expect(functionsIn('f.ts', text)).toEqual([
      { name: 'f.ts a', lines: 2 },
      { name: 'f.ts Op', lines: 3 },
      { name: 'f.ts m', lines: 4 },
    ]);
    expect(functions.length).toBeGreaterThan(4000);
  });

  it(`have at most ${mostLines} lines, or are in the table of exceptions with a reason`, () => {
    const long = functions.filter((f) => f.lines > mostLines);
    expect(long.filter((f) => longFunctions[f.name] === undefined)).toEqual([]);
    // An exception that is short by now leaves the table.
    const names = new Set(long.map((f) => f.name));
    expect(Object.keys(longFunctions).filter((name) => !names.has(name))).toEqual([]);
    expect(names.size).toBeLessThanOrEqual(mostLong);
  });
});
