/**
 * Mutation run over the gradient rules and the other formulas of src/passes, outside CI. Each mutant changes one expression (a sign, an
 * operator, a dropped term, a swapped branch) in a copy of the sources; a test of the suite that comes across it must then fail. Which
 * tests those are is found by running all of them once. Prints the survivors, and how many there are of each kind; fails where a
 * sign, an operator, a term or a factor can be changed without a test that notices. Node 22.18 and later run it as it is:
 *
 *   node scripts/mutation/run.ts [FILE …] [--calculus] [--tests PART,PART] [--workers 2]
 *
 * for example conv.ts norm.ts; all files without names. `--calculus` leaves out conditions, `--tests` tests of other paths.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'; // biome-ignore format: one line
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import ts from 'typescript';
import { equivalent } from './equivalent.ts';
import { kinds, type Mutant, mutantsOf } from './mutants.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { tests: { type: 'string' }, calculus: { type: 'boolean' }, workers: { type: 'string', default: '2' } },
});
const root = resolve(import.meta.dirname, '../..');
const passes = 'src/passes';
/** Whole folders, and further files with formulas. */
const mutated = [
  ...listed(`${passes}/autodiff/gradients`),
  ...[
    'adapt/dora',
    'autodiff/windows',
    'canonicalize/gelu',
    'canonicalize/groupedHeads',
    'canonicalize/joined',
    'canonicalize/norms',
    'canonicalize/silu',
    'canonicalize/sliceToSplit',
    'common/patterns',
    'common/shapeTools',
    'dialect/joined',
    'loss/attachLoss',
    'loss/lossScale',
    'lower/dropoutMask',
    'lower/joined',
    'lower/modelGraph',
    'lower/trainingGraph',
    'optimize/fuseTransposes',
    'optimize/halfActivations',
    'optimize/rowFactors',
    'optimize/softmaxGradient',
    'precision/unpackNBits',
    'providers/splitWideNodes',
    'select/layers/attention',
    'training/optimizer',
  ].map((name) => `${passes}/${name}.ts`),
];
/** The tests of these files depend on one another. */
const together = ['/dora.test.js', '/peftRoundtrip.test.js'];
/** Too slow for each mutant: random graphs, large models, and tests that take this many seconds. */
const longest = 20;
const slow = new Set(['random', 'models'].map((name) => `${name}.test.ts`));
/** Tests that compute; those of the command line and of whole runs start other processes, which know no mutants. */
const tests = [
  ...['gradients', 'passes', 'parity', 'golden'].flatMap((folder) => listed(`test/${folder}`)),
  ...'compile/dropout compile/packedWeights package/dora runtime/train/losses runtime/worker/lossScale'
    .split(' ')
    .map((name) => `test/${name}.test.ts`),
].filter(
  (f) =>
    f.endsWith('.test.ts') && !slow.has(basename(f)) && (values.tests?.split(',') ?? ['']).some((t) => f.includes(t)),
);

/** A golden's text changes with every mutant; only the results of its graphs count. */
const isText = (name: string): boolean => /^test\/golden\/.* > (compiles|prints|is exported|is refused)/.test(name);

function listed(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.ts'))
    .map((f) => join(folder, f))
    .sort();
}

// ---------------------------------------------------------------- the copy

const transpile = (text: string): string =>
  ts.transpileModule(text, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      rewriteRelativeImportExtensions: true,
      verbatimModuleSyntax: true,
    },
  }).outputText;

/** Sources and tests as JavaScript, with the mutants of `texts`. */
function copy(to: string, texts: ReadonlyMap<string, string>): void {
  for (const file of ['src', 'test'].flatMap(listed)) {
    const text = texts.get(file) ?? readFileSync(join(root, file), 'utf8');
    const target = join(to, scriptName(file));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, transpile(text).replace("from 'vitest'", `from '${join(to, 'standIn.mjs')}'`));
  }
  for (const file of readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' }))
    if (/\.(json|txt)$/.test(file)) cpSync(join(root, 'test', file), join(to, 'test', file));
  for (const name of ['standIn.mjs', 'runner.mjs']) cpSync(join(import.meta.dirname, name), join(to, name));
  for (const name of ['package.json', 'node_modules', 'fixtures']) symlinkSync(join(root, name), join(to, name));
}

const scriptName = (path: string): string => path.replace(/\.ts$/, '.js');

// ---------------------------------------------------------------- running

/** A test's result. */
interface Result {
  readonly check: number;
  readonly failure?: string;
  readonly seconds: number;
  readonly memory: number;
  readonly reached: readonly number[];
}

type Message = Partial<Result> & { readonly loaded?: readonly string[]; readonly done?: true };

