/**
 * Replaces types that ONNX Runtime's CPU provider cannot compute in, so that a training graph of a model in any type
 * loads. Measured with onnxruntime 1.30: it casts float16 by itself where it has no kernel; it has bfloat16 kernels
 * only for data movement, and never casts it; it has float64 kernels for most operators, and never casts it.
 */
import { type Builder, createBuilder } from '../../graph/builder.ts';
import {
  type Attr,
  type Graph,
  type Model,
  Node,
  replaceUses,
  tensorType,
  Value,
  type ValueType,
} from '../../graph/model.ts';
import { attrsOf, factsOf } from '../../graph/operators.ts';
import { type DataType, dataTypeNumber, inlineBytes, numbersOf, tensorOf } from '../../graph/tensor.ts';
import { inferNode } from '../shapes/index.ts';

/**
 * In place, on a normalized model whose types are inferred. Returns the changes with their reason, a sentence each.
 * Weights of the type `stored` already have casts made by halfWeights.ts.
 */
export function widenMissingKernels(model: Model, stored?: DataType): string[] {
  const isOurs = stored === 'bfloat16' && !computesInBfloat16(model);
  const weights = isOurs ? undefined : computeInFloat32(model, 'bfloat16');
  const narrow =
    weights === undefined
      ? []
      : [
          `bfloat16 computes in float32, because ONNX Runtime's CPU provider has no bfloat16 kernels and JavaScript no bfloat16 tensors${weights === 0 ? '' : `; weights stay bfloat16 and are cast where they are read`}`,
        ];
  const lacking = new Map<DataType, Set<string>>();
  let sigmoids = 0;
  for (const graph of [...model.graph.allGraphs()])
    for (const node of [...graph.nodes]) {
      if (node.op === 'Sigmoid' && node.domain === '' && touches(node, 'float64')) sigmoids += throughTanh(graph, node);
      for (const [dtype, lacks] of missing)
        if (touches(node, dtype) && lacks(node)) {
          throughFloat32(graph, node, dtype);
          lacking.set(dtype, (lacking.get(dtype) ?? new Set()).add(node.op));
        }
    }
  const sentences = [...lacking].map(
    ([dtype, ops]) =>
      `${[...ops].join(', ')} of ${dtype} ${ops.size === 1 ? 'computes' : 'compute'} in float32, because ONNX Runtime's CPU provider has no ${dtype} kernel for ${ops.size === 1 ? 'it' : 'them'}`,
  );
  const fused =
    'Sigmoid of float64 is computed from Tanh, because ONNX Runtime fuses x·sigmoid(x) into a kernel that it lacks in float64';
  return [...narrow, ...sentences, ...(sigmoids > 0 ? [fused] : [])];
}

/** Whether a node other than a lookup of rows computes in bfloat16. */
const computesInBfloat16 = (model: Model): boolean =>
  [...model.graph.allNodes()].some((n) => n.op !== 'Gather' && n.outputs.some((v) => v.dtype === 'bfloat16'));

const scatters = (node: Node, op: 'ScatterElements' | 'ScatterND'): boolean =>
  node.op === op && attrsOf(node, op).reduction !== 'none';

const missing: readonly (readonly [DataType, (node: Node) => boolean])[] = [
  // Contributed operators have no float64 kernels at all, those outside the table included.
  ['float64', (node) => node.domain === 'com.microsoft' || factsOf(node)?.float64 === false],
  [
    'float16',
    (node) =>
      factsOf(node)?.float16 === false ||
      (node.domain === '' && (scatters(node, 'ScatterElements') || scatters(node, 'ScatterND'))),
  ],
];

const touches = (node: Node, dtype: DataType): boolean =>
  [...node.inputs, ...node.outputs].some((v) => v?.dtype === dtype);

const mark = (origin: string): { origin: string; rule: string } => ({ origin, rule: 'kernels/float32' });
export const castTo = (to: DataType): [string, Attr][] => [['to', { kind: 'int', value: dataTypeNumber(to) }]];

/** Inserts casts around a node: its inputs and outputs of type `dtype` become float32 for it. */
export function throughFloat32(graph: Graph, node: Node, dtype: DataType): void {
  const g = createBuilder(inferNode);
  const before: Node[] = [];
  node.inputs.forEach((v, i) => {
    if (v?.dtype !== dtype) return;
    const wide = new Value(`${v.name}.float32`, tensorType('float32', v.shape));
    before.push(owned(g, v.name, new Node({ op: 'Cast', inputs: [v], outputs: [wide], attrs: castTo('float32') })));
    node.setInput(i, wide);
  });
  const after = node.outputs.flatMap((v, i): Node[] => {
    if (v.dtype !== dtype || v.name === '') return [];
    const wide = new Value(`${v.name}.float32`, tensorType('float32', v.shape));
    node.replaceOutput(i, wide);
    return [owned(g, v.name, new Node({ op: 'Cast', inputs: [wide], outputs: [v], attrs: castTo(dtype) }))];
  });
  graph.insertAfter(node, ...after);
  graph.insertAfter(graph.nodes[graph.nodes.indexOf(node) - 1], ...before);
}

