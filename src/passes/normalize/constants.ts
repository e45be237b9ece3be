/** Brings constants into one form: an initializer that is not an input. */
import { type AttrValue, constant, type Graph, type Model, Node, tensorType, type Value } from '../../graph/model.ts';
import { inlineTensor, type Tensor, tensorOf } from '../../graph/tensor.ts';
import { setNodes } from './splice.ts';

/** Overridable defaults become fixed: a training graph uses the weights it was compiled with. In place. */
export function fixDefaults(model: Model): void {
  for (const graph of model.graph.allGraphs()) {
    const kept = graph.inputs.filter((v) => v.tensor === undefined);
    graph.inputs.length = 0;
    graph.inputs.push(...kept);
  }
}

/** Constant nodes become initializers of their graph. In place. */
export function constantsToInitializers(model: Model): void {
  const results = outputsOf(model);
  for (const graph of [...model.graph.allGraphs()]) {
    if (!graph.nodes.some((n) => n.op === 'Constant' && n.domain === '')) continue;
    const nodes = graph.nodes.flatMap((n) => {
      const isConstant = n.op === 'Constant' && n.domain === '';
      const tensor = isConstant ? [...n.attrs.values()].map(tensorIn).find((t) => t !== undefined) : undefined;
      return tensor === undefined ? [n] : toConstant(n, tensor, graph, results);
    });
    setNodes(graph, nodes);
  }
}

/** Outputs of the model's graph and of all bodies. */
export const outputsOf = (model: Model): Set<Value> => new Set([...model.graph.allGraphs()].flatMap((g) => g.outputs));

/**
 * Makes the only output of `node` an initializer of `graph`. A graph output remains the result of a node, an Identity,
 * so that bodies need not output initializers. Returns the replacement of the node.
 */
export function toConstant(node: Node, tensor: Tensor, graph: Graph, results: ReadonlySet<Value>): Node[] {
  const v = node.outputs[0];
  if (v === undefined) return [node];
  if (results.has(v)) {
    const value = constant(`${v.name}.value`, tensor);
    graph.initializers.push(value);
    return [new Node({ op: 'Identity', name: node.name, inputs: [value], outputs: [v] })];
  }
  v.producer = undefined;
  v.tensor = tensor;
  v.type = tensorType(tensor.dtype, tensor.dims);
  graph.initializers.push(v);
  return [];
}

/** The tensor of an attribute of Constant. https://onnx.ai/onnx/operators/onnx__Constant.html */
function tensorIn(attr: AttrValue): Tensor | undefined {
  switch (attr.kind) {
    case 'tensor':
      return attr.value;
    case 'float':
      return tensorOf('float32', [], [attr.value]);
    case 'floats':
      return tensorOf('float32', [attr.value.length], attr.value);
    case 'int':
      return integers([], [attr.value]);
    case 'ints':
      return integers([attr.value.length], attr.value);
    case 'string':
      return strings([], [attr.value]);
    case 'strings':
      return strings([attr.value.length], attr.value);
    default:
      return undefined;
  }
}

function integers(dims: readonly number[], values: readonly (number | bigint)[]): Tensor {
  return inlineTensor('int64', dims, new Uint8Array(new BigInt64Array(values.map(BigInt)).buffer));
}

const strings = (dims: readonly number[], values: readonly Uint8Array[]): Tensor => ({
  dtype: 'string',
  dims,
  byteLength: 0,
  payload: { kind: 'strings', values },
});