/** A process that runs tests; it is replaced if a mutant ends or hangs it, or if it has grown. */
class Runner {
  readonly #folder: string;
  readonly #environment: NodeJS.ProcessEnv;
  #child: ChildProcess | undefined;
  #memory = 0;
  /** Mutants reached by loading alone, and the names of all tests. */
  loaded: { readonly names: readonly string[]; readonly reached: readonly number[] } = { names: [], reached: [] };

  constructor(folder: string, mutant?: number) {
    this.#folder = folder;
    const TMPDIR = mkdtempSync(join(folder, 'tmp-'));
    const MUTATION = JSON.stringify({
      sources: [...texts.keys()].map(scriptName),
      tests: tests.map(scriptName),
      together,
    });
    this.#environment = { ...process.env, TMPDIR, MUTATION, LORAIFY_FIGURES: 'ignore' };
    if (mutant !== undefined) this.#environment.MUTANT = String(mutant);
  }

  /** Runs tests one after another, with a mutant up to the first that fails; returns which and why. */
  async run(
    checks: readonly number[],
    mutant?: number,
    onResult?: (r: Result) => void,
  ): Promise<{ readonly failure: string | undefined; readonly check: number | undefined }> {
    if (this.#memory > 2e9) this.stop();
    const child = this.#child ?? (await this.#start());
    if (typeof child === 'string') return { failure: child, check: undefined };
    this.#child = child;
    let latest: Result | undefined;
    const end = await this.#until(child, { run: checks, mutant }, (m) => {
      if (isResult(m)) latest = m;
      if (isResult(m)) onResult?.(m);
      return m.done === true;
    });
    this.#memory = latest?.memory ?? 0;
    return { failure: end.failure ?? latest?.failure, check: latest?.check };
  }

  async #start(): Promise<ChildProcess | string> {
    const child = fork(join(this.#folder, 'runner.mjs'), [], {
      cwd: this.#folder,
      env: this.#environment,
      stdio: ['ignore', 'ignore', process.env.DEBUG === undefined ? 'ignore' : 'inherit', 'ipc'],
    });
    const { loaded, reached = [], failure } = await this.#until(child, undefined, (m) => m.loaded !== undefined);
    if (loaded === undefined) return `the tests cannot be loaded: ${failure}`;
    this.loaded = { names: loaded, reached };
    return child;
  }

  /** Waits for a message; a failure if the process ends or is silent for long. */
  #until(child: ChildProcess, request: object | undefined, wanted: (m: Message) => boolean): Promise<Message> {
    return new Promise((done) => {
      const end = (m: Message): void => {
        clearTimeout(clock);
        child.removeAllListeners();
        done(m);
      };
      const late = (): void => {
        this.stop();
        end({ failure: 'it did not end' });
      };
      let clock = setTimeout(late, 60_000);
      child.on('message', (m: Message) => {
        clearTimeout(clock);
        clock = setTimeout(late, 60_000);
        if (wanted(m)) end(m);
      });
      child.once('exit', () => {
        this.#child = undefined;
        end({ failure: 'the process ended' });
      });
      if (request !== undefined) child.send(request);
    });
  }

  stop(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
    this.#memory = 0;
  }
}

const isResult = (m: Message): m is Result => m.check !== undefined;

// ---------------------------------------------------------------- the run

const mutants: Mutant[] = [];
const texts = new Map<string, string>();
for (const file of mutated) {
  if (positionals.length > 0 && !positionals.some((w) => file.endsWith(`/${w}`))) continue;
  const found = mutantsOf(relative(passes, file), readFileSync(join(root, file), 'utf8'), mutants.length);
  mutants.push(...found.mutants);
  texts.set(file, found.switched);
}

const isOf = (e: (typeof equivalent)[number], m: Mutant): boolean =>
  m.file.endsWith(e.file) && m.from === e.from && m.to === e.to && m.ahead.startsWith(e.at ?? e.from);
const isEquivalent = (m: Mutant): boolean => equivalent.some((e) => isOf(e, m));
const stale = positionals.length > 0 ? [] : equivalent.filter((e) => !mutants.some((m) => isOf(e, m)));
for (const { file, from } of stale) console.log(`known as equivalent, and not there any more: ${from} in ${file}`);

const temporary = mkdtempSync(join(tmpdir(), 'loraify-mutants-'));

interface Attribution {
  /** The tests that reach each mutant, quick ones first. */
  readonly by: readonly number[][];
  /** Mutants reached by loading the sources. */
  readonly early: ReadonlySet<number>;
}

