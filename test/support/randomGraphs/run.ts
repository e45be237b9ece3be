/** Many random graphs, few to a session; a graph that fails is made smaller until nothing can be left out of it. */
import fc from 'fast-check';
import { printModel } from '../../../src/emit/index.ts';
import { compare, mayRefuse, subjectOf } from './check.ts';
import { graphOf, type RandomGraph, type Recipe, recipeOf, recipes } from './graph.ts';

/** How many graphs share a session: the time to open one grows faster than its nodes do. */
const together = 8;

/** What is wrong with one graph, alone in its sessions. */
async function problemOf(recipe: Recipe): Promise<string | undefined> {
  return (await problemsOf([recipe]))[0]?.problem;
}

export interface Outcome {
  /** Index into the recipes. */
  readonly at: number;
  readonly problem: string | undefined;
  /** Refused, as a graph that says too little of its shapes may be. */
  readonly refused: boolean;
}

type Kind = Pick<RandomGraph, 'opset' | 'type'>;

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** In the order of the recipes. */
export async function problemsOf(list: readonly Recipe[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const alike = new Map<string, { readonly kind: Kind; readonly all: number[] }>();
  list.forEach((recipe, at) => {
    try {
      const { opset, type } = graphOf(recipe);
      const key = `${opset} ${type}`;
      const group = alike.get(key) ?? { kind: { opset, type }, all: [] };
      alike.set(key, group);
      group.all.push(at);
    } catch (error) {
      outcomes.push({ at, problem: `it cannot be drawn: ${message(error)}`, refused: false });
    }
  });
  const run = async (kind: Kind, part: readonly number[]): Promise<void> => {
    const compiled = part.flatMap((at) => {
      const graph = graphOf(list[at] ?? empty);
      try {
        return [{ at, subject: subjectOf(graph) }];
      } catch (error) {
        const refused = mayRefuse(error, graph);
        outcomes.push({ at, problem: refused ? undefined : `it does not compile: ${message(error)}`, refused });
        return [];
      }
    });
    if (compiled.length === 0) return;
    const subjects = compiled.map((c) => c.subject);
    const found = await compare(subjects, kind).catch((error: unknown) => message(error));
    if (typeof found !== 'string')
      compiled.forEach(({ at }, i) => {
        outcomes.push({ at, problem: found[i], refused: false });
      });
    else if (compiled.length === 1)
      for (const { at } of compiled) outcomes.push({ at, problem: `it does not run: ${found}`, refused: false });
    else {
      // One of them is to blame.
      const half = compiled.length >> 1;
      const indices = compiled.map((c) => c.at);
      await run(kind, indices.slice(0, half));
      await run(kind, indices.slice(half));
    }
  };
  for (const { kind, all } of alike.values())
    for (let i = 0; i < all.length; i += together) await run(kind, all.slice(i, i + together));
  return outcomes.sort((a, b) => a.at - b.at);
}

const empty: Recipe = { seed: 0, head: [], steps: [] };

/** For people: what is wrong with the graph of this seed, and the smallest graph found that has something wrong too. */
export async function report(seed: number, problem: string): Promise<string> {
  const again = `RANDOM_GRAPHS=1 RANDOM_GRAPHS_SEED=${seed} npx vitest run test/gradients/random.test.ts`;
  const property = fc.asyncProperty(recipes, async (recipe) => (await problemOf(recipe)) === undefined);
  const result = await fc.check(property, { seed, numRuns: 1, interruptAfterTimeLimit: 30_000 });
  const [smallest = recipeOf(seed)] = result.counterexample ?? [];
  const left = await problemOf(smallest);
  return `seed ${seed}: ${problem}\n\n${again}\n\nsmallest: ${left}\n\n${text(smallest)}`;
}

/** The model, with values of its inputs. */
function text(recipe: Recipe): string {
  try {
    const { model, data } = graphOf(recipe);
    const values = [...data].map(([name, d]) => `# ${name} = [${d.values.join(', ')}]`);
    return [printModel(model, { full: true, comments: false }), ...values].join('\n');
  } catch (error) {
    return message(error);
  }
}
