/**
 * The stages of a compile and the passes of each, in their order. docs/explain/architecture.md prints these lists; `--dump` writes the
 * model after each pass that ran, `--timings` shows how long each took.
 *
 * Longer than 300 lines because the order of all passes is to be read in one place.
 */
import { createBuilder } from '../../graph/builder.ts';
import type { AdapterInputs } from '../../graph/choices/package.ts';
import type { HalfType } from '../../graph/rounding.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { adapt } from '../adapt/adapt.ts';
import { type Saved, trainModulesToSave } from '../adapt/modulesToSave.ts';
import { rebase } from '../adapt/residualWeights.ts';
import { absorbBiases } from '../canonicalize/absorbBiases.ts';
import { canonicalize } from '../canonicalize/adaptedForm.ts';
import { compactGelu } from '../canonicalize/gelu.ts';
import { groupHeads } from '../canonicalize/groupedHeads.ts';
import { joinAdapted } from '../canonicalize/joined.ts';
import { compactNorms } from '../canonicalize/norms.ts';
import { compactSilu } from '../canonicalize/silu.ts';
import { splitSlices } from '../canonicalize/sliceToSplit.ts';
import type { Condition, Pass, PassContext, Stage } from '../common/pass.ts';
import type { NearMisses } from '../common/patternSearch.ts';
import { type Target, takesFused } from '../common/target.ts';
import { withoutDropout } from '../dialect/dropout.ts';
import { lowerDropout, masksFirst } from '../lower/dropoutMask.ts';
import { exposeAdapters } from '../lower/exposeAdapters.ts';
import { lowerBeside } from '../lower/modelGraph.ts';
import { lowerTraining } from '../lower/trainingGraph.ts';
import { removeIdentities } from '../normalize/cleanup.ts';
import { hoistWeights } from '../normalize/hoistWeights.ts';
import { foldLengths, normalization } from '../normalize/index.ts';
import { simplify } from '../optimize/commonSubexpressions.ts';
import { dequantizeLate } from '../optimize/dequantizeLate.ts';
import { joinReshapes, matrices } from '../optimize/flattenRows.ts';
import { inferLengths, knownReshapes } from '../optimize/foldReshapes.ts';
import { fuseFactors, fuseSums, fuseTransposes } from '../optimize/fuseTransposes.ts';
import { narrow } from '../optimize/halfActivations.ts';
import { computeAgain } from '../optimize/rematerialize.ts';
import { joinFactors, moveRowFactors } from '../optimize/rowFactors.ts';
import { runFirst, schedule } from '../optimize/schedule.ts';
import { smallSums } from '../optimize/softmaxGradient.ts';
import { computesIn, narrowsActivations } from '../precision/computesIn.ts';
import { halfProducts } from '../precision/halfProducts.ts';
import { type Stored, storeHalf } from '../precision/halfWeights.ts';
import { computable } from '../precision/missingKernels.ts';
import { columnVectors } from '../providers/columnVectors.ts';
import { wholePads } from '../providers/padAxes.ts';
import { otherForms, providerGaps } from '../providers/replacements.ts';
import { fewBuffers } from '../providers/splitWideNodes.ts';
import type { Chosen } from '../select/candidates.ts';
import type { Parameter } from '../select/parameters.ts';
import { inferNode, inferShapes } from '../shapes/index.ts';
import { type FixContext, substituteLengths } from './fixedLengths/substitute.ts';
import { evaluate, type ForwardContext, type GraphContext } from './forward.ts';
import { differentiate, trimInterface } from './gradientGraph.ts';
import { type ScanContext, scanSteps, stepBody } from './scanGraph.ts';
import { addOptimizer, optimizerAlone, type StepContext, type UpdateContext } from './stepGraph.ts';

// ---------------------------------------------------------------- the adapted model

/** The source, what was chosen in it, and what the passes find out. */
export interface AdaptContext extends PassContext {
  readonly chosen: readonly Chosen[];
  /** modules_to_save: their parameters, and the tensors that an adapter brings for them. */
  readonly parameters: readonly Parameter[];
  readonly content: ((p: Parameter) => Tensor | undefined) | undefined;
  readonly halfType: HalfType | undefined;
  /** Weights of modules_to_save in the order of the state. */
  saved: readonly Saved[];
  /** Weights that were rounded. */
  stored: Stored | undefined;
}

