/**
 * Passes and stages. A pass is a value: a name, its purpose, a condition, and a function that changes the model. A
 * stage is a list of passes. `runStage` does what every pass needs afterwards, so that a pass does not depend on its
 * neighbours.
 */
import { badModel, LoraifyError } from '../../errors.ts';
import { type Model, nodesMade, revision } from '../../graph/model.ts';
import { internalDomain } from './internalDomain.ts';
import { verify } from './verify.ts';

/** The argument of a pass. A pass may replace `model`. */
export interface PassContext {
  model: Model;
}

/** A condition with its text for the documentation. */
export interface Condition<C> {
  /** Completes "runs …": `for CUDA`, `with --dropout`. */
  readonly text: string;
  readonly holds: (c: C) => boolean;
}

export interface Pass<C extends PassContext> {
  /** Unique in its stage; part of a file name with `--dump`. */
  readonly name: string;
  /** The purpose of the pass, and the reason for its position if that matters: one sentence. */
  readonly why: string;
  /** Absent: always. */
  readonly when?: Condition<C>;
  /** The pass puts new nodes into their graph itself, after what they read, which makes tidying cheaper. */
  readonly inserts?: true;
  readonly run: (c: C) => void;
}

export interface Stage<C extends PassContext> {
  readonly name: string;
  /** The result, in one sentence. */
  readonly makes: string;
  /**
   * Whether a changed graph is tidied after each pass: detached nodes that its outputs need join it, nodes and
   * initializers that nothing reads leave it, names become unique, and the domains of its operators are imported. A
   * stage that has to leave the source's own nodes as they are does not.
   */
  readonly tidies: boolean;
  /** Whether every pass only adds nodes behind the others, which makes tidying cheaper. */
  readonly appends?: true;
  /** Whether operators of the dialect (domain `loraify`) may be left at the end. */
  readonly dialect: boolean;
  readonly passes: readonly Pass<C>[];
  /** False as long as the model is between two forms that `verify` has no single table for. */
  readonly verifiable?: (c: C) => boolean;
}

/** One pass that has run. */
export interface PassRun {
  readonly stage: string;
  readonly pass: string;
  /** The model after the pass; a listener must not change it. */
  readonly model: Model;
  readonly milliseconds: number;
}

export type OnPass = (run: PassRun) => void;

/** Contributed operators (ONNX Runtime's domain com.microsoft) have one version. */
const contributedVersion = 1;

/**
 * Whether the graph is verified after every pass, and not only at the end of a stage: tests set LORAIFY_VERIFY=1. It
 * takes about a tenth of a compile.
 */
const verifiesEach = typeof process !== 'undefined' && process.env.LORAIFY_VERIFY === '1';

/** Runs the passes of a stage in order. Errors: those of the passes; BAD_MODEL names the pass that broke the graph. */
export function runStage<C extends PassContext>(stage: Stage<C>, c: C, onPass?: OnPass): void {
  let ran = false;
  for (const pass of stage.passes) {
    if (pass.when !== undefined && !pass.when.holds(c)) continue;
    ran = true;
    const start = performance.now();
    const before = { revision: revision(), made: nodesMade() };
    pass.run(c);
    if (stage.tidies && revision() !== before.revision) {
      const isInPlace = pass.inserts === true || nodesMade() === before.made;
      tidy(c.model, isInPlace ? 'prune' : stage.appends === true ? 'extend' : 'adopt');
    }
    const milliseconds = performance.now() - start;
    if (verifiesEach && stage.verifiable?.(c) !== false) {
      if (stage.tidies) importDomains(c.model);
      check(c.model, `${stage.name}/${pass.name}`);
    }
    onPass?.({ stage: stage.name, pass: pass.name, model: c.model, milliseconds });
  }
  if (!ran) return;
  if (stage.tidies) importDomains(c.model);
  if (!verifiesEach) verify(c.model, { internal: stage.dialect });
  else if (!stage.dialect) verify(c.model);
}

/**
 * `prune` removes what nothing reads; `extend` first adds detached nodes at the end, `adopt` in their order among the
 * others.
 */
const tidy = ({ graph }: Model, how: 'prune' | 'extend' | 'adopt'): void => graph[how]();

/** Imports ONNX Runtime's own domain if a node of it was added. */
function importDomains(model: Model): void {
  for (const { domain } of model.graph.allNodes())
    if (domain !== '' && domain !== internalDomain && !model.opsets.has(domain))
      model.opsets.set(domain, contributedVersion);
}

function check(model: Model, after: string): void {
  try {
    verify(model, { internal: true });
  } catch (error) {
    if (!(error instanceof LoraifyError)) throw error;
    throw badModel(`after pass ${after}: ${error.message}`, error.node === undefined ? {} : { node: error.node });
  }
}
