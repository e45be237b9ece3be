/**
 * Puts a head on a model: pooling, one Linear, normalization, in operators of the source's own opset. It computes in
 * float32, whatever the model does, so that its weights are trained and stored without rounding.
 */
import { badModel } from '../../errors.ts';
import { createBuilder } from '../../graph/builder.ts';
import {
  type Graph,
  graphsOf,
  type Model,
  type Node,
  nameGiver,
  namesIn,
  tensorType,
  type Value,
} from '../../graph/model.ts';
import { stream } from '../../graph/random.ts';
import { floatTensor, type Tensor } from '../../graph/tensor.ts';
import type { HeadLinear, HeadPlan } from './plan.ts';
import { pooled } from './pooled.ts';
import { headTools } from './tools.ts';

/** The standard deviation of a new head's weight, as in transformers (initializer_range). */
const deviation = 0.02;
/** The least norm that a vector is divided by, as in torch.nn.functional.normalize. */
const leastNorm = 1e-12;

/** The head reads an output of the graph, and its result takes the place of that output. In place. */
export function addHead(model: Model, plan: HeadPlan): void {
  const { graph } = model;
  const at = graph.outputs.findIndex((o) => o.name === plan.input);
  const input = graph.outputs[at];
  if (input === undefined) throw badModel(`it has no output "${plan.input}" for a head to read`);
  const nodes: Node[] = [];
  const builder = createBuilder((node) => {
    nodes.push(node);
  });
  const g = headTools(builder, model.opsets.get('') ?? 0);
  const mask = graph.inputs.find((v) => v.name === plan.mask);
  const vectors = builder.within({ origin: 'pooling' }, () => pooled(g, input, plan, mask));
  const linear = plan.linear;
  const mapped =
    linear === undefined ? vectors : builder.within({ origin: linear.path }, () => product(vectors, linear));
  const result = plan.normalize ? builder.within({ origin: 'normalize' }, () => unit(mapped)) : mapped;
  // A head that computes nothing, such as an embedding that the model has already, is a copy.
  const last = result.producer === undefined || result === input ? builder.Identity(result) : result;
  settle(model, nodes, last, plan.output);
  last.type = tensorType('float32', [...plan.dims, linear?.size ?? plan.width]);
  graph.outputs[at] = last;
  // Its type was declared as that of an output.
  input.declared = true;
  // Initializers that are not inputs exist since IR 4.
  model.irVersion = Math.max(model.irVersion, 4);

  function product(x: Value, of: HeadLinear): Value {
    const { weight, bias } = initial(of, plan.width);
    const w = builder.tensor(`${of.path}.weight`, weight);
    const b = bias && builder.tensor(`${of.path}.bias`, bias);
    if (plan.dims.length === 1 && (b !== undefined || g.opset >= 11)) return builder.Gemm(x, w, b, { transB: 1 });
    const y = builder.MatMul(x, builder.Transpose(w, { perm: [1, 0] }));
    return b === undefined ? y : builder.Add(y, b);
  }

  function unit(x: Value): Value {
    return builder.Div(x, builder.Max([g.reduce('ReduceL2', x, -1, 1), g.scalar('float32', leastNorm)]));
  }
}

/** The initial weight [size, width] and bias of a Linear, as torch has them. */
function initial({ path, size, bias, seed }: HeadLinear, width: number): { weight: Tensor; bias: Tensor | undefined } {
  const numbers = stream(seed, `${path}.weight`);
  const weight = Float32Array.from({ length: size * width }, () => deviation * numbers.normal());
  return {
    weight: floatTensor([size, width], weight),
    bias: bias ? floatTensor([size], new Float32Array(size)) : undefined,
  };
}

/** The nodes and their constants join the graph under names that the model does not use. */
function settle({ graph, functions }: Model, nodes: readonly Node[], result: Value, name: string): void {
  const free = nameGiver(namesIn(graphsOf({ graph, functions })));
  const freeNode = nameGiver(new Set(graph.allNodes().map((n) => n.name)));
  const constants = new Set<Value>();
  for (const node of nodes) {
    for (const v of node.inputs) if (v?.tensor !== undefined && !graph.initializers.includes(v)) constants.add(v);
    for (const v of node.outputs) v.name = v === result ? name : free(v.name);
    node.name = freeNode(`/${node.name.replaceAll('.', '/')}`);
  }
  for (const v of constants) v.name = free(v.name);
  graph.initializers.push(...constants);
  graph.append(...nodes);
}

/** An input or a result of a node in the main graph. */
export function valueNamed(graph: Graph, name: string): Value | undefined {
  const outputs = graph.nodes.flatMap((n) => n.outputs);
  return [...outputs, ...graph.inputs].find((v) => v.name === name);
}
