/** Warnings about a run that fails to learn, each given once. */

import type { Manifest } from '../../formats/manifest.ts';
import { losses } from '../../graph/choices/losses.ts';
import type { Evaluation } from '../evaluate/evaluate.ts';
import type { Step } from './runPlan.ts';

export interface Alarms {
  /** Sentences about a step, or about an evaluation. */
  step(step: Step): readonly string[];
  evaluation(step: number, evaluation: Evaluation): readonly string[];
}

/** Losses are compared as medians of this many steps, because those of single batches vary. */
const window = 5;
const growth = 10;
/** Probability of so few right answers by chance. */
const unlikely = 1e-4;

export function alarms({ loss }: Manifest): Alarms {
  const first: number[] = [];
  const last: number[] = [];
  let steps = 0;
  let without = 0;
  let startLoss: number | undefined;
  const told = new Set<string>();
  const once = (kind: string, text: string | undefined): string[] => {
    if (text === undefined || told.has(kind)) return [];
    told.add(kind);
    return [text];
  };
  const grown = (from: number, to: number): string | undefined =>
    to > growth * from && from > 0
      ? `the loss has grown from ${from.toPrecision(3)} to ${to.toPrecision(3)}: the learning rate is too high`
      : undefined;
  return {
    step({ loss: value, gradNorm, skipped }) {
      if (first.length < window) first.push(value);
      last.push(value);
      if (last.length > window) last.shift();
      without = gradNorm === 0 && skipped !== true ? without + 1 : 0;
      steps += 1;
      const from = startLoss ?? median(first);
      return [
        ...once('growth', steps >= 2 * window ? grown(from, median(last)) : undefined),
        ...once(
          'gradient',
          without === window
            ? `the gradient was 0 in ${window} steps in a row: nothing is learned (do all labels equal the ignore index, or is the loss at its minimum?)`
            : undefined,
        ),
      ];
    },
    evaluation(step, { loss: value, accuracy, examples }) {
      if (step === 0) startLoss = value;
      const classes = loss === undefined || losses[loss.kind].metrics !== 'classes' ? undefined : loss.classes;
      const isBelowChance =
        step === 0 && accuracy !== undefined && classes !== undefined && belowChance(accuracy, examples, classes);
      return [
        ...once('growth', startLoss === undefined || step === 0 ? undefined : grown(startLoss, value)),
        ...once(
          'chance',
          isBelowChance
            ? `before the first step ${(100 * accuracy).toFixed(1)} % of the labels are right, far fewer than by chance (${(100 / classes).toFixed(1)} %): are the labels shifted by one, or the classes in another order than the model's?`
            : undefined,
        ),
      ];
    },
  };
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Whether guesses would hardly have so few hits: the lower tail of the binomial distribution. */
function belowChance(accuracy: number, examples: number, classes: number): boolean {
  const p = 1 / classes;
  const hits = Math.round(accuracy * examples);
  if (hits >= (examples * p) / 4) return false;
  let term = examples * Math.log1p(-p);
  let tail = Math.exp(term);
  for (let k = 1; k <= hits; k++) {
    term += Math.log((examples - k + 1) / k) + Math.log(p / (1 - p));
    tail += Math.exp(term);
  }
  return tail < unlikely;
}
