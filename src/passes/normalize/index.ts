/**
 * Brings a model into the one form that shape rules, gradient rules and losses expect: one opset, no functions,
 * constants as initializers, shape arithmetic folded. The source model itself is never changed: callers pass a copy.
 */
import { opsetTooLow, unsupportedVersion } from '../../errors.ts';
import type { Model, Node } from '../../graph/model.ts';
import { opKey } from '../../graph/operators.ts';
import { opsets } from '../../graph/versions.ts';
import { type OnPass, type PassContext, runStage, type Stage } from '../common/pass.ts';
import { inferNode, inferShapes } from '../shapes/index.ts';
import { removeDead, removeEmptyParts, removeIdentities } from './cleanup.ts';
import { constantsToInitializers, fixDefaults } from './constants.ts';
import { checkOperands } from './contradictions.ts';
import { declarationChecker } from './declarations.ts';
import { fold } from './fold/index.ts';
import { ample, usual } from './fold/small.ts';
import { inlineFunctions } from './functions.ts';
import { nameOpenAxes } from './openAxes.ts';
import { foldSequences } from './sequences.ts';
import { shareLengths } from './share.ts';
import { upgradeModel } from './upgrade.ts';
import { upgrades } from './upgrades/index.ts';

export interface NormalizeOptions {
  /** Opset of the result: at least the source's and 18. */
  readonly opset?: number;
  /** Changes the model once it has one opset and typed values, before shape arithmetic is folded. */
  readonly bind?: (model: Model) => void;
  /** Called with a sentence for each declaration of the model that is ignored. */
  readonly report?: (text: string) => void;
  /** Called after each pass. */
  readonly onPass?: OnPass | undefined;
}

/** The least opset of training graphs. */
const least = 18;

/** The context of the passes of `normalization`. */
export interface NormalizeContext extends PassContext {
  /** The opset of each node from an inlined function, until all nodes have one opset. */
  versions: ReadonlyMap<Node, number>;
  /** Opset of the source. */
  readonly from: number;
  readonly wanted: number | undefined;
  readonly bind: ((model: Model) => void) | undefined;
  readonly report: (text: string) => void;
}

/** In place. Throws OPSET_TOO_LOW, UNSUPPORTED_VERSION or BAD_MODEL. */
export function normalize(model: Model, options: NormalizeOptions = {}): void {
  const from = model.opsets.get('') ?? least;
  model.opsets.set('', from);
  runStage(
    normalization,
    {
      model,
      versions: new Map(),
      from,
      wanted: options.opset,
      bind: options.bind,
      report: options.report ?? (() => {}),
    },
    options.onPass,
  );
  checkOperands(model);
}

export const normalization: Stage<NormalizeContext> = {
  name: 'normalize',
  makes: 'one opset form, no functions, constants as initializers, shape arithmetic folded',
  tidies: false,
  dialect: true,
  // Nodes of several opsets together match no single table.
  verifiable: (c) => c.versions.size === 0,
  passes: [
    {
      name: 'inline-functions',
      why: 'bodies of functions become ordinary nodes before other passes visit nodes; each is recorded with the opset that it was written for',
      run: (c) => {
        c.versions = inlineFunctions(c.model);
      },
    },
    {
      name: 'default-inputs',
      why: 'inputs with a default, which training does not feed, become constants',
      run: ({ model }) => fixDefaults(model),
    },
    {
      name: 'constants',
      why: 'constants get one form before rules read their content',
      run: ({ model }) => constantsToInitializers(model),
    },
    {
      name: 'open-axes',
      why: 'open axes of inputs get a symbol each, so that what follows from them is known; placeholders such as "?" are no symbols',
      run: ({ model }) => nameOpenAxes(model),
    },
    {
      name: 'upgrade',
      why: 'operators are converted to one opset; types are inferred node by node meanwhile, because some old forms have a better rewrite for a known rank',
      run: (c) => {
        const { model } = c;
        const to = targetOpset(model, c);
        const infer = declarationChecker(model.graph, inferNode, c.report);
        upgradeModel(model, { rules: upgrades, from: c.from, to, versions: c.versions, infer });
        c.versions = new Map();
        standardize(model);
        model.opsets.set('', to);
        model.irVersion = Math.max(model.irVersion, irVersionOf(to));
        settle(model);
      },
    },
    {
      name: 'bind-inputs',
      why: 'inputs with a fixed value, such as empty caches, fix dims, which the next pass folds',
      when: { text: 'for training graphs', holds: (c) => c.bind !== undefined },
      run: ({ model, bind }) => {
        bind?.(model);
        settle(model);
      },
    },
    {
      name: 'fold-shapes',
      why: 'shape arithmetic on known dims becomes constants',
      run: ({ model }) => foldShapes(model),
    },
    {
      name: 'remove-dead',
      why: 'folding leaves unused nodes and domains',
      run: ({ model }) => {
        removeDead(model);
        dropUnusedDomains(model);
        for (const graph of model.graph.allGraphs()) {
          // Both refer to values by names that may no longer exist.
          graph.strayInfo.length = 0;
          graph.quantization.length = 0;
        }
      },
    },
  ],
};