const modulesToSave: Pass<AdaptContext> = {
  name: 'modules-to-save',
  why: 'each parameter of modules_to_save gets an initializer that only its module reads, before nodes change',
  when: { text: 'with modules_to_save', holds: (c) => c.parameters.length > 0 },
  run: (c) => {
    c.saved = trainModulesToSave(c.model, c.parameters, c.content);
  },
};

const adaptLayers: Pass<AdaptContext> = {
  name: 'adapt',
  why: 'a layer keeps its identity in one node, so that no later pass has to find a branch by its pattern',
  run: (c) => {
    adapt(c.model, c.chosen);
  },
};

export const adaptation: Stage<AdaptContext> = {
  name: 'adapt',
  makes: 'the source with one dialect node for each use of a chosen weight',
  tidies: false,
  dialect: true,
  passes: [
    modulesToSave,
    {
      name: 'residual-weights',
      why: 'PiSSA and OLoRA start with W - s·A·B in the place of W',
      when: {
        text: 'with an --init that changes the base',
        holds: (c) => c.chosen.some((l) => l.changed !== undefined),
      },
      run: (c) => {
        rebase(c.model, c.chosen);
      },
    },
    adaptLayers,
    {
      name: 'half-weights',
      why: 'frozen weights are rounded once, for all graphs',
      when: { text: 'with --precision fp16 or bf16', holds: (c) => c.halfType !== undefined },
      run: (c) => {
        if (c.halfType !== undefined) c.stored = storeHalf(c.model, c.halfType);
      },
    },
  ],
};

const lowerBranches: Pass<PassContext> = {
  name: 'lower-branches',
  why: 'plain operators take the place of dialect nodes',
  run: ({ model }) => {
    lowerBeside(model);
    // Initializers without inputs exist since IR 4.
    model.irVersion = Math.max(model.irVersion, 4);
  },
};

export const modelGraph: Stage<PassContext> = {
  name: 'model',
  makes: 'model.onnx: operators and opset of the source, the low-rank branch beside each base operator',
  tidies: false,
  dialect: false,
  passes: [lowerBranches],
};

/** An export that carries its adapter. */
export interface ServeContext extends AdaptContext {
  readonly inputs: AdapterInputs;
  /** Whether a scalar input multiplies all branches. */
  readonly strength: boolean;
  /** The name of that input. */
  strengthName: string | undefined;
}

export const serving: Stage<ServeContext> = {
  name: 'serve',
  makes: 'an exported model with A and B as initializers or as inputs',
  tidies: false,
  dialect: false,
  passes: [
    modulesToSave,
    adaptLayers,
    lowerBranches,
    {
      name: 'expose-adapters',
      why: 'A and B become inputs, and branches are multiplied by the strength, where the export asks for it',
      run: (c) => {
        const layers = c.chosen.map((l) => l.layer);
        c.strengthName = exposeAdapters(c.model, layers, c.inputs, c.strength);
      },
    },
  ],
};

// ---------------------------------------------------------------- one form for all training graphs

/** A normalized model on its way to the prepared forward. */
export interface PrepareContext extends PassContext {
  readonly target: Target;
  readonly stored: HalfType | undefined;
  readonly dropout: number;
  /** Collects what nearly matched a pattern. */
  readonly misses: NearMisses | undefined;
  /** What computes in another type than the model has, and why: a sentence each. */
  readonly notes: string[];
}

const isOn = (target: Target): Condition<{ readonly target: Target }> => ({
  text: `for ${target === 'cuda' ? 'CUDA' : target === 'webgpu' ? 'WebGPU' : target}`,
  holds: (c) => c.target === target,
});
const onCuda = isOn('cuda');

/** Runs a pass that looks at one graph on the main graph and every body. */
const everywhere =
  (run: (graph: PassContext['model']['graph'], c: PrepareContext) => void) =>
  (c: PrepareContext): void => {
    for (const graph of [...c.model.graph.allGraphs()]) run(graph, c);
  };

const builderOf = ({ model }: PassContext) => createBuilder(inferNode, model.graph.inputs);

