/**
 * Mutation run over the gradient rules, outside CI: each mutant changes one expression of one rule (a sign, an operator, a dropped
 * term, a swapped branch) in a copy of the sources; the numeric tables of the operators concerned must then fail. Prints the
 * survivors. Node 22.18 and later run it as it is:
 *   node scripts/mutate-gradients.ts [FILE …]        for example conv.ts norm.ts; all without names
 */
import { type ChildProcess, fork } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import ts from 'typescript';
import { equivalent } from './mutants-equivalent.ts';

interface Mutant {
  readonly file: string;
  readonly line: number;
  readonly from: string;
  readonly to: string;
  /** The whole mutated text. */
  readonly text: string;
  /** Operators whose tables must notice. */
  readonly ops: readonly string[];
}

/** Counterparts: each of these becomes the other. */
const swaps: Readonly<Record<string, readonly string[]>> = {
  Add: ['Sub'],
  Sub: ['Add'],
  Mul: ['Div'],
  Div: ['Mul'],
  Greater: ['Less'],
  Less: ['Greater'],
  GreaterOrEqual: ['LessOrEqual'],
  LessOrEqual: ['GreaterOrEqual'],
  Min: ['Max'],
  Max: ['Min'],
  And: ['Or'],
  Sin: ['Cos'],
  Cos: ['Sin'],
  plus: ['minus'],
  minus: ['plus'],
  least: ['most'],
  most: ['least'],
};
/** Calls that each of their operands may stand for: dropping a term or a factor. */
const droppable = new Set(
  'Add Sub Mul Div Neg Exp Sqrt Log Abs Sign Tanh Sigmoid Reciprocal ReduceSum ReduceMean Where Expand T And Max Min Mod'
    .split(' ')
    .concat(['plus', 'minus', 'times', 'over', 'least', 'most', 'fromStart', 'reshapeLike', 'unreduce']),
);

function mutantsOf(file: string, path: string): Mutant[] {
  const text = readFileSync(path, 'utf8');
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);
  const every = ruleNames(source);
  const found: Mutant[] = [];
  const emit = (node: ts.Node, to: string): void => {
    const start = node.getStart();
    found.push({
      file,
      line: source.getLineAndCharacterOfPosition(start).line + 1,
      from: node.getText(),
      to,
      text: text.slice(0, start) + to + text.slice(node.getEnd()),
      ops: ruleOf(node) ?? every,
    });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) call(node, emit);
    if (ts.isConditionalExpression(node))
      for (const e of [node.whenTrue, node.whenFalse]) emit(node, `(${e.getText()})`);
    if (ts.isBinaryExpression(node)) binary(node, emit);
    if (ts.isArrayLiteralExpression(node) && isResult(node))
      for (const e of node.elements) if (e.getText() !== 'undefined') emit(e, 'undefined');
    if (
      ts.isPropertyAssignment(node) &&
      ts.isNumericLiteral(node.initializer) &&
      ['0', '1'].includes(node.initializer.text)
    )
      emit(node.initializer, node.initializer.text === '1' ? '0' : '1');
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function call(node: ts.CallExpression, emit: (n: ts.Node, to: string) => void): void {
  const callee = node.expression;
  if (!ts.isPropertyAccessExpression(callee)) return;
  const name = callee.name.text;
  const args = node.arguments.map((a) => a.getText());
  for (const other of swaps[name] ?? []) emit(callee.name, other);
  if (droppable.has(name))
    for (const a of args)
      if (!a.startsWith('{') && a !== 'undefined') emit(node, a.startsWith('[') ? `${a}[0]` : `(${a})`);
  if (name === 'Where' && args.length === 3) emit(node, `${callee.getText()}(${args[0]}, ${args[2]}, ${args[1]})`);
  const value = node.arguments[1];
  if (name === 'like' && value !== undefined) emit(value, value.getText() === '0' ? '1' : `-(${value.getText()})`);
}

function binary(node: ts.BinaryExpression, emit: (n: ts.Node, to: string) => void): void {
  const [a, b] = [node.left.getText(), node.right.getText()];
  const other = new Map([
    ['+', '-'],
    ['-', '+'],
    ['*', '/'],
    ['/', '*'],
    ['<', '>'],
    ['>', '<'],
    ['===', '!=='],
    ['!==', '==='],
    ['&&', '||'],
    ['||', '&&'],
  ]).get(node.operatorToken.getText());
  if (other !== undefined) emit(node, `(${a} ${other} ${b})`);
}

