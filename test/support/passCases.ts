/**
 * Cases of single passes: fixtures/pass/<stage>/<pass>/<case>/. `input.onnx.txt` is the graph that the pass gets, or with the option
 * `compile` a source model whose compile is stopped at the pass.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { compileModel } from '../../src/compile/compileModel.ts';
import { type CompileOptions, emittable, resolveOptions } from '../../src/compile/options.ts';
import { createBuilder } from '../../src/graph/builder.ts';
import { headKinds, poolingKinds } from '../../src/graph/choices/heads.ts';
import { cloneModel } from '../../src/graph/clone.ts';
import type { Model } from '../../src/graph/model.ts';
import { parseText } from '../../src/parser/index.ts';
import { internalDomain } from '../../src/passes/common/internalDomain.ts';
import { type OnPass, type PassContext, type PassRun, runStage, type Stage } from '../../src/passes/common/pass.ts';
import { targets } from '../../src/passes/common/target.ts';
import { removeMarkers } from '../../src/passes/dialect/customGradient.ts';
import type { HeadPlan } from '../../src/passes/head/plan.ts';
import { planHead } from '../../src/passes/head/planHead.ts';
import { inferNode, inferShapes } from '../../src/passes/shapes/index.ts';
import { canonicalization, finishing, heading } from '../../src/passes/training/pipeline.ts';
import { exportForms, servedGraph } from './exportForms.ts';

export const root = join(import.meta.dirname, '../../fixtures/pass');

const halfTypes = ['float16', 'bfloat16'] as const;

const options = z.strictObject({
  /** What the case shows, in one sentence. */
  shows: z.string().min(1),
  /** The pass does not fire. */
  unchanged: z.boolean().default(false),
  /** Of outputs before and after, as the norm of the difference over the norm; absent: equal to the bit. */
  tolerance: z.strictObject({ relative: z.number().positive(), why: z.string().min(1) }).optional(),
  /** The provider. */
  for: z.enum(targets).default('portable'),
  /** The type of rounded weights. */
  stored: z.enum(halfTypes).optional(),
  /** Whether lengths are fixed. */
  fixed: z.boolean().default(false),
  dropout: z.number().default(0),
  /** Values whose nodes were made by a rule, by that rule: text has no place for it. */
  rules: z.record(z.string(), z.array(z.string())).default({}),
  /** The graph before is run in this type, and why it cannot run in its own. */
  reference: z.strictObject({ in: z.literal('float32'), why: z.string().min(1) }).optional(),
  /** The head of a pass of the stage `head`. */
  head: z
    .strictObject({
      kind: z.enum(headKinds),
      pooling: z.enum(poolingKinds).optional(),
      input: z.string().optional(),
      classes: z.number().optional(),
      normalize: z.boolean().default(true),
    })
    .optional(),
  /** Options of a compile; the pass is seen in the graph named by `emit`. */
  compile: z.looseObject({}).optional(),
  emit: z.enum(emittable).optional(),
  /** The form of an export, in place of a graph of a compile. */
  form: z.enum(exportForms).optional(),
  /** How a compile is checked where graphs before and after do not compute the same, and why they do not. */
  check: z.strictObject({ by: z.enum(['adapted', 'gradient', 'served']), why: z.string().min(1) }).optional(),
});

export interface PassCase {
  readonly stage: string;
  readonly pass: string;
  readonly name: string;
  readonly folder: string;
  readonly text: string;
  readonly options: z.output<typeof options>;
}

/** The model right before a pass and right after it. */
export interface Around {
  readonly before: Model;
  readonly after: Model;
}

const foldersIn = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true })
    .filter((d) => d.isDirectory())
    .map((d) => d.name);

/** The folders of fixtures/pass: `<stage>/<pass>`. */
export const passFolders = (): string[] =>
  foldersIn(root).flatMap((stage) => foldersIn(join(root, stage)).map((pass) => `${stage}/${pass}`));

export const passCases = (): PassCase[] =>
  passFolders().flatMap((of) =>
    foldersIn(join(root, of)).map((name) => {
      const [stage = '', pass = ''] = of.split('/');
      const folder = join(root, of, name);
      const read = (file: string): string => readFileSync(join(folder, file), 'utf8');
      return {
        stage,
        pass,
        name,
        folder,
        text: read('input.onnx.txt'),
        options: options.parse(JSON.parse(read('options.json'))),
      };
    }),
  );