export const canonicalization: Stage<PrepareContext> = {
  name: 'canonicalize',
  makes:
    'the forward that every training graph is a copy of: float32 where kernels are missing, one form of each dialect node',
  tidies: true,
  dialect: true,
  passes: [
    {
      name: 'hoist-weights',
      why: 'weights of bodies move to the main graph, where the state can take their place',
      run: ({ model }) => {
        hoistWeights(model.graph);
        inferShapes(model.graph);
      },
    },
    {
      name: 'missing-kernels',
      why: 'types that the CPU provider has no kernel for are computed in float32, before any pass adds nodes of its own',
      run: ({ model, stored, target, notes }) => {
        const widened = computable(model, stored);
        if (widened.length > 0) {
          // Casts between two types that are one now.
          removeIdentities(model);
          inferShapes(model.graph);
        }
        // What the target runs on the CPU is reported for the source's own operators.
        notes.push(...widened, ...providerGaps(model, target));
      },
    },
    {
      name: 'adapted-form',
      why: 'one training form of Adapted: weight on the right, activations in rows, dropout on its input',
      run: (c) => {
        canonicalize(c.model.graph, builderOf(c), c.dropout);
      },
    },
    {
      name: 'grouped-heads',
      why: 'grouped-query attention multiplies with its keys and values instead of with copies of them',
      run: (c) => {
        groupHeads(c.model.graph, builderOf(c), c.misses);
      },
    },
    {
      name: 'absorb-biases',
      why: 'a bias behind an Adapted node becomes its C, which Gemm adds for nothing',
      run: everywhere((graph) => absorbBiases(graph)),
    },
    {
      name: 'slices-to-split',
      why: 'Slices that take a value apart become one Split, whose gradient is one Concat instead of a sum of Pads',
      run: everywhere((graph) => {
        splitSlices(graph);
      }),
    },
    {
      name: 'norms',
      why: 'normalizations that are written out get one gradient rule, or the fused operator where the provider has it',
      run: everywhere((graph, c) => compactNorms(graph, takesFused(c.target), c.misses)),
    },
    {
      name: 'silu',
      why: 'x·sigmoid(x) gets one gradient rule',
      run: everywhere((graph, c) => compactSilu(graph, c.misses)),
    },
    {
      name: 'gelu',
      why: 'GELU as exporters write it gets one gradient rule, or the fused operator where the provider has it',
      run: everywhere((graph, c) => {
        compactGelu(graph, takesFused(c.target), c.misses);
      }),
    },
    {
      name: 'half-matmuls',
      why: 'MatMuls of rounded weights compute in the half type where the provider has kernels for it',
      when: {
        text: 'with --precision, where only MatMuls compute in half precision',
        holds: ({ stored, target }) =>
          stored !== undefined && !narrowsActivations(target) && computesIn(stored, target) === stored,
      },
      run: ({ model, stored }) => {
        if (stored !== undefined) halfProducts(model.graph, stored);
      },
    },
    {
      name: 'infer-shapes',
      why: 'the loss is chosen by shapes',
      run: ({ model }) => inferShapes(model.graph),
    },
  ],
};

export const joining: Stage<PrepareContext> = {
  name: 'join',
  makes: 'the prepared forward with layers that read one value joined',
  tidies: true,
  dialect: true,
  passes: [
    {
      name: 'join-layers',
      why: 'query, key and value become one MatMul, after the loss was chosen among the values of the source',
      when: onCuda,
      run: ({ model }) => joinAdapted(model.graph),
    },
  ],
};

export const fixing: Stage<FixContext> = {
  name: 'fix-lengths',
  makes: 'the prepared forward with numbers for the symbols that --batch, --seq and --dim name',
  tidies: true,
  dialect: true,
  passes: [
    {
      name: 'substitute',
      why: 'symbols of inputs become numbers',
      run: substituteLengths,
    },
    {
      name: 'fold-shapes',
      why: 'shape arithmetic is constant now',
      run: ({ model }) => {
        foldLengths(model);
        inferShapes(model.graph);
      },
    },
  ],
};

// ---------------------------------------------------------------- finishing a graph

const notPortable: Condition<GraphContext> = {
  text: 'for CPU, CUDA and WebGPU',
  holds: (c) => c.target !== 'portable',
};
const whereFixed: Condition<GraphContext> = { text: 'where lengths are fixed', holds: (c) => c.fixed };
const narrows = ({ target, stored }: GraphContext): boolean => narrowsActivations(target) && stored !== undefined;