/** An array that a rule returns: its elements are gradients. */
function isResult(node: ts.ArrayLiteralExpression): boolean {
  const { parent } = node;
  return ts.isReturnStatement(parent) || (ts.isArrowFunction(parent) && ts.isCallExpression(parent.parent));
}

const registers = ['grad', 'gradRaw', 'decompose', 'decomposeRaw'];

/** Operators of the registering call around a node. */
function ruleOf(node: ts.Node): readonly string[] | undefined {
  for (let n: ts.Node | undefined = node; n !== undefined; n = n.parent)
    if (ts.isCallExpression(n) && registers.includes(n.expression.getText())) return namesOf(n);
  return undefined;
}

function namesOf(register: ts.CallExpression): readonly string[] {
  const [key] = register.arguments;
  if (key !== undefined && ts.isStringLiteral(key)) return [key.text];
  for (let n: ts.Node | undefined = register; n !== undefined; n = n.parent)
    if (ts.isForOfStatement(n)) return [...n.expression.getText().matchAll(/'(\w+)'/g)].map((m) => m[1] ?? '');
  return [];
}

function ruleNames(source: ts.SourceFile): readonly string[] {
  const names: string[] = [];
  const visit = (n: ts.Node): void => {
    if (ts.isCallExpression(n) && registers.includes(n.expression.getText())) names.push(...namesOf(n));
    ts.forEachChild(n, visit);
  };
  visit(source);
  return names;
}

// ---------------------------------------------------------------- running

const root = resolve(import.meta.dirname, '..');
const families = 'src/passes/autodiff/gradients';
/** Shared by two families, and mutated with them. */
const windows = {
  path: 'src/passes/autodiff/windows.ts',
  users: ['conv.ts', 'pool.ts'],
  ops: ['Conv', 'ConvTranspose', 'AveragePool'],
};

const transpile = (text: string): string =>
  ts.transpileModule(text, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      rewriteRelativeImportExtensions: true,
      verbatimModuleSyntax: true,
    },
  }).outputText;

/** A copy of what the tables need, as JavaScript, in which a rule may be registered again. */
function copy(to: string): void {
  const walk = (folder: string): void => {
    mkdirSync(join(to, folder), { recursive: true });
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.name.endsWith('.test.ts')) continue;
      else if (entry.name.endsWith('.ts'))
        writeFileSync(join(to, scriptName(path)), transpile(readFileSync(join(root, path), 'utf8')));
      else cpSync(join(root, path), join(to, path));
    }
  };
  for (const folder of ['src', 'test/gradients']) walk(folder);
  const rules = join(to, 'src/passes/autodiff/rules.js');
  writeFileSync(rules, readFileSync(rules, 'utf8').replace(/if \(map\.has\(key\)\)\s*throw .*two rules.*;/, ''));
  cpSync(join(root, 'package.json'), join(to, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(to, 'node_modules'));
  writeFileSync(join(to, 'run.js'), runner);
}

const scriptName = (path: string): string => path.replace(/\.ts$/, '.js');

/** Registers rules, says whether a row of these operators fails, and registers the sources' rules again. */
const runner = `
import { modes, check } from './test/gradients/harness.js';
import { allRows } from './test/gradients/rows.js';
import { checkControl } from './test/gradients/control.js';
import { controlRows } from './test/gradients/control.rows.js';
import { extras } from './test/gradients/extras.js';
import { loopRows } from './test/gradients/loop.rows.js';
let count = 0;
process.on('message', async ({ mutated, originals, ops }) => {
  const wanted = new Set(ops);
  let failure;
  try {
    for (const file of mutated) await import(file);
    for (const mode of modes)
      for (const row of allRows) if (wanted.has(row.op) && (row.modes ?? modes).includes(mode)) await check(row, mode);
    for (const row of [...controlRows, ...loopRows])
      if (row.ops.some((op) => wanted.has(op)))
        for (const mode of row.modes ?? modes) await checkControl(row, mode);
    for (const extra of extras) if (extra.ops.some((op) => wanted.has(op))) await extra.run();
  } catch (e) {
    failure = String(e);
  }
  for (const file of originals) await import(file + '?' + ++count);
  process.send({ failure });
});
`;

