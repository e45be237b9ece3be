/**
 * The stages of a compile and the passes of each, in order. docs/explain/architecture.md prints these lists; `--dump`
 * writes the model after each pass that ran, `--timings` reports the duration of each.
 *
 * Longer than 300 lines because all passes should be readable in order in one place.
 */
import { createBuilder } from '../../graph/builder.ts';
import type { AdapterInputs } from '../../graph/choices/package.ts';
import type { HalfType } from '../../graph/rounding.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { adapt } from '../adapt/adapt.ts';
import { type Saved, trainModulesToSave } from '../adapt/modulesToSave.ts';
import { subtractInitial } from '../adapt/residualWeights.ts';
import { absorbBiases } from '../canonicalize/absorbBiases.ts';
import { canonicalize } from '../canonicalize/adaptedForm.ts';
import { compactGelu } from '../canonicalize/gelu.ts';
import { groupHeads } from '../canonicalize/groupedHeads.ts';
import { plainGroupedQueries } from '../canonicalize/groupedQueries.ts';
import { joinLayers } from '../canonicalize/joined.ts';
import { compactNorms } from '../canonicalize/norms.ts';
import { compactSilu } from '../canonicalize/silu.ts';
import { splitSlices } from '../canonicalize/sliceToSplit.ts';
import type { Condition, Pass, PassContext, Stage } from '../common/pass.ts';
import type { NearMisses } from '../common/patternSearch.ts';
import { type Target, takesFused } from '../common/target.ts';
import { withoutDropout } from '../dialect/dropout.ts';
import { addHead, valueNamed } from '../head/addHead.ts';
import { cutBehind } from '../head/cutBehind.ts';
import type { HeadPlan } from '../head/plan.ts';
import { lowerDropout, masksFirst } from '../lower/dropoutMask.ts';
import { exposeAdapters } from '../lower/exposeAdapters.ts';
import { lowerModelGraph } from '../lower/modelGraph.ts';
import { lowerTraining } from '../lower/trainingGraph.ts';
import { removeIdentities } from '../normalize/cleanup.ts';
import { hoistWeights } from '../normalize/hoistWeights.ts';
import { foldLengths, normalization } from '../normalize/index.ts';
import { mergeCommonSubexpressions } from '../optimize/commonSubexpressions.ts';
import { dequantizeLate } from '../optimize/dequantizeLate.ts';
import { flattenRows, joinReshapes } from '../optimize/flattenRows.ts';
import { inferLengths, knownReshapes } from '../optimize/foldReshapes.ts';
import { fuseFactors, fuseSums, fuseTransposes } from '../optimize/fuseTransposes.ts';
import { halfActivations } from '../optimize/halfActivations.ts';
import { rematerialize } from '../optimize/rematerialize.ts';
import { joinFactors, moveRowFactors } from '../optimize/rowFactors.ts';
import { runFirst, schedule } from '../optimize/schedule.ts';
import { softmaxGradientSums } from '../optimize/softmaxGradient.ts';
import { computesIn, narrowsActivations } from '../precision/computesIn.ts';
import { halfProducts } from '../precision/halfProducts.ts';
import { roundWeights, type Stored } from '../precision/halfWeights.ts';
import { widenMissingKernels } from '../precision/missingKernels.ts';
import { columnVectors } from '../providers/columnVectors.ts';
import { padAllAxes } from '../providers/padAxes.ts';
import { providerGaps, replaceMissing } from '../providers/replacements.ts';
import { splitWideNodes } from '../providers/splitWideNodes.ts';
import type { Chosen } from '../select/candidates.ts';
import type { Parameter } from '../select/parameters.ts';
import { inferNode, inferShapes } from '../shapes/index.ts';
import { type FixContext, substituteLengths } from './fixedLengths/substitute.ts';
import { evaluate, type ForwardContext, type GraphContext } from './forward.ts';
import { differentiate, trimInterface } from './gradientGraph.ts';
import { type ScanContext, scanSteps, stepBody } from './scanGraph.ts';
import { addOptimizer, optimizerAlone, type StepContext, type UpdateContext } from './stepGraph.ts';

// ---------------------------------------------------------------- the source with a head

/** The source and the head that it gets. */
export interface HeadContext extends PassContext {
  readonly plan: HeadPlan;
}

