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
  { outputs, row, rows }: Prediction,
): ((index: number) => Verdict | undefined) | undefined {
  if (loss?.output === undefined || ['label', 'score', 'scores'].some((name) => outputs.includes(name)))
    return undefined;
  const { output, kind } = loss;
  const { over, shift, metrics } = losses[kind];
  if (shift === true) return undefined;
  const valuesOf = (index: number): number[] | undefined => {
    const found = row(index)[output];
    return found?.dims.length === 1 && /^float/.test(found.type) ? Array.from(numbers(found)) : undefined;
  };
  if (over === 'classes') {
    const all = Array.from({ length: rows }, (_, i) => valuesOf(i));
    // Logits that are probabilities in every row by chance do not occur. Logarithms of probabilities are logits too.
    const isProbable = all.every((values) => values === undefined || isDistribution(values));
    return (index) => {
      const values = all[index];
      if (values === undefined || values.length < 2) return undefined;
      const scores = isProbable ? values : softmax(values);
      const best = scores.reduce((top, score, i) => (score > (scores[top] ?? 0) ? i : top), 0);
      return { label: labels?.names?.[best] ?? best, score: scores[best] ?? Number.NaN, scores };
    };
  }
  if (metrics !== 'regression') return undefined;
  return (index) => {
    const [score, ...others] = valuesOf(index) ?? [];
    return score === undefined || others.length > 0 ? undefined : { score };
  };
}

/** Whether values are probabilities of all classes; sums of float16 are this far from 1. */
const isDistribution = (values: readonly number[]): boolean =>
  values.every((x) => x >= 0 && x <= 1) && Math.abs(values.reduce((a, b) => a + b, 0) - 1) < 1e-2;

function softmax(values: readonly number[]): number[] {
  const most = Math.max(...values);
  const parts = values.map((value) => Math.exp(value - most));
  const sum = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => part / sum);
}
