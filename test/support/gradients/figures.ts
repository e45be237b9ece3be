/**
 * What the numeric checks found, by operator: how many rows it has, and a bound on their errors. The page of operators is the
 * record; `npm run figures` measures and writes it. Otherwise a row that is worse than what is recorded fails.
 */
import { readFileSync } from 'node:fs';
import { type Case, onMeasured } from './harness.ts';

export interface Figure {
  readonly cases: number;
  readonly error: number;
}
type Figures = ReadonlyMap<string, Figure>;

const page: { readonly operatorsFile: URL; figuresOf(page: string): Figures } = await import(
  new URL('../../../scripts/operators-doc.mjs', import.meta.url).href
);

/** As the page of operators shows them. */
export const figures: Figures = page.figuresOf(readFileSync(page.operatorsFile, 'utf8'));

/** Rows in float16 say how it rounds, not how good the rule is. */
export const isMeasured = (row: Case): boolean => row.refused === undefined && row.dtype !== 'float16';

/** Internal operators and those that tests make have no figure. */
export const hasFigure = (op: string): boolean => !op.startsWith('loraify.') && !op.startsWith('test.');

/** Runs checks; the worst of their errors. */
export async function worstError(run: () => Promise<unknown>): Promise<number> {
  let worst = 0;
  const stop = onMeasured((error) => {
    worst = Math.max(worst, error);
  });
  try {
    await run();
  } finally {
    stop();
  }
  return worst;
}

/** Runs the checks of one row, and holds their errors against the record of its operators (LORAIFY_FIGURES=ignore: not). */
export async function measured(ops: readonly string[], run: () => Promise<unknown>): Promise<void> {
  const worst = await worstError(run);
  if (process.env.LORAIFY_FIGURES === 'ignore') return;
  for (const op of ops.filter(hasFigure)) {
    const recorded = figures.get(op);
    if (recorded === undefined) throw new Error(`${op} has no recorded figure: npm run figures -- ${op}`);
    if (worst > recorded.error)
      throw new Error(`${op}: error ${worst} is above the recorded ${recorded.error} (npm run figures -- ${op})`);
  }
}

/** Up to one digit: 3.2e-6 is 4e-6. */
function roundedUp(x: number): number {
  const power = Math.floor(Math.log10(x));
  return Number(`${Math.ceil(Number((x / 10 ** power).toPrecision(12)))}e${power}`);
}

/**
 * The bound that is recorded for a worst error: three times as much, since roundings differ from one processor to the next, and
 * not below what differences of float64 (1e-9) or of float32 (1e-6) can tell apart.
 */
export const bound = (error: number): number => (3 * error <= 1e-9 ? 1e-9 : Math.max(1e-6, roundedUp(3 * error)));
