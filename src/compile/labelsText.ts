/** Words for the labels of a package: their type and shape, what they are, and which of them do not count. */

import { losses } from '../graph/choices/losses.ts';
import { shapeText } from '../graph/shapeText.ts';
import { labelShape, type Prepared } from '../passes/index.ts';

/** undefined if the loss takes no labels. */
export function labelsText(choice: Prepared['choice'], ignoreIndex: number): string | undefined {
  const { kind, dtype } = choice;
  const { labels: type } = losses[kind];
  if (type === undefined) return undefined;
  const dims = labelShape({ choice });
  const form = dims === undefined ? 'of any shape' : shapeText(dims);
  return `${type === 'output' ? (dtype ?? 'float32') : type} ${form}: ${contentOf(choice, ignoreIndex)}`;
}

function contentOf(choice: Prepared['choice'], ignoreIndex: number): string {
  const { kind, output, tensor } = choice;
  const { over, share } = losses[kind];
  const skipped = `${ignoreIndex} does not count`;
  if (over === 'caller') return `the gradient of the loss with respect to output "${output}"`;
  if (over === 'classes') return `${classesText(choice)}; ${skipped}`;
  return share === true
    ? `a number from 0 to 1 for each element of "${tensor}"`
    : `a number for each element of "${tensor}"`;
}

function classesText({ kind, tokens, classes, classAxis, tensor, shape }: Prepared['choice']): string {
  const input = `"${tokens?.input ?? 'input_ids'}"`;
  if (losses[kind].shift === true) return `the tokens of ${input}; the loss compares position i with label i + 1`;
  if (tokens?.labels === 'next')
    return `the token that follows each one of ${input}, shifted in the data; the loss does not shift`;
  if (tokens?.labels === 'masked')
    return `the original tokens where ${input} is masked, and labels that do not count elsewhere; the loss does not shift`;
  const range = classes === undefined ? 'the index of a class' : `a class from 0 to ${classes - 1}`;
  return shape === undefined || shape.length <= 2
    ? `${range} for each row of "${tensor}"`
    : `${range} for each position of "${tensor}", whose classes are axis ${classAxis}`;
}