export const around = (c: PassCase): Around => (c.options.compile === undefined ? alone(c) : stopped(c));

/** The pass on the text itself. */
function alone({ stage, pass, text, options: o }: PassCase): Around {
  const model = parsed(text, o.rules);
  const { model: before } = cloneModel(model);
  const shared = { model, target: o.for, stored: o.stored };
  const run = stagesAlone[stage];
  if (run === undefined) throw new Error(`a case of stage ${stage} needs the option "compile"`);
  return { before, after: run(pass, shared, o) };
}

type Shared = Pick<Parameters<(typeof canonicalization.passes)[number]['run']>[0], 'model' | 'target' | 'stored'>;
type RunAlone = (pass: string, shared: Shared, o: PassCase['options']) => Model;

/** Stages whose context can be made without a compile. */
const stagesAlone: Readonly<Record<string, RunAlone>> = {
  head: (pass, { model }, o) => one(heading, pass, { model, plan: headOf(model, o) }),
  canonicalize: (pass, shared, { dropout }) =>
    one(canonicalization, pass, { ...shared, dropout, misses: undefined, notes: [] }),
  finish: (pass, shared, { fixed }) =>
    one(finishing, pass, { ...shared, fixed, g: createBuilder(inferNode, [...shared.model.graph.inputs]) }),
};

export function headOf(model: Model, { head }: PassCase['options']): HeadPlan {
  if (head === undefined) throw new Error('a case of stage head needs the option "head"');
  return planHead(model, { ...head, seed: 0 }).plan;
}

/** One pass as its stage runs it. Other passes would have removed the dialect. */
function one<C extends PassContext>(stage: Stage<C>, name: string, c: C): Model {
  const pass = stage.passes.find((p) => p.name === name);
  if (pass === undefined) throw new Error(`stage ${stage.name} has no pass ${name}`);
  runStage({ ...stage, dialect: true, passes: [pass] }, c);
  return c.model;
}

function parsed(text: string, rules: Readonly<Record<string, readonly string[]>>): Model {
  const model = parseText(text);
  for (const [rule, names] of Object.entries(rules))
    for (const name of names) {
      const node = model.graph.allNodes().find((n) => n.outputs.some((v) => v.name === name));
      if (node === undefined) throw new Error(`no node makes "${name}", which ${rule} is to have made`);
      node.metadata.set('loraify.rule', rule);
    }
  inferShapes(model.graph);
  return model;
}

/** The pass inside a compile. */
function stopped(c: PassCase): Around {
  const { text, options: o } = c;
  let last = parseText(text);
  let found: Around | undefined;
  const onPass: OnPass = (run) => {
    const { model } = cloneModel(run.model);
    if (found === undefined && isOf(c, run)) found = { before: last, after: model };
    last = model;
  };
  if (o.form !== undefined) servedGraph(text, compileOptions(c), o.form, onPass);
  else {
    const emit = o.emit ?? emittable.find((e) => e === c.stage) ?? 'grad';
    compileModel(parseText(text), resolveOptions({ ...compileOptions(c), emit: [emit] }), { onPass });
  }
  if (found === undefined) throw new Error(`${c.stage}/${c.pass} did not run`);
  return found;
}

/** `finish` is a part of two stages. */
const isOf = ({ stage, pass }: PassCase, run: PassRun): boolean =>
  run.pass === pass && (run.stage === stage || (stage === 'finish' && (run.stage === 'grad' || run.stage === 'eval')));

/** resolveOptions checks them. */
export const compileOptions = ({ options: o }: PassCase): CompileOptions => ({ ...o.compile });

/** Whether ONNX Runtime can run a model, but for nodes that only carry a value on. */
export const hasDialect = (model: Model): boolean =>
  withoutCarrying(model)
    .graph.allNodes()
    .some((n) => n.domain === internalDomain);

/** A copy without the nodes that carry a value on for its gradient's sake. */
export function withoutCarrying(model: Model): Model {
  const { model: copy } = cloneModel(model);
  for (const graph of copy.graph.allGraphs()) removeMarkers(graph);
  copy.graph.prune();
  return copy;
}
