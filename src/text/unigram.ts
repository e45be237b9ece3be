/** The Unigram model (Kudo 2018): the segmentation of highest probability, with the ties of the Rust library. */

interface Node {
  readonly children: Map<string, Node>;
  id?: number;
}

/** A penalty of unknown characters below the lowest score. */
const unknownPenalty = 10;

export interface Unigram {
  /** The pieces of a pre-token; runs of unknown characters are one. */
  encode(text: string): readonly Piece[];
}

export interface Piece {
  readonly text: string;
  readonly id: number | undefined;
}

/** @param vocabulary pieces with their scores, by id. */
export function unigram(vocabulary: readonly (readonly [string, number])[], unknown: number | null): Unigram {
  const root: Node = { children: new Map() };
  let lowest = Number.POSITIVE_INFINITY;
  for (const [id, [piece, score]] of vocabulary.entries()) {
    lowest = Math.min(lowest, score);
    let node: Node = root;
    for (const char of piece) {
      const next: Node = node.children.get(char) ?? { children: new Map() };
      node.children.set(char, next);
      node = next;
    }
    // The empty piece has no place in the trie; of equal pieces the last one counts.
    if (node !== root) node.id = id;
  }
  const scoreOf = (id: number): number => vocabulary[id]?.[1] ?? 0;
  const unknownScore = lowest - unknownPenalty;
  return {
    encode(text) {
      const chars = Array.from(text);
      const best = bestPaths(chars, root, scoreOf, unknown, unknownScore);
      return piecesOf(chars, best, unknown);
    },
  };
}

/** The best way to each position: the piece that ends there. */
interface Step {
  id: number | undefined;
  start: number;
  score: number;
}

function bestPaths(
  chars: readonly string[],
  root: Node,
  scoreOf: (id: number) => number,
  unknown: number | null,
  unknownScore: number,
): readonly (Step | undefined)[] {
  const best: (Step | undefined)[] = Array.from({ length: chars.length + 1 });
  const offer = (end: number, id: number | undefined, start: number, score: number): void => {
    const there = best[end];
    if (there === undefined || score > there.score) best[end] = { id, start, score };
  };
  for (let start = 0; start < chars.length; start++) {
    const before = best[start]?.score ?? 0;
    let hasSingle = false;
    let node: Node | undefined = root;
    for (let end = start; end < chars.length; ) {
      node = node.children.get(chars[end] ?? '');
      if (node === undefined) break;
      end++;
      if (node.id === undefined) continue;
      offer(end, node.id, start, scoreOf(node.id) + before);
      hasSingle ||= end === start + 1;
    }
    if (!hasSingle) offer(start + 1, unknown ?? undefined, start, unknownScore + before);
  }
  return best;
}

function piecesOf(chars: readonly string[], best: readonly (Step | undefined)[], unknown: number | null): Piece[] {
  const pieces: Piece[] = [];
  // Adjacent unknown characters become one piece.
  let unknownEnd: number | undefined;
  const flush = (start: number): void => {
    if (unknownEnd !== undefined)
      pieces.push({ text: chars.slice(start, unknownEnd).join(''), id: unknown ?? undefined });
    unknownEnd = undefined;
  };
  let end = chars.length;
  while (end > 0) {
    const step = best[end];
    const start = step?.start ?? end - 1;
    if (step?.id === undefined || step.id === unknown) unknownEnd ??= end;
    else {
      flush(end);
      pieces.push({ text: chars.slice(start, end).join(''), id: step.id });
    }
    end = start;
  }
  flush(0);
  return pieces.reverse();
}