export const heading: Stage<HeadContext> = {
  name: 'head',
  makes: 'the source with the head of --head: it is what is compiled, kept in the package and merged',
  tidies: false,
  dialect: false,
  passes: [
    {
      name: 'cut-behind',
      why: 'a classifier that the head replaces is no layer any more: the value that the head reads becomes the output',
      when: { text: 'if the head reads a value that is no output', holds: ({ plan }) => plan.input !== plan.replaced },
      run: ({ model: { graph }, plan }) => {
        const replaced = graph.outputs.find((o) => o.name === plan.replaced);
        const value = valueNamed(graph, plan.input);
        if (value !== undefined && replaced !== undefined) cutBehind(graph, value, replaced);
      },
    },
    {
      name: 'add-head',
      why: 'pooling and a new Linear take the place of the output; runs before layers are selected, so that the head is a module like any other',
      run: ({ model, plan }) => {
        addHead(model, plan);
      },
    },
  ],
};

// ---------------------------------------------------------------- the adapted model

/** The source, the chosen layers, and the results of the passes. */
export interface AdaptContext extends PassContext {
  readonly chosen: readonly Chosen[];
  /** modules_to_save: their parameters, and the tensors for them from an adapter. */
  readonly parameters: readonly Parameter[];
  readonly content: ((p: Parameter) => Tensor | undefined) | undefined;
  readonly halfType: HalfType | undefined;
  /** Weights of modules_to_save in the order of the state. */
  saved: readonly Saved[];
  /** The weights that were rounded. */
  stored: Stored | undefined;
}

const modulesToSave: Pass<AdaptContext> = {
  name: 'modules-to-save',
  why: 'each parameter of modules_to_save gets an initializer that only its module reads; runs before nodes change',
  when: { text: 'with modules_to_save', holds: (c) => c.parameters.length > 0 },
  run: (c) => {
    c.saved = trainModulesToSave(c.model, c.parameters, c.content);
  },
};

const adaptLayers: Pass<AdaptContext> = {
  name: 'adapt',
  why: 'each adapted layer becomes one node, so that later passes need no pattern to find its branch',
  run: (c) => {
    adapt(c.model, c.chosen);
  },
};

export const adaptation: Stage<AdaptContext> = {
  name: 'adapt',
  makes: 'the source with one dialect node for each use of an adapted weight',
  tidies: false,
  dialect: true,
  passes: [
    modulesToSave,
    {
      name: 'residual-weights',
      why: 'PiSSA and OLoRA replace W by W - s·A·B',
      when: {
        text: 'with an --init that changes the base weights',
        holds: (c) => c.chosen.some((l) => l.changed !== undefined),
      },
      run: (c) => {
        subtractInitial(c.model, c.chosen);
      },
    },
    adaptLayers,
    {
      name: 'half-weights',
      why: 'frozen weights are rounded once, for all graphs',
      when: { text: 'with --precision fp16 or bf16', holds: (c) => c.halfType !== undefined },
      run: (c) => {
        if (c.halfType !== undefined) c.stored = roundWeights(c.model, c.halfType);
      },
    },
  ],
};

const lowerBranches: Pass<PassContext> = {
  name: 'lower-branches',
  why: 'dialect nodes are replaced by plain operators',
  run: ({ model }) => {
    lowerModelGraph(model);
    // Initializers that are not inputs exist since IR 4.
    model.irVersion = Math.max(model.irVersion, 4);
  },
};

export const modelGraph: Stage<PassContext> = {
  name: 'model',
  makes: 'model.onnx: operators and opset of the source, with a low-rank branch added to each base operator',
  tidies: false,
  dialect: false,
  passes: [lowerBranches],
};

/** The context of an export that contains its adapter. */
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
      why: 'A and B become inputs, and a strength input scales the branches, if the export options select it',
      run: (c) => {
        const layers = c.chosen.map((l) => l.layer);
        c.strengthName = exposeAdapters(c.model, layers, c.inputs, c.strength);
      },
    },
  ],
};

// ---------------------------------------------------------------- one form for all training graphs

/** The context in which a normalized model becomes the prepared forward. */
export interface PrepareContext extends PassContext {
  readonly target: Target;
  readonly stored: HalfType | undefined;
  readonly dropout: number;
  /** Collects subgraphs that almost match a pattern. */
  readonly misses: NearMisses | undefined;
  /** Operators that compute in another type than the model declares, with the reason: a sentence each. */
  readonly notes: string[];
}

