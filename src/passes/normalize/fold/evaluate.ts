/** Shape arithmetic at compile time. */
import type { Node } from '../../../graph/model.ts';
import { elementCount, type Tensor } from '../../../graph/tensor.ts';
import { isStatic } from '../../shapes/dims.ts';
import { arithmetic } from './arithmetic.ts';
import type { Evaluator } from './evaluator.ts';
import { movement } from './movement.ts';
import { fits, type Most, smallOf, tensorOfSmall } from './small.ts';

const evaluators: ReadonlyMap<string, Evaluator> = new Map([...arithmetic, ...movement]);

/** The result of a node whose inputs are all small constants. */
export function evaluate(node: Node, most: Most): Tensor | undefined {
  const run = node.domain === '' ? evaluators.get(node.op) : undefined;
  const [y] = node.outputs;
  if (run === undefined || y === undefined || node.outputs.length !== 1) return undefined;
  const { dtype, shape } = y;
  if (dtype !== undefined && isStatic(shape) && !fits(dtype, elementCount(shape), most)) return undefined;
  const inputs = node.inputs.map((v) => smallOf(v, most));
  if (node.inputs.some((v, i) => v !== undefined && inputs[i] === undefined)) return undefined;
  const result = run(node, inputs);
  return result === undefined || !fits(result.dtype, result.values.length, most) ? undefined : tensorOfSmall(result);
}
