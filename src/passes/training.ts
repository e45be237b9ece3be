/**
 * The training graphs out of an adapted model: forward and loss, gradients of A and B, optimizer, as one step, as its two halves,
 * and as a Scan over K steps. Each is built on a copy of the normalized forward graph.
 */
import { badOption } from '../errors.ts';
import { type Builder, createBuilder } from '../graph/builder.ts';
import { cloneModel } from '../graph/clone.ts';
import { freshName, Graph, type Layer, type Model, tensorType, Value } from '../graph/model.ts';
import { inlineBytes } from '../graph/tensor.ts';
import { gradients } from './autodiff/index.ts';
import { canonicalize } from './canonical.ts';
import { type Attached, attachLoss, type LossOptions } from './loss.ts';
import { type ChosenLoss, chooseLoss, type LossChoiceOptions } from './lossChoice.ts';
import { lowerTraining } from './lowerTraining.ts';
import { normalize } from './normalize/index.ts';
import { type OptimizerOptions, optimizerStep, type State, type Update } from './optimizer.ts';
import { inferNode, inferShapes } from './shapes.ts';
import { simplify } from './simplify.ts';
import { pack, type StateLayout, stateLayout, unpack } from './state.ts';
import { verify } from './verify.ts';

export const trainingGraphs = ['train', 'train_k', 'eval', 'grad', 'update'] as const;
export type TrainingGraph = (typeof trainingGraphs)[number];

export interface TrainingOptions {
  readonly choice: LossChoiceOptions;
  readonly loss: LossOptions;
  readonly optimizer: OptimizerOptions;
  /** Of the training graphs; undefined: the source's, at least 18. */
  readonly opset: number | undefined;
  /** Called with a name and the model after each pass. */
  readonly trace?: (pass: string, model: Model) => void;
}

/** Final names of inputs and outputs, where a source that uses one already forced a suffix. */
export type Names = Readonly<Record<ReservedName, string>>;
const reserved = [
  'lora_params',
  'lora_m',
  'lora_v',
  'lora_step',
  'lora_lr',
  'lora_grad',
  'lora_apply',
  'labels',
  'loss',
  'weight',
  'grad_norm',
] as const;
type ReservedName = (typeof reserved)[number];

/** The normalized forward graph with canonical Adapted nodes, its loss and state: what every training graph is a copy of. */
export interface Prepared {
  readonly model: Model;
  readonly layout: StateLayout;
  readonly names: Names;
  readonly options: TrainingOptions;
  readonly choice: {
    readonly kind: ChosenLoss['kind'];
    readonly output: string;
    readonly tensor: string;
    readonly reason: string;
    readonly classAxis: number;
  };
}

/** `adapted` is left as it is. Throws where normalization, shapes or the loss do not allow training. */
export function prepare(adapted: Model, layers: readonly Layer[], options: TrainingOptions): Prepared {
  const { model } = cloneModel(adapted);
  const trace = options.trace ?? (() => {});
  normalize(model, options.opset === undefined ? {} : { opset: options.opset });
  trace('normalize', model);
  inferShapes(model.graph);
  canonicalize(model.graph, createBuilder(inferNode, model.graph.inputs));
  model.graph.adopt();
  inferShapes(model.graph);
  verify(model, { internal: true });
  trace('canonicalize', model);
  const chosen = chooseLoss(model.graph, options.choice);
  const names = finalNames(model.graph, chosen);
  return {
    model,
    layout: stateLayout(layers),
    names,
    options,
    choice: {
      kind: chosen.kind,
      output: chosen.output.name,
      tensor: chosen.tensor.name,
      reason: chosen.reason,
      classAxis: chosen.classAxis,
    },
  };
}

function finalNames(graph: Graph, chosen: ChosenLoss): Names {
  const taken = new Set(
    [...graph.inputs, ...graph.outputs, ...graph.initializers, ...[...graph.allNodes()].flatMap((n) => n.outputs)].map(
      (v) => v.name,
    ),
  );
  const name = (wanted: string): string => {
    const free = freshName(wanted, taken);
    taken.add(free);
    return free;
  };
  const labels = chosen.kind === 'external' ? `d_${chosen.output.name}` : 'labels';
  const entries = reserved.map((r) => [r, name(r === 'labels' ? labels : r)] as const);
  return {
    lora_params: '',
    lora_m: '',
    lora_v: '',
    lora_step: '',
    lora_lr: '',
    lora_grad: '',
    lora_apply: '',
    labels: '',
    loss: '',
    weight: '',
    grad_norm: '',
    ...Object.fromEntries(entries),
  };
}