const isOn = (target: Target): Condition<{ readonly target: Target }> => ({
  text: `for ${target === 'cuda' ? 'CUDA' : target === 'webgpu' ? 'WebGPU' : target}`,
  holds: (c) => c.target === target,
});
const onCuda = isOn('cuda');

/** Runs a pass over one graph on the main graph and on every body. */
const everywhere =
  (run: (graph: PassContext['model']['graph'], c: PrepareContext) => void) =>
  (c: PrepareContext): void => {
    for (const graph of [...c.model.graph.allGraphs()]) run(graph, c);
  };

const builderOf = ({ model }: PassContext) => createBuilder(inferNode, model.graph.inputs);

export const canonicalization: Stage<PrepareContext> = {
  name: 'canonicalize',
  makes: 'the forward of all training graphs: float32 where kernels are missing, one form of each dialect node',
  tidies: true,
  dialect: true,
  passes: [
    {
      name: 'hoist-weights',
      why: 'weights of bodies move to the main graph, where slices of the state can replace them',
      run: ({ model }) => {
        hoistWeights(model.graph);
        inferShapes(model.graph);
      },
    },
    {
      name: 'grouped-queries',
      why: 'ONNX Runtime refuses or cannot run some forms of GroupQueryAttention without a cache; runs before types, because its nodes may need other ones',
      run: (c) => {
        plainGroupedQueries(c.model.graph, builderOf(c));
      },
    },
    {
      name: 'missing-kernels',
      why: 'operators without a CPU kernel for their type compute in float32; runs before other passes add nodes',
      run: ({ model, stored, target, notes }) => {
        const widened = widenMissingKernels(model, stored);
        if (widened.length > 0) {
          // Casts between two types that are now equal.
          removeIdentities(model);
          inferShapes(model.graph);
        }
        // Operators that the target runs on the CPU are reported as they are in the source.
        notes.push(...widened, ...providerGaps(model, target));
      },
    },
    {
      name: 'adapted-form',
      why: 'adapted layers get one training form: weight on the right, activations in rows, dropout on the input of the branch',
      run: (c) => {
        canonicalize(c.model.graph, builderOf(c), c.dropout);
      },
    },
    {
      name: 'grouped-heads',
      why: 'grouped-query attention reads its keys and values directly instead of repeated copies',
      run: (c) => {
        groupHeads(c.model.graph, builderOf(c), c.misses);
      },
    },
    {
      name: 'absorb-biases',
      why: 'a bias behind an adapted layer becomes the C of its node, which Gemm adds at no cost',
      inserts: true,
      run: everywhere((graph) => absorbBiases(graph)),
    },
    {
      name: 'slices-to-split',
      why: 'Slices that cut a value into all of its parts become one Split, whose gradient is one Concat instead of a sum of Pads',
      inserts: true,
      run: everywhere((graph) => {
        splitSlices(graph);
      }),
    },
    {
      name: 'norms',
      why: 'normalizations in several nodes get one gradient rule, or the fused operator if the provider has it',
      inserts: true,
      run: everywhere((graph, c) => compactNorms(graph, takesFused(c.target), c.misses)),
    },
    {
      name: 'silu',
      why: 'x·sigmoid(x) gets one gradient rule',
      inserts: true,
      run: everywhere((graph, c) => compactSilu(graph, c.misses)),
    },
    {
      name: 'gelu',
      why: 'GELU in several nodes gets one gradient rule, or the fused operator if the provider has it',
      inserts: true,
      run: everywhere((graph, c) => {
        compactGelu(graph, takesFused(c.target), c.misses);
      }),
    },
    {
      name: 'half-matmuls',
      why: 'MatMuls with rounded weights compute in half precision if the provider has kernels for it',
      when: {
        text: 'with --precision, if only MatMuls compute in half precision',
        holds: ({ stored, target }) =>
          stored !== undefined && !narrowsActivations(target) && computesIn(stored, target) === stored,
      },
      run: ({ model, stored }) => {
        if (stored !== undefined) halfProducts(model.graph, stored);
      },
    },
    {
      name: 'infer-shapes',
      why: 'the choice of the loss depends on shapes',
      run: ({ model }) => inferShapes(model.graph),
    },
  ],
};

export const joining: Stage<PrepareContext> = {
  name: 'join',
  makes: 'the prepared forward, with layers that read the same value joined',
  tidies: true,
  dialect: true,
  passes: [
    {
      name: 'join-layers',
      why: 'layers that read the same value, such as query, key and value, become one MatMul; runs after the loss is chosen among the values of the source',
      when: onCuda,
      run: ({ model }) => joinLayers(model.graph),
    },
  ],
};

