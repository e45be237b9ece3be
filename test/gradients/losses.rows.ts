/** Einsum, and losses as nodes. */
import { type Case, f, int64, positive } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const one = { linear: true, step: 1, tolerance: 1e-12 } as const;
const e = (equation: string, ...shapes: readonly (readonly number[])[]): Case => ({
  op: 'Einsum',
  in: shapes.map((s) => f(s)),
  attrs: { equation },
  ...one,
});
const reductions = ['mean', 'sum', 'none'] as const;
const labels = int64([0, 2, 1, 2]);
/** Two of them are no class. */
const some = int64([0, -100, 1, -100]);
/** Nothing may stand for what is no class but the only one. */
const single = int64([0, -100, 0, -100]);
const cells = int64([0, 2, 1, 2, 1, 1], [2, 3]);
const places = int64([0, 2, 1, 2, 1, 1], [2, 1, 3]);

export const rows: readonly Case[] = [
  e('ij,jk->ik', [2, 3], [3, 4]),
  e('ij,jk', [2, 3], [3, 4]),
  e('bij,bjk->bik', [2, 3, 4], [2, 4, 5]),
  e('bhid,bhjd->bhij', [2, 2, 3, 4], [2, 2, 5, 4]),
  e('i,j->ij', [2], [3]),
  e('ij->ji', [2, 3]),
  e('ij->i', [2, 3]),
  e('ij->', [2, 3]),
  e('ba', [2, 3]),
  e('i,i->', [3], [3]),
  e('ij,kl->il', [2, 3], [4, 5]),
  e('...ij,...jk->...ik', [2, 3, 4], [2, 4, 5]),
  e('...ij,jk->...ik', [2, 3, 4], [4, 5]),
  e('...ij,...jk', [2, 3, 4], [2, 4, 5]),
  e('...i,i->...', [2, 3, 4], [4]),
  e('ii->i', [3, 3]),
  e('ii->', [3, 3]),
  e('bii->bi', [2, 3, 3]),
  e('iji->ji', [3, 2, 3]),
  e('iii->i', [2, 2, 2]),
  e('ii,ij->j', [3, 3], [3, 2]),
  e('Ab,bC->AC', [2, 3], [3, 4]),
  e('...i,...i->...', [1, 3, 4], [2, 3, 4]),
  e('...i,i...->...', [3, 4], [4, 3]),
  e('ij,ij->ij', [2, 3], [2, 3]),
  e('ij,ij,ij->i', [2, 3], [2, 3], [2, 3]),
  e('bqhd,bkhd->bhqk', [2, 3, 2, 4], [2, 5, 2, 4]),
  e('abc,cd->abd', [2, 3, 4], [4, 5]),
  e(',ij->ij', [], [2, 3]),
  e(' b i , i o -> b o ', [2, 3], [3, 4]),
  e('ij,jk,kl->il', [2, 3], [3, 4], [4, 2]),
  ...reductions.flatMap((reduction): Case[] => [
    { op: 'NegativeLogLikelihoodLoss', in: [f([4, 3]), labels], attrs: { reduction } },
    { op: 'NegativeLogLikelihoodLoss', in: [f([4, 3]), labels, f([3], positive)], attrs: { reduction } },
    {
      op: 'NegativeLogLikelihoodLoss',
      in: [f([2, 3, 3]), cells, f([3], positive)],
      attrs: { reduction, ignore_index: 1 },
    },
    { op: 'NegativeLogLikelihoodLoss', in: [f([4, 1]), single], attrs: { reduction, ignore_index: -100 } },
    { op: 'SoftmaxCrossEntropyLoss', in: [f([4, 3]), labels], attrs: { reduction } },
    { op: 'SoftmaxCrossEntropyLoss', in: [f([4, 3]), some], attrs: { reduction, ignore_index: -100 } },
    {
      op: 'NegativeLogLikelihoodLoss',
      in: [f([4, 3]), some, f([3], positive)],
      attrs: { reduction, ignore_index: -100 },
    },
    { op: 'SoftmaxCrossEntropyLoss', in: [f([4, 3]), labels, f([3], positive)], attrs: { reduction, ignore_index: 2 } },
    { op: 'SoftmaxCrossEntropyLoss', in: [f([2, 3, 3]), cells, f([3], positive)], attrs: { reduction } },
    { op: 'SoftmaxCrossEntropyLoss', in: [f([2, 3, 1, 3]), places], attrs: { reduction, ignore_index: 2 } },
    { op: 'NegativeLogLikelihoodLoss', in: [f([2, 3, 1, 3]), places, f([3], positive)], attrs: { reduction } },
    {
      op: 'SoftmaxCrossEntropyLoss',
      in: [f([2, 3, 3]), cells],
      attrs: { reduction, ignore_index: -1 },
      outputs: 2,
      loss: [0, 1],
    },
  ]),
  // The mean of no losses is not a number.
  { op: 'NegativeLogLikelihoodLoss', in: [f([0, 3]), int64([], [0])], attrs: { reduction: 'none' } },
];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  SoftmaxCrossEntropyLoss: { empty: 'ONNX Runtime 1.30 refuses an empty batch' },
};