async function attribute(runner: Runner): Promise<Attribution> {
  const { failure: unloaded } = await runner.run([]);
  if (unloaded !== undefined) throw new Error(unloaded);
  const { names, reached } = runner.loaded;
  const all = names.flatMap((name, i) => (isText(name) ? [] : [i]));
  const results: Result[] = [];
  const again: Result[] = [];
  await runner.run(all, undefined, (r) => results.push(r));
  // A test whose result differs the second time would fail without a mutant; the tables keep no state.
  const twice = all.filter((i) => !names[i]?.startsWith('test/gradients/'));
  await runner.run(twice, undefined, (r) => again.push(r));
  if (results.length + again.length < all.length + twice.length)
    throw new Error(`after ${names[[...results, ...again].at(-1)?.check ?? 0]} the process ended`);
  const failed = new Set<number>();
  for (const { check, failure } of [...results, ...again]) {
    if (failure === undefined || failed.has(check)) continue;
    failed.add(check);
    console.error(`left out, for it fails without a mutant: ${names[check]}\n  ${failure}`);
  }
  const used = results.filter((r) => !failed.has(r.check) && r.seconds <= longest);
  const by = mutants.map((): number[] => []);
  for (const { check, reached: ids } of used.sort((a, b) => a.seconds - b.seconds))
    for (const id of ids) by[id]?.push(check);
  const seconds = results.reduce((n, r) => n + r.seconds, 0);
  if (process.env.DEBUG !== undefined)
    for (const r of results.sort((a, b) => b.seconds - a.seconds).slice(0, 40))
      console.error(r.seconds, names[r.check]);
  console.error(`${used.length} of ${all.length} tests, ${seconds.toFixed(0)} s; ${mutants.length} mutants`);
  return { by, early: new Set(reached) };
}

const calculus = new Set<string>(kinds.slice(0, 3));
const isWanted = (m: Mutant): boolean => values.calculus !== true || calculus.has(m.kind);

interface Verdict {
  readonly mutant: Mutant;
  readonly how: 'killed' | 'equivalent' | 'survived';
}

const verdicts: Verdict[] = mutants
  .filter((m) => isEquivalent(m) && isWanted(m))
  .map((mutant) => ({ mutant, how: 'equivalent' }));

async function work(
  folder: string,
  queue: number[],
  { by, early }: Awaited<ReturnType<typeof attribute>>,
): Promise<void> {
  const runner = new Runner(folder);
  // The test that killed the previous mutant is run first: neighbours are often killed by the same one.
  let lately: number | undefined;
  for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
    const mutant = mutants[id];
    if (mutant === undefined) continue;
    const own = new Set(by[id]);
    let failure: string | undefined;
    if (early.has(id)) {
      // Constants of a module are made when it is loaded; any test that runs through the file may read them.
      for (const [i, m] of mutants.entries()) if (m.file === mutant.file) for (const c of by[i] ?? []) own.add(c);
      const fresh = new Runner(folder, id);
      ({ failure } = await fresh.run([...own]));
      fresh.stop();
    } else if (own.size > 0) {
      const order = [...own].sort((a, b) => Number(b === lately) - Number(a === lately));
      const end = await runner.run(order, id);
      ({ failure } = end);
      if (failure !== undefined) lately = end.check;
    }
    verdicts.push({ mutant, how: failure === undefined ? 'survived' : 'killed' });
    if (failure === undefined) {
      const { file, line, kind, from, to } = mutant;
      console.log(
        `survived ${file}:${line}, ${kind}${own.size === 0 ? ', no test reaches it' : ''}\n  ${from}\n  ${to}`,
      );
    }
    if (queue.length % 100 === 0) console.error(`${queue.length} to go`);
  }
  runner.stop();
}

try {
  const folders = Array.from({ length: Number(values.workers) }, (_, i) => join(temporary, String(i)));
  for (const folder of folders) copy(folder, texts);
  if (existsSync(join(root, '../shared'))) symlinkSync(join(root, '../shared'), join(temporary, 'shared'));
  const first = new Runner(folders[0] ?? temporary);
  const attributed = await attribute(first);
  first.stop();
  const queue = mutants.flatMap((m, id) => (!isEquivalent(m) && isWanted(m) ? [id] : []));
  await Promise.all(folders.map((folder) => work(folder, queue, attributed)));
} finally {
  rmSync(temporary, { recursive: true, force: true });
}

const count = (kind: string, how: Verdict['how']): number =>
  verdicts.filter((v) => v.mutant.kind === kind && v.how === how).length;
console.log(`| kind of mutant | killed | equivalent, with a reason | survived |\n|---|---|---|---|`);
for (const kind of kinds)
  console.log(
    `| ${[kind, ...(['killed', 'equivalent', 'survived'] as const).map((how) => count(kind, how))].join(' | ')} |`,
  );
const missed = verdicts.filter((v) => v.how === 'survived' && calculus.has(v.mutant.kind)).length;
console.log(`${verdicts.length} mutants; of the calculus ${missed} survived`);
process.exitCode = missed + stale.length === 0 ? 0 : 1;