/** A forward with loss on its own copy of the graph, ready for gradients or outputs. */
interface Forward {
  readonly model: Model;
  readonly graph: Graph;
  readonly g: Builder;
  readonly params: Value;
  readonly tensors: ReadonlyMap<string, Value>;
  readonly attached: Attached;
}

const vector = (name: string, layout: StateLayout): Value => new Value(name, tensorType('float32', [layout.size]));
const scalarInput = (name: string): Value => new Value(name, tensorType('float32', []));

function forward(p: Prepared): Forward {
  const { model } = cloneModel(p.model);
  const { graph } = model;
  const g = createBuilder(inferNode, graph.inputs);
  const params = vector(p.names.lora_params, p.layout);
  const tensors = unpack(g, p.layout, params);
  for (const node of graph.nodes)
    node.inputs.forEach((v, i) => {
      const state = v?.tensor === undefined ? undefined : tensors.get(v.name);
      if (state !== undefined) node.setInput(i, state);
    });
  // Unpacking precedes everything; it joins through adopt.
  const chosen = chooseLoss(graph, { ...p.options.choice, lossOutput: p.choice.output });
  const attached = attachLoss(g, chosen, p.options.loss, p.names.labels);
  return { model, graph, g, params, tensors, attached };
}

function gradientOf(f: Forward, p: Prepared): Value {
  const found = gradients({ g: f.g, seeds: [f.attached.seed], wrt: [...f.tensors.values()] });
  const byName = new Map(
    [...f.tensors].flatMap(([name, v]) => (found.has(v) ? [[name, found.get(v) ?? v] as const] : [])),
  );
  return pack(f.g, p.layout, byName);
}

const stateInputs = (p: Prepared, params: Value): State => ({
  params,
  m: vector(p.names.lora_m, p.layout),
  v: p.options.optimizer.kind === 'adamw' ? vector(p.names.lora_v, p.layout) : undefined,
  step: scalarInput(p.names.lora_step),
});

const stateValues = (s: State): Value[] => [s.params, s.m, ...(s.v === undefined ? [] : [s.v]), s.step];

/** Gives values output names; a value that has one already, or is an input, is handed out through Identity. */
function named(g: Builder, entries: readonly (readonly [string, Value])[]): Value[] {
  const used = new Set<Value>();
  return entries.map(([name, v]) => {
    const fixed = v.producer === undefined || used.has(v);
    const out = fixed ? g.Identity(v) : v;
    out.name = name;
    used.add(out);
    return out;
  });
}

const nextEntries = (p: Prepared, next: State): [string, Value][] => [
  [`${p.names.lora_params}_next`, next.params],
  [`${p.names.lora_m}_next`, next.m],
  ...(next.v === undefined ? [] : [[`${p.names.lora_v}_next`, next.v] as [string, Value]]),
  [`${p.names.lora_step}_next`, next.step],
];

/** Outputs set, Adapted nodes lowered, equal nodes merged, unused inputs dropped, order made. */
function finish(
  f: { model: Model; graph: Graph; g: Builder },
  extra: readonly Value[],
  outputs: readonly Value[],
  keep: ReadonlySet<Value> = new Set(),
): void {
  const { graph, g, model } = f;
  graph.outputs.length = 0;
  graph.outputs.push(...outputs);
  graph.adopt();
  lowerTraining(graph, g);
  graph.adopt();
  simplify(graph);
  graph.adopt();
  const read = new Set<Value>(graph.outputs);
  for (const n of graph.allNodes()) for (const v of n.inputs) if (v !== undefined) read.add(v);
  for (const n of graph.allNodes()) for (const b of n.bodies) for (const v of b.outputs) read.add(v);
  const inputs = [...graph.inputs, ...extra].filter((v) => read.has(v) || keep.has(v));
  graph.inputs.length = 0;
  graph.inputs.push(...inputs);
  graph.strayInfo.length = 0;
  model.functions = [];
  verify(model);
}

