/** Shape arithmetic at compile time. */
import type { Node } from '../../../graph/model.ts';
import type { Tensor } from '../../../graph/tensor.ts';
import { arithmetic } from './arithmetic.ts';
import type { Evaluator } from './evaluator.ts';
import { movement } from './movement.ts';
import { fits, smallOf, tensorOfSmall } from './small.ts';

const evaluators: ReadonlyMap<string, Evaluator> = new Map([...arithmetic, ...movement]);

/** The result of a node whose inputs are all small constants. */
export function evaluate(node: Node): Tensor | undefined {
  const run = node.domain === '' ? evaluators.get(node.op) : undefined;
  if (run === undefined || node.outputs.length !== 1) return undefined;
  const inputs = node.inputs.map(smallOf);
  if (node.inputs.some((v, i) => v !== undefined && inputs[i] === undefined)) return undefined;
  const result = run(node, inputs);
  return result === undefined || !fits(result.dtype, result.values.length) ? undefined : tensorOfSmall(result);
}
