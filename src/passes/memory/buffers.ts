/**
 * The buffers of a graph's values and their lifetimes, as ONNX Runtime plans them for one stream
 * (core/framework/allocation_planner.cc): results that alias an input, results written over an input without other
 * readers, and results that reuse the buffer of a dead value of the same shape.
 */
import { type Graph, type Node, readsOf, type Value } from '../../graph/model.ts';
import { factsOf, kindOf } from '../../graph/operators.ts';
import { dataTypeBits } from '../../graph/tensor.ts';
import { executionOrder } from './order.ts';

export interface Placed {
  readonly value: Value;
  /** The position of the producing node. */
  readonly made: number;
  /** The value is a view of an earlier value, in another shape. */
  readonly isAlias: boolean;
}

export interface Buffer {
  /** The values that use the buffer one after another. */
  readonly values: readonly Placed[];
  /** The first and the last node that use it, in execution order. */
  readonly from: number;
  readonly to: number;
}

export interface BufferPlan {
  readonly order: readonly Node[];
  /** Buffers of the results of the graph's nodes; its inputs and weights are not included. */
  readonly buffers: readonly Buffer[];
}

/**
 * Kernels that pass their first input on without a copy: those of views, and Dropout's, which is the identity outside
 * training.
 */
const isAlias = (node: Node): boolean => kindOf(node) === 'view' || (node.op === 'Dropout' && node.domain === '');

interface Open {
  readonly values: Placed[];
  readonly from: number;
  to: number;
  /** The number of remaining reads. */
  uses: number;
  /** A result of the graph: never freed or reused. */
  readonly result: boolean;
}

export function planBuffers(graph: Graph): BufferPlan {
  const order = executionOrder(graph);
  const uses = new Map<Value, number>();
  for (const node of order) for (const v of readsOf(node)) uses.set(v, (uses.get(v) ?? 0) + 1);
  const results = new Set(graph.outputs);
  const at = new Map<Value, Open>();
  const opened: Open[] = [];
  /** Last freed first, the order in which ONNX Runtime searches. */
  const free: Open[] = [];
  for (const [step, node] of order.entries()) {
    for (const [i, v] of node.outputs.entries()) {
      if (v.name === '') continue;
      const result = results.has(v);
      const [input] = i === 0 && !result ? node.inputs : [];
      const source = input === undefined ? undefined : at.get(input);
      // A view of a graph input or a weight: no new buffer.
      const alias = isAlias(node);
      if (input !== undefined && alias && source === undefined) continue;
      const buffer =
        source !== undefined && (alias || overwrites(node, source, input, v))
          ? source
          : result
            ? undefined
            : taken(free, v);
      if (buffer !== undefined) {
        buffer.values.push({ value: v, made: step, isAlias: source === buffer && alias });
        buffer.uses += uses.get(v) ?? 0;
        at.set(v, buffer);
        continue;
      }
      const own: Open = {
        values: [{ value: v, made: step, isAlias: false }],
        from: step,
        to: step,
        uses: uses.get(v) ?? 0,
        result,
      };
      at.set(v, own);
      opened.push(own);
    }
    for (const v of readsOf(node)) {
      const buffer = at.get(v);
      if (buffer !== undefined) buffer.uses--;
    }
    for (const v of [...readsOf(node), ...node.outputs]) {
      const buffer = at.get(v);
      if (buffer === undefined) continue;
      buffer.to = step;
      if (buffer.uses === 0 && !buffer.result && !free.includes(buffer)) free.unshift(buffer);
    }
  }
  return {
    order,
    buffers: opened.map(({ values, from, to, result }) => ({ values, from, to: result ? order.length : to })),
  };
}

const overwrites = (node: Node, source: Open, input: Value | undefined, v: Value): boolean =>
  factsOf(node)?.inPlace === true && !source.result && source.uses === 1 && sameSize(input, v);

/** The buffer of a dead value, removed from the list. Scalars get their own. */
function taken(free: Open[], v: Value): Open | undefined {
  if (v.shape?.length === 0) return undefined;
  const at = free.findIndex((b) => sameSize(b.values[0]?.value, v));
  return at < 0 ? undefined : free.splice(at, 1)[0];
}

/** Whether ONNX Runtime can prove that both have the same size: equal static shapes. It does not compare symbols. */
function sameSize(a: Value | undefined, b: Value): boolean {
  if (a?.dtype === undefined || b.dtype === undefined || a.shape === undefined || b.shape === undefined) return false;
  const { shape } = b;
  return (
    dataTypeBits(a.dtype) === dataTypeBits(b.dtype) &&
    a.shape.length === shape.length &&
    a.shape.every((d, i) => typeof d === 'number' && d === shape[i])
  );
}
