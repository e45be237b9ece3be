/**
 * Which values of a graph share a buffer, and from which node to which each buffer is in use, as ONNX Runtime plans it for one stream
 * (core/framework/allocation_planner.cc): results that alias an input, results written over an input that nothing else reads, and
 * results that take the buffer of a value of the same shape which is not read any more.
 */
import { type Graph, type Node, readsOf, type Value } from '../../graph/model.ts';
import { factsOf, kindOf } from '../../graph/operators.ts';
import { dataTypeBits } from '../../graph/tensor.ts';
import { executionOrder } from './order.ts';

export interface Placed {
  readonly value: Value;
  /** The place of the node that makes it. */
  readonly made: number;
  /** It is what lies there already, in another shape. */
  readonly isAlias: boolean;
}

export interface Buffer {
  /** The values that lie in it one after another. */
  readonly values: readonly Placed[];
  /** The first and the last node that has it in use, counted in the order of execution. */
  readonly from: number;
  readonly to: number;
}

export interface BufferPlan {
  readonly order: readonly Node[];
  /** Of what the graph's nodes make. Its inputs and weights belong to others. */
  readonly buffers: readonly Buffer[];
}

/** Kernels that hand their first input on: those of views, and Dropout's, which is the identity where nothing is trained. */
const isAlias = (node: Node): boolean => kindOf(node) === 'view' || (node.op === 'Dropout' && node.domain === '');

interface Open {
  readonly values: Placed[];
  readonly from: number;
  to: number;
  /** Reads to come. */
  uses: number;
  /** Leaves the graph: never freed or handed on. */
  readonly result: boolean;
}

export function planBuffers(graph: Graph): BufferPlan {
  const order = executionOrder(graph);
  const uses = new Map<Value, number>();
  for (const node of order) for (const v of readsOf(node)) uses.set(v, (uses.get(v) ?? 0) + 1);
  const results = new Set(graph.outputs);
  const at = new Map<Value, Open>();
  const opened: Open[] = [];
  /** Last freed first, which is the order of looking. */
  const free: Open[] = [];
  for (const [step, node] of order.entries()) {
    for (const [i, v] of node.outputs.entries()) {
      if (v.name === '') continue;
      const result = results.has(v);
      const [input] = i === 0 && !result ? node.inputs : [];
      const source = input === undefined ? undefined : at.get(input);
      // Of a graph's input or a weight: nothing new.
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

/** The buffer of a dead value, out of the list. Scalars get their own. */
function taken(free: Open[], v: Value): Open | undefined {
  if (v.shape?.length === 0) return undefined;
  const at = free.findIndex((b) => sameSize(b.values[0]?.value, v));
  return at < 0 ? undefined : free.splice(at, 1)[0];
}

/** Whether ONNX Runtime knows that both take the same room: equal shapes of numbers. Symbols it does not compare. */
function sameSize(a: Value | undefined, b: Value): boolean {
  if (a?.dtype === undefined || b.dtype === undefined || a.shape === undefined || b.shape === undefined) return false;
  const { shape } = b;
  return (
    dataTypeBits(a.dtype) === dataTypeBits(b.dtype) &&
    a.shape.length === shape.length &&
    a.shape.every((d, i) => typeof d === 'number' && d === shape[i])
  );
}
