/** Outputs that a loss on another output leaves untrained. */
import { ancestorsOf } from '../../graph/ancestors.ts';
import type { Graph, Value } from '../../graph/model.ts';
import { isFloat } from '../../graph/tensor.ts';
import { isPresent } from '../normalize/bind/names.ts';

/**
 * The outputs that layers reach beside `tensor`: neither what it is computed from, such as hidden states, nor what is
 * computed from it, such as probabilities.
 */
export function leftOut(graph: Graph, output: Value, tensor: Value, reached: ReadonlySet<Value>): string[] {
  const before = ancestorsOf([tensor]);
  return graph.outputs
    .filter((o) => o !== output && reached.has(o) && o.dtype !== undefined && isFloat(o.dtype) && !isPresent(o.name))
    .filter((o) => !before.has(o) && !ancestorsOf([o]).has(tensor))
    .map((o) => o.name);
}

/** A sentence for the user, if there are any. */
export function leftOutWarning(output: string, names: readonly string[]): string | undefined {
  const list = names.map((n) => `"${n}"`).join(', ');
  return names.length === 0
    ? undefined
    : `the loss is on output "${output}" alone: ${list} ${names.length === 1 ? 'is' : 'are'} not trained; --loss-output chooses another output`;
}