interface Request {
  readonly mutated: readonly string[];
  readonly originals: readonly string[];
  readonly ops: readonly string[];
}

/** A process that runs one mutant after another; a new one is made where a mutant kills or hangs it. */
class Runner {
  readonly #folder: string;
  #child: ChildProcess | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The first failure, undefined where nothing noticed. */
  run(request: Request, seconds: number): Promise<string | undefined> {
    this.#child ??= fork(join(this.#folder, 'run.js'), [], {
      cwd: this.#folder,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    const child = this.#child;
    return new Promise((done) => {
      const end = (failure: string | undefined): void => {
        clearTimeout(clock);
        child.removeAllListeners();
        done(failure);
      };
      const clock = setTimeout(() => {
        this.stop();
        end('it did not end');
      }, seconds * 1000);
      child.once('message', (m) => end(typeof m === 'object' && 'failure' in m ? String(m.failure) : undefined));
      child.once('exit', () => {
        this.#child = undefined;
        end('the process ended');
      });
      child.send(request);
    });
  }

  stop(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
  }
}

/** Writes the mutant beside its original under a name of its own, and what imports it where it registers nothing itself. */
function install(folder: string, m: Mutant, id: number): Request {
  const renamed = (path: string): string => scriptName(path).replace(/\.js$/, `.${id}.js`);
  const write = (path: string, text: string): string => {
    const target = join(folder, renamed(path));
    writeFileSync(target, text);
    return `./${renamed(path)}`;
  };
  const own = write(m.file, transpile(m.text));
  const users = m.file === windows.path ? windows.users.map((u) => join(families, u)) : [];
  const name = basename(scriptName(m.file));
  const through = users.map((u) =>
    write(u, readFileSync(join(folder, scriptName(u)), 'utf8').replace(`/${name}`, `/${basename(renamed(m.file))}`)),
  );
  const originals = (users.length === 0 ? [m.file] : users).map((u) => `./${scriptName(u)}`);
  return { mutated: users.length === 0 ? [own] : through, originals, ops: m.ops };
}

const wanted = process.argv.slice(2);
const files = [...readdirSync(join(root, families)).map((f) => join(families, f)), windows.path].filter(
  (f) => wanted.length === 0 || wanted.some((w) => f.endsWith(`/${w}`)),
);
const mutants = files.flatMap((f) => {
  const list = mutantsOf(f, join(root, f));
  return f === windows.path ? list.map((m) => ({ ...m, ops: windows.ops })) : list;
});
const known = (m: Mutant): boolean =>
  equivalent.some((e) => m.file.endsWith(e.file) && m.from === e.from && m.to === e.to);
const queue = mutants.filter((m) => !known(m));
const survivors: Mutant[] = [];
const temporary = mkdtempSync(join(tmpdir(), 'loraify-mutants-'));
let count = 0;

async function worker(name: string): Promise<void> {
  const folder = join(temporary, name);
  copy(folder);
  const runner = new Runner(folder);
  if (name === '0') {
    const ops = [...new Set(mutants.flatMap((m) => m.ops))];
    const failure = await runner.run({ mutated: [], originals: [], ops }, 900);
    if (failure !== undefined) throw new Error(`the tables fail without a mutant: ${failure}`);
  }
  for (let m = queue.shift(); m !== undefined; m = queue.shift()) {
    const failure = await runner.run(install(folder, m, ++count), 60);
    if (failure === undefined) {
      survivors.push(m);
      console.log(`survived ${m.file}:${m.line} (${m.ops.slice(0, 3)})\n  ${m.from}\n  ${m.to}`);
    }
    if (count % 100 === 0) console.error(`${count} of ${count + queue.length}`);
  }
  runner.stop();
}

try {
  await Promise.all(Array.from({ length: Number(process.env.WORKERS ?? 2) }, (_, i) => worker(String(i))));
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
console.log(`${count} mutants, ${survivors.length} survived, ${mutants.length - count} known to be equivalent`);
process.exitCode = survivors.length === 0 ? 0 : 1;