/** From a graph with dialect nodes to one of plain operators that the target runs fast. */
const finishingPasses: readonly Pass<GraphContext>[] = [
  {
    name: 'fold-shapes',
    why: 'the gradient asks for lengths again, which are numbers here',
    when: whereFixed,
    run: ({ model }) => foldLengths(model),
  },
  {
    name: 'lower-layers',
    why: 'Adapted and Joined become Gemm and MatMul with slices of the state; every later pass sees plain operators',
    run: ({ model, g }) => lowerTraining(model.graph, g),
  },
  {
    name: 'pad-axes',
    why: 'Pad names all axes, because ONNX Runtime reads its axes input wrongly in places',
    run: ({ model, g }) => wholePads(model.graph, g),
  },
  {
    name: 'column-vectors',
    why: 'products with one column are written so that ONNX Runtime does not fuse a Transpose into them wrongly',
    run: ({ model, g }) => columnVectors(model.graph, g),
  },
  {
    name: 'provider-forms',
    why: 'operators without a kernel on the target are written with those that have one',
    run: ({ model, target }) => otherForms(model, target),
  },
  {
    name: 'known-reshapes',
    why: 'targets of Reshape that inference knows become constants, so that no node has to compute them',
    run: ({ model, g }) => knownReshapes(model.graph, g),
  },
  {
    name: 'common-subexpressions',
    why: 'a gradient rule may ask for what the forward has computed',
    run: ({ model }) => simplify(model.graph),
  },
  {
    name: 'flatten-rows',
    why: 'chains of operators work on [rows, width]: the Reshapes around MatMuls meet and cancel',
    when: notPortable,
    run: ({ model, g }) => matrices(model.graph, g),
  },
  {
    name: 'merge-flattened',
    why: 'two chains may flatten one value',
    when: notPortable,
    run: ({ model }) => simplify(model.graph),
  },
  {
    name: 'join-reshapes',
    why: 'a Reshape of a Reshape is one',
    when: notPortable,
    run: ({ model }) => joinReshapes(model.graph),
  },
  {
    name: 'infer-lengths',
    why: 'a Reshape computes its one unknown dimension itself, so that no activation is kept for its shape',
    when: onCuda,
    run: ({ model, g }) => inferLengths(model.graph, g),
  },
  {
    name: 'softmax-gradient',
    why: 'the row sum of P·dP comes from smaller tensors; it looks for the rule of Softmax as written, so before factors move',
    when: notPortable,
    run: ({ model, g }) => smallSums(model.graph, g),
  },
  {
    name: 'join-factors',
    why: 'two scalar factors are one pass over a tensor',
    when: notPortable,
    run: ({ model, g }) => {
      joinFactors(model.graph, g);
    },
  },
  {
    name: 'row-factors',
    why: 'a factor per row moves to the narrow side of a MatMul',
    when: {
      text: 'for CPU, CUDA and WebGPU, unless activations are half precision: without their factor probabilities leave the range of float16',
      holds: (c) => notPortable.holds(c) && !narrows(c),
    },
    run: ({ model, g }) => moveRowFactors(model.graph, g),
  },
  {
    name: 'fuse-transposes',
    why: 'FusedMatMul reads its operands transposed',
    when: onCuda,
    run: ({ model, g }) => {
      fuseTransposes(model.graph, g);
    },
  },
  {
    name: 'fuse-factors',
    why: 'scalar factors become the alpha of MatMuls that the pass before has given one',
    when: onCuda,
    run: ({ model }) => {
      fuseFactors(model.graph);
    },
  },
  {
    name: 'half-activations',
    why: 'activations and gradients have the type of the rounded weights; all passes before see float32 alone',
    when: { text: 'for CUDA with --precision', holds: narrows },
    run: ({ model, stored }) => {
      if (stored !== undefined) narrow(model.graph, stored);
    },
  },
  {
    name: 'fuse-sums',
    why: 'a matrix that is added to a MatMul becomes the C of Gemm, in whichever type the MatMul has now',
    when: onCuda,
    run: ({ model }) => fuseSums(model.graph),
  },
  {
    name: 'rematerialize',
    why: 'activations that are cheap to compute again are not kept; it needs the graph that will run',
    when: onCuda,
    run: ({ model }) => computeAgain(model.graph),
  },
  {
    name: 'join-fixed-reshapes',
    why: 'with all lengths known more Reshapes meet',
    when: whereFixed,
    run: ({ model }) => joinReshapes(model.graph),
  },
  {
    name: 'lower-dropout',
    why: 'masks become a hash in plain operators, late, so that no pass merges or moves their parts',
    run: ({ model, g }) => {
      lowerDropout(model.graph, g);
    },
  },
  {
    name: 'schedule',
    why: 'ONNX Runtime runs nodes by their place in the file; nodes of the backward are due when their readers are',
    when: onCuda,
    run: ({ model }) => schedule(model.graph),
  },
  {
    name: 'split-wide-nodes',
    why: 'WebGPU binds at most eight buffers to a kernel',
    when: isOn('webgpu'),
    run: ({ model, g }) => fewBuffers(model.graph, g),
  },
  {
    name: 'dequantize-late',
    why: 'a DequantizeLinear right before its reader keeps ONNX Runtime from unpacking all weights first; needs the final order',
    run: ({ model }) => dequantizeLate(model.graph),
  },
  {
    name: 'masks-first',
    why: 'a dropout mask is made when its reader runs; needs the final order',
    run: ({ model }) => masksFirst(model.graph),
  },
  {
    name: 'interface',
    why: 'inputs that nothing reads are left out',
    run: trimInterface,
  },
];