/** Folding reveals branches whose condition is constant, and these reveal more to fold. */
function foldShapes(model: Model, most = usual): void {
  inferShapes(model.graph);
  let more: boolean;
  do {
    removeIdentities(model);
    removeEmptyParts(model);
    const unpacked = foldSequences(model, inferNode);
    more = fold(model, inferNode, most) || unpacked;
  } while (more);
  shareLengths(model);
  settle(model);
}

/** Folds dims of a normalized model that have become known since. In place. */
export function foldLengths(model: Model): void {
  foldShapes(model, ample);
  removeDead(model);
}

/** Adds constants that a step made to the graph, and makes names unique. */
const settle = (model: Model): void => model.graph.adopt();

/**
 * Operators whose forms came after `least`: an axis as an input, modes by other names; DequantizeLinear of 4 and 16
 * bits and in blocks, which was previously ONNX Runtime's own, and which the gradient of a packed weight reads.
 */
const needs: ReadonlyMap<string, number> = new Map([
  ['DFT', 20],
  ['STFT', 20],
  ['GridSample', 20],
  ['com.microsoft.MatMulNBits', 21],
  ['com.microsoft.QuantizeLinear', 21],
  ['com.microsoft.DequantizeLinear', 21],
]);

/** Replaces ONNX Runtime's own operators that the standard adopted unchanged or under another name. In place. */
function standardize(model: Model): void {
  for (const node of model.graph.allNodes()) {
    if (node.domain !== 'com.microsoft') continue;
    if (node.op === 'QuantizeLinear' || node.op === 'DequantizeLinear') node.domain = '';
    if (node.op === 'TransposeMatMul') node.op = 'FusedMatMul';
  }
}

function targetOpset(model: Model, { from, wanted, versions }: NormalizeContext): number {
  const sources = [from, ...versions.values()];
  const lowest = Math.min(...sources);
  if (lowest < opsets.oldest)
    throw unsupportedVersion(`the model uses opset ${lowest}; the oldest supported one is ${opsets.oldest}`);
  const since = (op: string): number => needs.get(op) ?? 0;
  const [operator] = [...model.graph.allNodes()].map(opKey).sort((a, b) => since(b) - since(a));
  const needed = Math.max(least, ...sources, needs.get(operator ?? '') ?? 0);
  if (wanted !== undefined && wanted < needed)
    throw opsetTooLow(
      `opset ${wanted} was requested, but the training graphs need at least ${needed}${needed > Math.max(least, ...sources) ? ` because of ${operator}` : ''}`,
    );
  const target = wanted ?? needed;
  if (target > opsets.newest)
    throw unsupportedVersion(`opset ${target} is newer than ${opsets.newest}, the newest that ONNX Runtime loads`, {
      hint: `leave --opset out, or give one of at most ${opsets.newest}`,
    });
  return target;
}

/**
 * The IR version that came with an opset, and at least 8: initializers need not be inputs.
 * https://onnx.ai/onnx/repo-docs/Versioning.html
 */
function irVersionOf(opset: number): number {
  const released: readonly (readonly [number, number])[] = [
    [25, 13],
    [24, 12],
    [23, 11],
    [21, 10],
    [19, 9],
  ];
  return released.find(([from]) => opset >= from)?.[1] ?? 8;
}

function dropUnusedDomains(model: Model): void {
  const used = new Set(['', ...[...model.graph.allNodes()].map((n) => n.domain)]);
  for (const domain of [...model.opsets.keys()]) if (!used.has(domain)) model.opsets.delete(domain);
}
