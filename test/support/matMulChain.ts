/** Small models for tests: one MatMul after another, in every way of storing a weight. */
import { Graph, type Model, Node, tensorType, Value } from '../../src/graph/model.ts';
import type { Tensor } from '../../src/graph/tensor.ts';
import { encodeMessage, fieldBytes, tagBytes, toLong, varintBytes } from '../../src/proto/index.ts';

export function emptyModel(graph: Graph, irVersion = 8, opset = 17): Model {
  return {
    irVersion,
    opsets: new Map([['', opset]]),
    graph,
    functions: [],
    producerName: 'test',
    producerVersion: '',
    domain: '',
    modelVersion: 0,
    docString: '',
    metadata: new Map(),
    unknown: [],
  };
}

/** x [N, in] -> y = x·w for each weight in turn. */
export function chain(weights: readonly { name: string; tensor: Tensor }[], irVersion = 8): Model {
  const graph = new Graph('chain');
  const first = weights[0]?.tensor;
  let x = new Value('x', tensorType(first?.dtype, ['N', first?.dims[0] ?? null]));
  graph.inputs.push(x);
  for (const [i, { name, tensor }] of weights.entries()) {
    const w = new Value(name, tensorType(tensor.dtype, tensor.dims));
    w.tensor = tensor;
    graph.initializers.push(w);
    const y = new Value(i === weights.length - 1 ? 'y' : `h${i}`);
    graph.append(new Node({ op: 'MatMul', name: `mm${i}`, inputs: [x, w], outputs: [y] }));
    x = y;
  }
  x.type = tensorType(first?.dtype, ['N', weights.at(-1)?.tensor.dims[1] ?? null]);
  graph.outputs.push(x);
  return emptyModel(graph, irVersion);
}

export function concat(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

/** A message made by hand: what a test wants on the wire, in its order. */
export const message = (field: number, ...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array =>
  fieldBytes(field, concat(...parts));

export const text = (field: number, s: string): Uint8Array => fieldBytes(field, new TextEncoder().encode(s));

export const number = (field: number, n: number): Uint8Array => concat(tagBytes(field, 0), varintBytes(n));

/** ModelProto around graph fields: IR 8, opset 17. */
export const modelBytes = (...graph: readonly Uint8Array[]): Uint8Array =>
  concat(number(1, 8), message(8, text(1, ''), number(2, 17)), message(7, text(2, 'g'), ...graph));

/** ValueInfoProto field (input 11, output 12) of a tensor. */
export const valueInfo = (field: number, name: string, elem = 1, dims: readonly (number | string)[] = []): Uint8Array =>
  message(
    field,
    text(1, name),
    message(
      2,
      encodeMessage('TypeProto', {
        tensor_type: {
          elem_type: elem,
          shape: { dim: dims.map((d) => (typeof d === 'string' ? { dim_param: d } : { dim_value: toLong(d, '') })) },
        },
      }),
    ),
  );

/** NodeProto field of a graph. */
export const node = (
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  ...more: Uint8Array[]
): Uint8Array => message(1, ...inputs.map((i) => text(1, i)), ...outputs.map((o) => text(2, o)), text(4, op), ...more);

/** TensorProto inside: dims unpacked, type, name; then the payload fields. */
export const tensorBytes = (
  name: string,
  elem: number,
  dims: readonly number[],
  ...payload: readonly Uint8Array[]
): Uint8Array => concat(...dims.map((d) => number(1, d)), number(2, elem), text(8, name), ...payload);