/** The passes that evaluation and gradient share, as a stage of their own: for tests. */
export const finishing: Stage<GraphContext> = {
  name: 'finish',
  makes: 'plain operators, in the forms and in the order that suit the target',
  tidies: true,
  dialect: false,
  passes: finishingPasses,
};

export const evaluation: Stage<ForwardContext> = {
  name: 'eval',
  makes: 'eval.onnx: forward and loss',
  tidies: true,
  dialect: false,
  passes: [
    {
      name: 'without-dropout',
      why: 'evaluation has no masks',
      when: { text: 'with --dropout', holds: (c) => c.prepared.seeded },
      run: ({ model }) => withoutDropout(model.graph),
    },
    {
      name: 'loss',
      why: 'A and B are read from the flat state, the loss is attached, the outputs are set',
      run: evaluate,
    },
    {
      name: 'join-layers',
      why: 'branches whose inputs differed by their masks read one value now',
      when: { text: 'with --dropout, for CUDA', holds: (c) => c.prepared.seeded && onCuda.holds(c) },
      run: ({ model }) => joinAdapted(model.graph),
    },
    ...finishingPasses,
  ],
};

export const gradient: Stage<ForwardContext> = {
  name: 'grad',
  makes: 'grad.onnx: forward, loss and the gradient of the flat state',
  tidies: true,
  dialect: false,
  passes: [
    {
      name: 'differentiate',
      why: 'reverse mode from the loss to the state; gradients that nothing asks for are never part of the graph',
      run: differentiate,
    },
    ...finishingPasses,
  ],
};

const lossFirst: Pass<StepContext> = {
  name: 'loss-first',
  why: 'the loss runs before the optimizer, or the logits would be kept until the end',
  when: onCuda,
  run: ({ model, loss }) => runFirst(model.graph, loss),
};

export const step: Stage<StepContext> = {
  name: 'train',
  makes: 'train.onnx: the gradient graph with the optimizer behind it',
  tidies: true,
  dialect: false,
  passes: [
    {
      name: 'optimizer',
      why: 'clipping by the global norm, then AdamW or SGD on the flat state',
      run: addOptimizer,
    },
    lossFirst,
  ],
};

export const scan: Stage<ScanContext> = {
  name: 'train_k',
  makes: 'train_k.onnx: K steps in one run',
  tidies: true,
  dialect: false,
  passes: [
    {
      name: 'optimizer',
      why: 'one step, which only adds its gradient where `lora_apply` is false',
      run: stepBody,
    },
    lossFirst,
    {
      name: 'scan',
      why: 'the step becomes the body of a Scan over batches',
      run: scanSteps,
    },
  ],
};

export const update: Stage<UpdateContext> = {
  name: 'update',
  makes: 'update.onnx: the optimizer alone',
  tidies: true,
  dialect: false,
  passes: [
    {
      name: 'optimizer',
      why: 'clipping by the global norm, then AdamW or SGD on the flat state',
      run: optimizerAlone,
    },
  ],
};

/** All stages in the order of a compile: what the documentation prints. */
export const stages = [
  adaptation,
  modelGraph,
  normalization,
  canonicalization,
  joining,
  fixing,
  evaluation,
  gradient,
  step,
  scan,
  update,
  serving,
] as const;