/** sigmoid(x) = 1/2 + tanh(x/2)/2. */
function throughTanh(graph: Graph, node: Node): number {
  const [x] = node.inputs;
  const [y] = node.outputs;
  if (x === undefined || y === undefined) return 0;
  const made: Node[] = [];
  const g = createBuilder((n) => {
    inferNode(n);
    made.push(n);
  });
  const half = g.like(x, 0.5);
  g.within(mark(y.name), () => {
    const sum = new Node({ op: 'Add', inputs: [g.Mul(g.Tanh(g.Mul(x, half)), half), half], outputs: [y] });
    g.own(sum);
  });
  graph.initializers.push(half);
  graph.insertAfter(node, ...made);
  graph.remove(node);
  return 1;
}

const owned = (g: Builder, origin: string, node: Node): Node => g.within(mark(origin), () => g.own(node));

/**
 * Converts one float type to float32 everywhere: types, attributes that name a type, small constants. Larger constants
 * keep their type, with a cast before their readers. Returns the number of those; undefined if nothing has the type. In
 * place.
 */
export function computeInFloat32(model: Model, from: DataType): number | undefined {
  const number = dataTypeNumber(from);
  let found = false;
  let casts = 0;
  const widen = (type: ValueType | undefined): ValueType | undefined => {
    if (type?.kind === 'sequence' || type?.kind === 'optional') return { kind: type.kind, elem: widen(type.elem) };
    if ((type?.kind !== 'tensor' && type?.kind !== 'sparse') || type.dtype !== from) return type;
    found = true;
    return { ...type, dtype: 'float32' };
  };
  for (const graph of [...model.graph.allGraphs()]) {
    for (const v of [...graph.inputs, ...graph.nodes.flatMap((n) => n.outputs)]) v.type = widen(v.type);
    for (const node of graph.nodes)
      for (const [name, attr] of [...node.attrs]) {
        if (attr.kind === 'int' && typeAttributes.has(name) && Number(attr.value) === number)
          node.attrs.set(name, { ...attr, value: dataTypeNumber('float32') });
        const content = attr.kind === 'tensor' && attr.value.dtype === from ? numbersOf(attr.value) : undefined;
        if (attr.kind === 'tensor' && content !== undefined)
          node.attrs.set(name, { ...attr, value: tensorOf('float32', attr.value.dims, content) });
      }
  }
  for (const graph of [...model.graph.allGraphs()])
    for (const v of graph.initializers) {
      const { tensor } = v;
      if (tensor?.dtype !== from) continue;
      found = true;
      const content = tensor.byteLength > inlineBytes ? undefined : numbersOf(tensor);
      if (content !== undefined) {
        v.tensor = tensorOf('float32', tensor.dims, content);
        v.type = tensorType('float32', tensor.dims);
        continue;
      }
      casts++;
      for (const { node, index } of v.uses) if (picks(node, index)) pickNarrow(node, from);
      if ([...v.uses].every((u) => picks(u.node, u.index))) continue;
      const wide = new Value(`${v.name}.float32`, tensorType('float32', tensor.dims));
      replaceUses(v, wide, (u) => picks(u.node, u.index));
      const cast = new Node({ op: 'Cast', inputs: [v], outputs: [wide], attrs: castTo('float32') });
      graph.insertAfter(undefined, owned(createBuilder(inferNode), v.name, cast));
    }
  return found ? casts : undefined;
}

/** Rows of a table are picked before they are cast: a vocabulary is large, a sentence is not. */
export const picks = ({ op, domain }: Node, index: number): boolean => op === 'Gather' && domain === '' && index === 0;

/** The node picks rows of type `from`, and a cast after it restores the type. */
export function pickNarrow(node: Node, from: DataType, owner = owned): void {
  const [rows] = node.outputs;
  if (rows === undefined || rows.dtype === from) return;
  const narrow = new Value(`${rows.name}.${from}`, tensorType(from, rows.shape));
  node.replaceOutput(0, narrow);
  const cast = new Node({ op: 'Cast', inputs: [narrow], outputs: [rows], attrs: castTo('float32') });
  node.graph?.insertAfter(node, owner(createBuilder(inferNode), rows.name, cast));
}

/** Attributes that name an element type, in any operator. */
const typeAttributes = new Set(['to', 'dtype', 'stash_type', 'softmax_precision', 'output_dtype']);
