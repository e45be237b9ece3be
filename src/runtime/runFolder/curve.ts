/** Reduces the lines of log.jsonl to a curve of bounded size, whatever the length of the run. */

/** Means and extremes over neighbouring steps. */
export interface CurvePoint {
  /** The last step of the point. */
  readonly step: number;
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  /** The number of steps in it. */
  readonly count: number;
  /** The learning rate of its last step; NaN for evaluations. */
  readonly lr: number;
}

export interface Curve {
  /** Adds a line of log.jsonl; a line without a finite loss is ignored. */
  add(line: object): void;
  readonly losses: Series;
  readonly evaluations: Series;
}

export interface Series {
  readonly points: readonly CurvePoint[];
  /** The number of steps per point; 1: the points are the steps themselves. */
  readonly width: number;
}

/**
 * Beyond twice this many points, neighbours are merged: the points depend on the steps alone, not on when a run was
 * interrupted.
 */
const points = 300;

export function emptyCurve(): Curve {
  const [losses, evaluations] = [series(), series()];
  return {
    losses,
    evaluations,
    add: (line) => {
      const step = numberIn(line, 'step');
      if (!Number.isFinite(step)) return;
      losses.add(step, numberIn(line, 'loss'), numberIn(line, 'lr'));
      evaluations.add(step, numberIn(line, 'eval_loss'), Number.NaN);
    },
  };
}

const numberIn = (line: object, name: string): number => {
  const value: unknown = Object.entries(line).find(([key]) => key === name)?.[1];
  return typeof value === 'number' ? value : Number.NaN;
};

function series(): Series & { add(step: number, value: number, lr: number): void } {
  let made: CurvePoint[] = [];
  let width = 1;
  const cell = (step: number): number => Math.ceil(step / width);
  const push = (into: CurvePoint[], next: CurvePoint): void => {
    const last = into.at(-1);
    if (last !== undefined && cell(last.step) === cell(next.step)) into[into.length - 1] = joined(last, next);
    else into.push(next);
  };
  return {
    get points() {
      return made;
    },
    get width() {
      return width;
    },
    add: (step, value, lr) => {
      if (!Number.isFinite(value)) return;
      push(made, { step, mean: value, low: value, high: value, count: 1, lr });
      while (made.length > 2 * points) {
        width *= 2;
        const coarser: CurvePoint[] = [];
        for (const p of made) push(coarser, p);
        made = coarser;
      }
    },
  };
}

function joined(a: CurvePoint, b: CurvePoint): CurvePoint {
  const count = a.count + b.count;
  const mean = a.mean + ((b.mean - a.mean) * b.count) / count;
  return { step: b.step, mean, low: Math.min(a.low, b.low), high: Math.max(a.high, b.high), count, lr: b.lr };
}

/**
 * Gaussian means over neighbouring points, a fortieth of the run on each side, so that they do not lag behind the
 * losses.
 */
export function smoothed({ points: all }: Series): { readonly step: number; readonly value: number }[] {
  const sigma = all.length / 80;
  const kernel = Array.from({ length: Math.ceil(3 * sigma) }, (_, d) => Math.exp(-0.5 * (d / sigma) ** 2));
  return all.map(({ step, mean }, i) => {
    let [sum, weight] = [0, 0];
    for (let at = Math.max(0, i - kernel.length + 1); at < Math.min(all.length, i + kernel.length); at++) {
      const p = all[at];
      const w = (kernel[Math.abs(at - i)] ?? 0) * (p?.count ?? 0);
      sum += w * (p?.mean ?? 0);
      weight += w;
    }
    return { step, value: weight > 0 ? sum / weight : mean };
  });
}