function buildEval(p: Prepared): Model {
  const f = forward(p);
  const external = p.choice.kind === 'external';
  const own = [...f.graph.outputs];
  const results = named(f.g, [
    ...(external ? [] : [[p.names.loss, f.attached.loss] as const]),
    [p.names.weight, f.attached.weight],
  ]);
  finish(f, inputsOf(f), [...results, ...own.filter((o) => !results.includes(o)).map((o) => readable(f.g, o))]);
  return f.model;
}

/** bfloat16 cannot leave a graph in JavaScript. */
function readable(g: Builder, v: Value): Value {
  if (v.dtype !== 'bfloat16') return v;
  const wide = g.Cast(v, { to: 1 });
  wide.name = v.name;
  v.name = `${v.name}.bfloat16`;
  return wide;
}

const inputsOf = (f: Forward): Value[] => [...(f.attached.labels === undefined ? [] : [f.attached.labels]), f.params];

function lossEntry(f: Forward, p: Prepared): readonly (readonly [string, Value])[] {
  return p.choice.kind === 'external' ? [[p.choice.output, f.attached.loss]] : [[p.names.loss, f.attached.loss]];
}

function buildGrad(p: Prepared): Model {
  const f = forward(p);
  const grad = gradientOf(f, p);
  finish(
    f,
    inputsOf(f),
    named(f.g, [...lossEntry(f, p), [p.names.weight, f.attached.weight], [p.names.lora_grad, grad]]),
  );
  return f.model;
}

function buildTrain(p: Prepared): Model {
  const f = forward(p);
  const grad = gradientOf(f, p);
  const state = stateInputs(p, f.params);
  const lr = scalarInput(p.names.lora_lr);
  const { norm, next } = optimizerStep(f.g, grad, state, lr, p.options.optimizer);
  const inputs = [...(f.attached.labels === undefined ? [] : [f.attached.labels]), ...stateValues(state), lr];
  finish(
    f,
    inputs,
    named(f.g, [...lossEntry(f, p), [p.names.grad_norm, norm], ...nextEntries(p, next)]),
    new Set([...stateValues(state), lr]),
  );
  return f.model;
}

function emptyModel(like: Model, name: string): Model {
  const { model } = cloneModel({ ...like, graph: new Graph(name), functions: [] });
  return model;
}

function buildUpdate(p: Prepared): Model {
  const model = emptyModel(p.model, 'update');
  const g = createBuilder(inferNode);
  const grad = vector(p.names.lora_grad, p.layout);
  const state = stateInputs(p, vector(p.names.lora_params, p.layout));
  const lr = scalarInput(p.names.lora_lr);
  const { norm, next } = optimizerStep(g, grad, state, lr, p.options.optimizer);
  const inputs = [grad, ...stateValues(state), lr];
  finish(
    { model, graph: model.graph, g },
    inputs,
    named(g, [[p.names.grad_norm, norm], ...nextEntries(p, next)]),
    new Set(inputs),
  );
  return model;
}

/**
 * K steps as one Scan: state and the gradient gathered so far are carried, batches and learning rates are scanned. Weights stay
 * outside the body. A step whose `lora_apply` is false only adds its gradient, weighted by its element count.
 */