export const fixing: Stage<FixContext> = {
  name: 'fix-lengths',
  makes: 'the prepared forward with numbers for the symbols that --batch, --seq and --dim refer to',
  tidies: true,
  dialect: true,
  passes: [
    {
      name: 'substitute',
      why: 'symbols in input shapes become numbers',
      run: substituteLengths,
    },
    {
      name: 'fold-shapes',
      why: 'shape arithmetic on these numbers becomes constants',
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
const whereFixed: Condition<GraphContext> = { text: 'with --batch, --seq or --dim', holds: (c) => c.fixed };
const narrows = ({ target, stored }: GraphContext): boolean => narrowsActivations(target) && stored !== undefined;

/** Lowers a graph with dialect nodes to plain operators in the forms that the target runs fast. */
const finishingPasses: readonly Pass<GraphContext>[] = [
  {
    name: 'fold-shapes',
    why: 'gradient rules add shape arithmetic, which is constant with fixed dims',
    when: whereFixed,
    run: ({ model }) => foldLengths(model),
  },
  {
    name: 'lower-layers',
    why: 'adapted and joined layers become Gemm and MatMul with slices of the state; all later passes see plain operators only',
    run: ({ model, g }) => lowerTraining(model.graph, g),
  },
  {
    name: 'pad-axes',
    why: 'Pads list all axes instead of an axes input, because ONNX Runtime moves Transposes past a Pad as if it had none',
    run: ({ model, g }) => padAllAxes(model.graph, g),
  },
  {
    name: 'column-vectors',
    why: 'MatMuls with one column get a form into which ONNX Runtime does not wrongly fuse a Transpose',
    run: ({ model, g }) => columnVectors(model.graph, g),
  },
  {
    name: 'provider-forms',
    why: 'operators without a kernel on the target are replaced by operators that have one',
    run: ({ model, target }) => replaceMissing(model, target),
  },
  {
    name: 'known-reshapes',
    why: 'the shape of a Reshape becomes a constant if it can be inferred, so that no node computes it',
    run: ({ model, g }) => knownReshapes(model.graph, g),
  },
  {
    name: 'common-subexpressions',
    why: 'gradient rules recompute values of the forward; equal nodes are merged',
    run: ({ model }) => mergeCommonSubexpressions(model.graph),
  },
  {
    name: 'flatten-rows',
    why: 'chains of operators are moved to [rows, width], so that the Reshapes around MatMuls cancel',
    when: notPortable,
    run: ({ model, g }) => flattenRows(model.graph, g),
  },
  {
    name: 'merge-flattened',
    why: 'two chains may flatten the same value; equal Reshapes are merged',
    when: notPortable,
    run: ({ model }) => mergeCommonSubexpressions(model.graph),
  },
  {
    name: 'join-reshapes',
    why: 'a Reshape of a Reshape becomes one Reshape',
    when: notPortable,
    run: ({ model }) => joinReshapes(model.graph),
  },
  {
    name: 'infer-lengths',
    why: 'a Reshape infers its one unknown dim, so that no activation is kept only for its shape',
    when: onCuda,
    run: ({ model, g }) => inferLengths(model.graph, g),
  },
  {
    name: 'softmax-gradient',
    why: 'the row sum of P·dP in the gradient of attention is computed from smaller tensors; runs before factors move, because it matches the nodes of the Softmax rule',
    when: notPortable,
    run: ({ model, g }) => softmaxGradientSums(model.graph, g),
  },
  {
    name: 'join-factors',
    why: 'a row factor and a scalar factor are merged: one pass over the tensor instead of two',
    when: notPortable,
    run: ({ model, g }) => {
      joinFactors(model.graph, g);
    },
  },
  {
    name: 'row-factors',
    why: 'a factor per row is moved to the side of a MatMul with fewer columns',
    when: {
      text: 'for CPU, CUDA and WebGPU, unless activations are half precision: probabilities without their factor exceed the range of float16',
      holds: (c) => notPortable.holds(c) && !narrows(c),
    },
    run: ({ model, g }) => moveRowFactors(model.graph, g),
  },
  {
    name: 'fuse-transposes',
    why: 'Transposes are fused into Gemm and FusedMatMul, which read operands transposed',
    when: onCuda,
    run: ({ model, g }) => {
      fuseTransposes(model.graph, g);
    },
  },
  {
    name: 'fuse-factors',
    why: 'scalar factors become the alpha of Gemm and FusedMatMul; runs after fuse-transposes, which makes most of them',
    when: onCuda,
    run: ({ model }) => {
      fuseFactors(model.graph);
    },
  },
  {
    name: 'half-activations',
    why: 'activations and gradients get the type of the rounded weights; all earlier passes see float32 only',
    when: { text: 'for CUDA with --precision', holds: narrows },
    run: ({ model, stored }) => {
      if (stored !== undefined) halfActivations(model.graph, stored);
    },
  },
  {
    name: 'fuse-sums',
    why: 'a matrix that is added to a Gemm becomes its C; runs after half-activations, which decides the type',
    when: onCuda,
    run: ({ model }) => fuseSums(model.graph),
  },
  {
    name: 'rematerialize',
    why: 'activations that are cheap to recompute are not kept; runs late, because costs depend on the final operators',
    when: onCuda,
    run: ({ model }) => rematerialize(model.graph),
  },
  {
    name: 'join-fixed-reshapes',
    why: 'with all dims known, more Reshapes can be merged',
    when: whereFixed,
    run: ({ model }) => joinReshapes(model.graph),
  },
  {
    name: 'lower-dropout',
    why: 'dropout masks become a hash in plain operators; runs late, so that no pass merges or moves its nodes',
    run: ({ model, g }) => {
      lowerDropout(model.graph, g);
    },
  },
  {
    name: 'schedule',
    why: 'ONNX Runtime derives its execution order from the file; nodes of the backward are placed right before their readers',
    when: onCuda,
    run: ({ model }) => schedule(model.graph),
  },
  {
    name: 'split-wide-nodes',
    why: 'WebGPU binds at most eight buffers to a kernel, so nodes with more inputs and outputs are split',
    when: isOn('webgpu'),
    run: ({ model, g }) => splitWideNodes(model.graph, g),
  },
  {
    name: 'dequantize-late',
    why: 'each DequantizeLinear is placed right before its reader, so that ONNX Runtime does not unpack all weights first; needs the final order',
    run: ({ model }) => dequantizeLate(model.graph),
  },
  {
    name: 'masks-first',
    why: 'each dropout mask is placed so that it is computed right before its reader runs; needs the final order',
    run: ({ model }) => masksFirst(model.graph),
  },
  {
    name: 'interface',
    why: 'unused inputs are removed',
    run: trimInterface,
  },
];

/** The passes shared by evaluation and gradient, as a separate stage for tests. */
export const finishing: Stage<GraphContext> = {
  name: 'finish',
  makes: 'plain operators, in forms and an order chosen for the target',
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
      why: 'dropout applies only to training',
      when: { text: 'with --dropout', holds: (c) => c.prepared.seeded },
      run: ({ model }) => withoutDropout(model.graph),
    },
    {
      name: 'loss',
      why: 'A and B become slices of the flat state, the loss is attached, the outputs are set',
      run: evaluate,
    },
    {
      name: 'join-layers',
      why: 'branches that read the same value with different masks now read one value',
      when: { text: 'with --dropout, for CUDA', holds: (c) => c.prepared.seeded && onCuda.holds(c) },
      run: ({ model }) => joinLayers(model.graph),
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
      why: 'reverse-mode differentiation from the loss to the state; unused gradients are not added to the graph',
      run: differentiate,
    },
    ...finishingPasses,
  ],
};

const lossFirst: Pass<StepContext> = {
  name: 'loss-first',
  why: 'the loss is ordered before the optimizer, so that the logits are not kept until the end',
  when: onCuda,
  run: ({ model, loss }) => runFirst(model.graph, loss),
};

export const step: Stage<StepContext> = {
  name: 'train',
  makes: 'train.onnx: the gradient graph followed by the optimizer',
  tidies: true,
  appends: true,
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
  appends: true,
  dialect: false,
  passes: [
    {
      name: 'optimizer',
      why: 'one step, which only accumulates its gradient if `lora_apply` is false',
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
  appends: true,
  dialect: false,
  passes: [
    {
      name: 'optimizer',
      why: 'clipping by the global norm, then AdamW or SGD on the flat state',
      run: optimizerAlone,
    },
  ],
};

/** All stages in the order of a compile, as printed in the documentation. */
export const stages = [
  heading,
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
