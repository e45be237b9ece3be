/** Comments and error messages are plain technical English: a rule for first words, and a table of words to avoid (prose.ts). */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { banned, firstWords, notYet } from './prose.ts';

const root = join(import.meta.dirname, '../..');

const files = execFileSync(
  'git',
  ['ls-files', '-co', '--exclude-standard', 'src', 'test', 'scripts', 'bench', 'examples'],
  {
    cwd: root,
    encoding: 'utf8',
  },
)
  .split('\n')
  .filter((f) => /\.(ts|mjs)$/.test(f) && f !== 'test/layout/prose.ts');

interface Prose {
  readonly line: number;
  readonly text: string;
  readonly kind: 'comment' | 'message';
}

/** The text of a comment without its delimiters, as one line. */
const plain = (comment: string): string =>
  comment
    .replace(/^\/\*+|\*\/$|^[ \t]*\/\//gm, '')
    .replace(/^[ \t]*\*(?!\*)/gm, '')
    .replace(/`[^`]*`|"[^"]*"/g, '…')
    .replace(/\s+/g, ' ')
    .trim();

/** Whether a string is an argument of a thrown error, or of a function that makes one. */
function isMessage(node: ts.Node): boolean {
  for (let at = node.parent; at !== undefined && !ts.isStatement(at); at = at.parent)
    if (ts.isNewExpression(at) && ts.isIdentifier(at.expression)) return /Error$/.test(at.expression.text);
    else if (ts.isCallExpression(at) && ts.isThrowStatement(at.parent)) return true;
    else if (ts.isCallExpression(at) && ts.isIdentifier(at.expression) && at.expression.text === 'define') return true;
  return false;
}

/** The comments of a file, with lines of `//` joined, and the parts of its error messages. */
function proseOf(file: string, text: string): Prose[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lineOf = (at: number): number => source.getLineAndCharacterOfPosition(at).line + 1;
  const messages: Prose[] = [];
  // Literals are blanked, so that everything left between comment delimiters is a comment.
  let code = text;
  const visit = (node: ts.Node): void => {
    if (ts.isLiteralExpression(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node)) {
      const start = node.getStart(source);
      code = code.slice(0, start) + '0'.repeat(node.end - start) + code.slice(node.end);
      if (!ts.isRegularExpressionLiteral(node) && isMessage(node))
        messages.push({ line: lineOf(start), text: node.text.replace(/"[^"]*"/g, '…'), kind: 'message' });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  const comments = [...code.matchAll(/\/\*[\s\S]*?\*\/|\/\/.*(?:\n[ \t]*\/\/.*)*/g)].map(({ 0: c, index }) => ({
    line: lineOf(index),
    text: plain(text.slice(index, index + c.length)),
    kind: 'comment' as const,
  }));
  return [...comments, ...messages];
}

/** The violations of a text, each as a sentence. */
function violations({ text, kind }: Omit<Prose, 'line'>): string[] {
  const first = /^[A-Za-z]+/.exec(text)?.[0] ?? '';
  return [
    ...(kind === 'comment' && firstWords.has(first)
      ? [`starts with "${first}"; start with the thing it describes`]
      : []),
    ...banned.flatMap(({ word, instead }) => {
      const found = word.exec(text)?.[0];
      return found === undefined ? [] : [`"${found}" in "${text.slice(0, 100)}"; use: ${instead}`];
    }),
  ];
}

describe('comments and messages', () => {
  it.each(banned.map((b) => [b.example, b] as const))('"%s" is found', (example, { instead }) => {
    expect(violations({ text: example, kind: 'message' }).some((v) => v.endsWith(instead))).toBe(true);
  });

  it.each([...firstWords])('a comment that starts with "%s" is found', (word) => {
    expect(violations({ text: `${word} the node.`, kind: 'comment' })).not.toEqual([]);
    expect(violations({ text: `The node. ${word} it.`, kind: 'comment' }).join()).not.toContain('starts with');
  });

  it('finds comments and messages, not code or other strings', () => {
    const text = [
      '/** Of x. */',
      "const s = '// who'; // By y",
      '// To z,',
      '  // who',
      'throw new Error(`who $' + '{/[/*] who/.test(s)} says`);',
    ].join('\n');
    expect(proseOf('x.ts', text).map((p) => `${p.line} ${p.text}`)).toEqual([
      '1 Of x.',
      '2 By y To z, who',
      '5 who ',
      '5  says',
    ]);
  });

  it('follow the rules of prose.ts', () => {
    const checked = files.filter((f) => !notYet.some((folder) => f.startsWith(folder)));
    expect(checked.length).toBeGreaterThan(200);
    const found = checked.flatMap((f) =>
      proseOf(f, readFileSync(join(root, f), 'utf8')).flatMap((p) => violations(p).map((v) => `${f}:${p.line} ${v}`)),
    );
    expect(found).toEqual([]);
  });

  it('every exception has a violation', () => {
    const clean = notYet.filter((folder) =>
      files
        .filter((f) => f.startsWith(folder))
        .every((f) => proseOf(f, readFileSync(join(root, f), 'utf8')).every((p) => violations(p).length === 0)),
    );
    expect(clean).toEqual([]);
  });
});