function buildTrainK(p: Prepared): Model {
  const f = forward(p);
  const { g, graph } = f;
  const grad = gradientOf(f, p);
  const state = stateInputs(p, f.params);
  const lr = scalarInput(p.names.lora_lr);
  const apply = new Value(p.names.lora_apply, tensorType('bool', []));
  const sum = vector('lora_gathered', p.layout);
  const count = scalarInput('lora_gathered_weight');

  const { weight } = f.attached;
  const gathered = g.within({ origin: 'gather', rule: 'train_k/gather' }, () => {
    const total = g.Add(count, weight);
    const sums = g.Add(sum, g.Mul(grad, weight));
    // Alone, a step's gradient stays what it is to the bit.
    const first = g.Equal(count, g.float(0));
    const safe = g.Where(g.Equal(total, g.float(0)), g.float(1), total);
    return { total, sums, mean: g.Where(first, grad, g.Div(sums, safe)) };
  });
  const { norm, next } = optimizerStep(g, gathered.mean, state, lr, p.options.optimizer);
  const kept = g.within({ origin: 'apply', rule: 'train_k/apply' }, () => choose(g, apply, { norm, next }, state));
  const rest = g.within({ origin: 'apply', rule: 'train_k/apply' }, () => [
    g.Where(apply, g.float(0), gathered.sums),
    g.Where(apply, g.float(0), gathered.total),
  ]);
  const scanned = [...graph.inputs];
  const labels = f.attached.labels === undefined ? [] : [f.attached.labels];
  const carried = [...stateValues(state), sum, count];
  const carriedNext = [...stateValues(kept), ...rest];
  const outputs = named(g, [
    ...carried.map((v, i) => [`${v.name}_out`, carriedNext[i] ?? v] as const),
    ...lossEntry(f, p),
    [p.names.grad_norm, norm],
  ]);
  const body = new Set([...carried, lr, apply]);
  finish(f, [...labels, ...carried, lr, apply], outputs, body);

  // Scan wants the carried values first, then the scanned ones.
  const perStep = graph.inputs.filter((v) => !carried.includes(v));
  const unused = scanned.filter((v) => !graph.inputs.includes(v));
  if (unused.length === scanned.length && scanned.length > 0 && perStep.length === 0)
    throw badOption('nothing to scan over');
  graph.inputs.length = 0;
  graph.inputs.push(...carried, ...perStep);

  const model = emptyModel(f.model, 'train_k');
  const outer = createBuilder(inferNode);
  const feeds = new Map<Value, Value>(
    [...stateValues(state), ...perStep].map((v) => {
      const shape = v.shape;
      const stacked = carried.includes(v) ? shape : shape === undefined ? undefined : ['K', ...shape];
      return [v, new Value(v.name, tensorType(v.dtype, stacked))];
    }),
  );
  // Names are unique over nested scopes: the body's own inputs step aside.
  for (const v of graph.inputs) v.name = `step.${v.name}`;
  for (const v of graph.outputs) v.name = `step.${v.name}`;
  const zero = outer.Expand(outer.float(0), outer.ints([p.layout.size]));
  const initial = [...stateValues(state).map((v) => feeds.get(v) ?? v), zero, outer.float(0)];
  const results = outer.node({
    op: 'Scan',
    inputs: [...initial, ...perStep.map((v) => feeds.get(v) ?? v)],
    attrs: { body: graph, num_scan_inputs: perStep.length },
    outputs: carried.length + outputs.length - carried.length,
  });
  const states = stateValues(state).length;
  const [loss, norms] = [results[carried.length], results[carried.length + 1]];
  const entries = [
    ...(loss === undefined ? [] : [[lossEntry(f, p)[0]?.[0] ?? p.names.loss, loss] as const]),
    ...(norms === undefined ? [] : [[p.names.grad_norm, norms] as const]),
    ...nextEntries(p, state).map(([name], i) => [name, results[i] ?? zero] as const),
  ];
  for (const v of results.slice(states, carried.length)) v.name = `${v.name}.rest`;
  model.graph.inputs.push(...feeds.values());
  model.graph.outputs.push(...named(outer, entries));
  // Frozen weights are captured from outside. Small constants stay: ONNX Runtime's optimizer looks for those of a pattern in the
  // graph of its nodes, and fuses a quantized Conv wrongly where it sees only some.
  const own = graph.initializers.splice(0);
  for (const v of own) ((v.tensor?.byteLength ?? 0) > inlineBytes ? model.graph : graph).initializers.push(v);
  graph.name = 'step';
  model.graph.adopt();
  inferShapes(model.graph);
  verify(model);
  return model;
}

/** New state where `apply` holds, the old one elsewhere. */
function choose(g: Builder, apply: Value, { next }: Update, old: State): State {
  const pick = (a: Value, b: Value): Value => g.Where(apply, a, b);
  return {
    params: pick(next.params, old.params),
    m: pick(next.m, old.m),
    v: next.v === undefined || old.v === undefined ? undefined : pick(next.v, old.v),
    step: pick(next.step, old.step),
  };
}

const builders = {
  train: buildTrain,
  train_k: buildTrainK,
  eval: buildEval,
  grad: buildGrad,
  update: buildUpdate,
} as const;

/** One of the training graphs. Throws NO_GRADIENT and the like; `prepared` stays usable. */
export function buildTraining(prepared: Prepared, which: TrainingGraph): Model {
  const model = builders[which](prepared);
  prepared.options.trace?.(which, model);
  return model;
}
