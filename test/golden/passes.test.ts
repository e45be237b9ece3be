/**
 * Golden graphs of single passes: every folder fixtures/pass/<stage>/<pass>/<case>/ is a case. `input.onnx.txt` is what the pass gets
 * (or a source model, with `before.onnx.txt` for what a compile brings to the pass), `output.onnx.txt` is what the pass makes of it.
 * Both are run, and what was printed is parsed again. `npm run golden` rewrites the files.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { printModel } from '../../src/emit/index.ts';
import type { Model } from '../../src/graph/model.ts';
import { parseText } from '../../src/parser/index.ts';
import { computeInFloat32 } from '../../src/passes/precision/missingKernels.ts';
import { finishing, stages } from '../../src/passes/training/pipeline.ts';
import { checkAdapted, checkGradient, distance, run } from '../support/executeGraphs.ts';
import { checkServed } from '../support/exportForms.ts';
import { randomFeeds } from '../support/graphFeeds.ts';
import { inFloat32, wide } from '../support/halfTypes.ts';
import { checkHead } from '../support/headReference.ts';
import {
  type Around,
  around,
  compileOptions,
  hasDialect,
  headOf,
  type PassCase,
  passCases,
  passFolders,
  withoutCarrying,
} from '../support/passCases.ts';

const cases = passCases();
const print = (model: Model): string => printModel(model, { comments: true });
const names = (model: Model): string[] => model.graph.outputs.map((v) => v.name);

describe.each(cases.map((c): [string, PassCase] => [`${c.stage}/${c.pass}/${c.name}`, c]))('%s', (_, c) => {
  const isCompiled = c.options.compile !== undefined;
  let made: Around | undefined;
  const graphs = (): Around => (made ??= around(c));

  it('makes the same text', async () => {
    const { before, after } = graphs();
    if (isCompiled) await expect(print(before)).toMatchFileSnapshot(join(c.folder, 'before.onnx.txt'));
    await expect(print(after)).toMatchFileSnapshot(join(c.folder, 'output.onnx.txt'));
    const files = ['input.onnx.txt', 'options.json', 'output.onnx.txt', ...(isCompiled ? ['before.onnx.txt'] : [])];
    expect(readdirSync(c.folder).filter((f) => !files.includes(f))).toEqual([]);
  });

  it(c.options.unchanged ? 'leaves the graph as it is' : 'changes the graph', () => {
    const { before, after } = graphs();
    if (c.options.unchanged) expect(print(after)).toBe(print(before));
    else expect(print(after)).not.toBe(print(before));
  });

  it('prints what it parses', () => {
    const full = printModel(graphs().after, { full: true, comments: false });
    expect(printModel(parseText(full), { full: true, comments: false })).toBe(full);
  });

  it('computes what it should', () => {
    const { check } = c.options;
    if (c.stage === 'head') return checkHead(graphs(), headOf(graphs().before, c.options));
    if (check === undefined && isComparable(graphs())) return computeTheSame(c, graphs());
    expect(isCompiled, 'ONNX Runtime runs both graphs, or the case is a compile, which is checked as a whole').toBe(
      true,
    );
    return checks[check?.by ?? checkOf(c)](c);
  });
});

/** Whether ONNX Runtime runs both graphs, and outputs of one name are of one meaning. */
const isComparable = ({ before, after }: Around): boolean =>
  !hasDialect(before) && !hasDialect(after) && names(before).join() === names(after).join();

async function computeTheSame(
  { options: { reference, tolerance } }: PassCase,
  { before, after }: Around,
): Promise<void> {
  const source = reference === undefined ? before : everyFloat32(before);
  const expected = await run(withoutCarrying(source), randomFeeds(source.graph.inputs));
  // Inputs that the graph reads no more are not fed to it.
  const found = await run(withoutCarrying(after), randomFeeds(before.graph.inputs));
  expect(Object.keys(expected).length).toBeGreaterThan(0);
  expect(Object.keys(found)).toEqual(Object.keys(expected));
  for (const [name, t] of Object.entries(expected)) {
    expect(found[name]?.dims, name).toEqual(t.dims);
    if (reference === undefined) expect(found[name]?.type, name).toBe(t.type);
    if (tolerance === undefined) expect(found[name]?.data, name).toEqual(t.data);
    else expect(distance(wide(found[name]), wide(t)), name).toBeLessThan(tolerance.relative);
  }
}

function everyFloat32(model: Model): Model {
  const made = inFloat32(model);
  computeInFloat32(made, 'float64');
  return made;
}

const checks = {
  adapted: (c: PassCase) => checkAdapted(c.text, compileOptions(c)),
  gradient: (c: PassCase) => checkGradient(c.text, compileOptions(c)),
  served: (c: PassCase) => checkServed(c.text, compileOptions(c)),
} as const;

const checkOf = ({ stage }: PassCase): keyof typeof checks =>
  stage === 'adapt' || stage === 'model' ? 'adapted' : stage === 'serve' ? 'served' : 'gradient';

/** Passes without a case, and where they are held instead. */
const elsewhere: Readonly<Record<string, string>> = {
  'canonicalize/infer-shapes': 'it sets types alone: test/passes/shapes',
  'update/optimizer': 'it is the whole of update.onnx: fixtures/train/*/update.onnx.txt',
};

/** Passes whose cases are those of another one, because both call one function in the same way. */
const sameAs: Readonly<Record<string, string>> = {
  'finish/merge-flattened': 'finish/common-subexpressions',
  'finish/join-fixed-reshapes': 'finish/join-reshapes',
};

/** Passes that have no graph to leave alone. */
const always: Readonly<Record<string, string>> = {
  'canonicalize/adapted-form': 'every dialect node is brought into its form',
  'finish/lower-layers': 'no dialect node is left',
};

/** `<stage>/<pass>`; a pass of several stages is listed with the first. */
function listed(): string[] {
  const seen = new Set<unknown>();
  return [finishing, ...stages].flatMap((stage) =>
    stage.passes.flatMap((pass) => {
      if (seen.has(pass)) return [];
      seen.add(pass);
      return [`${stage.name}/${pass.name}`];
    }),
  );
}

describe('the cases', () => {
  const passes = listed();
  const having = (unchanged: boolean): Set<string> =>
    new Set(cases.flatMap((c) => (c.options.unchanged === unchanged ? [`${c.stage}/${c.pass}`] : [])));

  it('have one for each pass in which it fires', () => {
    const fires = having(false);
    expect(passes.filter((p) => elsewhere[p] === undefined && !fires.has(sameAs[p] ?? p))).toEqual([]);
  });

  it('have one for each pass over a forward or a finished graph in which it does not fire', () => {
    const rests = having(true);
    const rewriting = passes.filter((p) => /^(canonicalize|join|finish)\//.test(p) && elsewhere[p] === undefined);
    expect(rewriting.filter((p) => always[p] === undefined && !rests.has(sameAs[p] ?? p))).toEqual([]);
  });

  it('belong to passes', () => {
    const known = passes.filter((p) => elsewhere[p] === undefined && sameAs[p] === undefined);
    expect(passFolders().filter((folder) => !known.includes(folder))).toEqual([]);
  });

  it('are excused for passes that exist', () => {
    const excused = [elsewhere, sameAs, always].flatMap((table) => Object.keys(table));
    expect([...excused, ...Object.values(sameAs)].filter((p) => !passes.includes(p))).toEqual([]);
  });
});
