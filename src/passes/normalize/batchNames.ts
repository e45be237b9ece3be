/** Names of axes, as exporters and users write them: which count rows, and which count the positions of a sequence. */
import type { Dim } from '../../graph/model.ts';
import { wordsOf } from './bind/names.ts';

/** The rank of a name that certainly counts rows. */
export const strong = 2;
const batchNames: ReadonlySet<string> = new Set('n b bs nb rows samples examples instances'.split(' '));
const sequenceNames: ReadonlySet<string> = new Set(
  'seq seqlen sequence sequences time times timesteps timestep steps step frame frames length len lengths tokens token'.split(
    ' ',
  ),
);

/** Alone: torch names any axis `s0`, `s1`. */
const sequenceLetters: ReadonlySet<string> = new Set('t l s'.split(' '));

/** 2 for a batch, 1 for a letter or a word that often is one, else 0. */
export function rankOfName(name: Dim): number {
  if (typeof name !== 'string') return 0;
  const words = wordsOf(name);
  if (words.some((w) => w.includes('batch') || w === 'bsz')) return strong;
  const rest = words.filter((w) => w !== 'num' && w !== 'dim' && w !== 'size' && w !== 'dynamic' && !/^\d+$/.test(w));
  return rest.length === 1 && rest.every((w) => batchNames.has(w)) ? 1 : 0;
}

/** Whether an axis has the name of a sequence. */
export const isSequence = (name: string): boolean =>
  sequenceLetters.has(name.toLowerCase()) || wordsOf(name).some((w) => sequenceNames.has(w));
