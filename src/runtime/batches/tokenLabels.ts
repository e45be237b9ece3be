/** Compares labels of tokens with the tokens, to find data that were shifted for another loss. */
import type { Manifest } from '../../formats/manifest.ts';
import type { Dataset, Row, RowValue } from '../data/index.ts';

/** Rows that are compared: data are prepared in one way. */
const mostRows = 64;
/** Fewer labels that count may agree by chance. */
const leastLabels = 3;

interface Agreement {
  /** Labels that were compared with the token at their position, and with the one behind it. */
  same: number;
  next: number;
  isSame: boolean;
  isNext: boolean;
}

/** A sentence if the labels are not those that the loss expects; undefined if they may be. */
export function tokenLabelWarning({ loss, labels }: Manifest, dataset: Dataset): string | undefined {
  if (loss?.tokens === undefined || labels === undefined) return undefined;
  const { input, labels: expected } = loss.tokens;
  const found: Agreement = { same: 0, next: 0, isSame: true, isNext: true };
  for (let i = 0; i < Math.min(mostRows, dataset.rows); i++)
    compare(pairOf(dataset.row(i), input, labels.name), loss.ignoreIndex, found);
  const isSame = found.isSame && found.same >= leastLabels;
  const isNext = found.isNext && found.next >= leastLabels;
  if (isSame === isNext) return undefined;
  return isSame ? sameAs(input, expected) : shiftedFrom(input, expected);
}

type Expected = NonNullable<NonNullable<Manifest['loss']>['tokens']>['labels'];

function sameAs(input: string, expected: Expected): string | undefined {
  if (expected === 'tokens') return undefined;
  return expected === 'next'
    ? `the labels equal "${input}", so the model learns to repeat its input: labels must be the tokens that follow, or compile with --loss causal-lm, which shifts them`
    : `the labels equal "${input}" wherever they count, so nothing is hidden from the model and it learns to copy: mask tokens of "${input}", or compile with --loss causal-lm if the model predicts the next token`;
}

function shiftedFrom(input: string, expected: Expected): string | undefined {
  if (expected === 'next') return undefined;
  return expected === 'tokens'
    ? `the labels are "${input}" shifted by one already, and the loss causal-lm shifts them once more: give the tokens themselves as labels, or compile with --loss cross-entropy`
    : `the labels are "${input}" shifted by one, but the model sees later tokens: labels must be the original tokens where "${input}" is masked`;
}

function pairOf(row: Row, input: string, labels: string): readonly [RowValue, RowValue] | undefined {
  const [tokens, given] = [row.get(input), row.get(labels)];
  return tokens === undefined || given === undefined || tokens.shape.length !== 1 || given.shape.length !== 1
    ? undefined
    : [tokens, given];
}

function compare(pair: readonly [RowValue, RowValue] | undefined, ignore: number, found: Agreement): void {
  if (pair === undefined) return;
  const [tokens, labels] = pair.map(({ data }) => Array.from(data, Number));
  if (tokens === undefined || labels === undefined) return;
  const counted = labels.flatMap((l, i) => (l === ignore ? [] : [i]));
  for (const i of counted) {
    found.same++;
    found.isSame &&= labels[i] === tokens[i];
  }
  // No token of the row follows the last one.
  for (const i of counted.slice(0, -1)) {
    found.next++;
    found.isNext &&= labels[i] === tokens[i + 1];
  }
}
