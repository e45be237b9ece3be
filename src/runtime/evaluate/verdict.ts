/** The class of a row and the probabilities of all classes, or its number, from the output that the loss was chosen for. */

import type { Manifest } from '../../formats/manifest.ts';
import { losses } from '../../graph/choices/losses.ts';
import { numbers } from './evaluate.ts';
import type { Prediction } from './predict.ts';

export interface Verdict {
  /** The class with the highest score: its name, or its number where the package has no names. */
  readonly label?: string | number;
  /** Its probability; for a regression the number itself. */
  readonly score: number;
  /** The probabilities of all classes, in their order. */
  readonly scores?: readonly number[];
}

/** Undefined if the loss has no classes or numbers of rows, or an output has one of these names. */
export function verdicts(
  { loss, labels }: Manifest,
  { outputs, row }: Prediction,
): ((index: number) => Verdict | undefined) | undefined {
  if (loss?.output === undefined || ['label', 'score', 'scores'].some((name) => outputs.includes(name)))
    return undefined;
  const { output, tensor, kind } = loss;
  const { over, shift, metrics } = losses[kind];
  if (shift === true) return undefined;
  const valuesOf = (index: number): number[] | undefined => {
    const found = row(index)[output];
    return found?.dims.length === 1 && /^float/.test(found.type) ? Array.from(numbers(found)) : undefined;
  };
  if (over === 'classes')
    return (index) => {
      const values = valuesOf(index);
      if (values === undefined || values.length < 2) return undefined;
      // A loss before a Softmax has an output that is a probability already.
      const scores = output === tensor ? softmax(values) : values;
      const best = scores.reduce((top, score, i) => (score > (scores[top] ?? 0) ? i : top), 0);
      return { label: labels?.names?.[best] ?? best, score: scores[best] ?? Number.NaN, scores };
    };
  if (metrics !== 'regression') return undefined;
  return (index) => {
    const [score, ...others] = valuesOf(index) ?? [];
    return score === undefined || others.length > 0 ? undefined : { score };
  };
}

function softmax(values: readonly number[]): number[] {
  const most = Math.max(...values);
  const parts = values.map((value) => Math.exp(value - most));
  const sum = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => part / sum);
}
