/** loss.svg of a run: losses and learning rate over the steps. Drawn by Vega, which is loaded for the first plot. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Mark, Spec } from 'vega';
import { openReader, reasonOf, writeFileAtomic } from '../../formats/files.ts';
import { linesOf } from '../../formats/lines.ts';
import { type Curve, type CurvePoint, emptyCurve, type Series, smoothed } from './curve.ts';
import { logName } from './log.ts';

const plotName = 'loss.svg';

/** A curve that is drawn periodically. */
export interface LossPlot {
  /** Adds a line of log.jsonl. */
  add(line: object): void;
  /**
   * Writes loss.svg; unless it is the `last` time, only if that takes a small part of the time since the previous one.
   * Returns the reason if it could not be written: a run continues without its plot.
   */
  draw(last: boolean): Promise<string | undefined>;
}

/** The maximum share of a run's time for plots. */
const share = 0.02;

/** The plot of a run folder whose log.jsonl has the steps so far. */
export function openPlot(folder: string, title: string): LossPlot {
  const curve = readCurve(join(folder, logName));
  let [drawn, took] = [performance.now(), 0];
  return {
    add: curve.add,
    draw: async (last) => {
      const start = performance.now();
      if (!last && took > share * (start - drawn)) return undefined;
      try {
        const svg = await lossSvg(curve, title);
        if (svg !== undefined) writeFileAtomic(join(folder, plotName), [Buffer.from(svg)]);
      } catch (error) {
        return `${plotName} is not written: ${reasonOf(error)}`;
      }
      drawn = performance.now();
      took = drawn - start;
      return undefined;
    },
  };
}

function readCurve(file: string): Curve {
  const curve = emptyCurve();
  if (!existsSync(file)) return curve;
  const reader = openReader(file);
  try {
    for (const { bytes } of linesOf(reader)) {
      const line: unknown = JSON.parse(Buffer.from(bytes).toString());
      if (typeof line === 'object' && line !== null) curve.add(line);
    }
  } finally {
    reader.close();
  }
  return curve;
}

/** A curve as SVG; undefined if there is no loss to draw. Equal curves give equal texts. */
export async function lossSvg(curve: Curve, title: string): Promise<string | undefined> {
  if (curve.losses.points.length === 0) return undefined;
  const { parse, resetSVGDefIds, View } = await import('vega');
  // The counter is global to the process.
  resetSVGDefIds();
  const view = new View(parse(plotSpec(curve, title)), { renderer: 'none' });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}

const blue = '#1f6fb2';
const orange = '#d9480f';
const grey = '#5f6b76';
const [width, lossHeight, rateHeight, gap] = [760, 320, 80, 34];

const significant = (x: number): string => String(Number(x.toPrecision(4)));

/** Up to this number, every step is a point on a line. */
const few = 40;

/** Up to this number, evaluations are drawn as points too. */
const most = 120;

function plotSpec({ losses, evaluations }: Curve, title: string): Spec {
  const [low, high] = rangeOf({ losses, evaluations });
  const last = Math.max(...[...losses.points, ...evaluations.points].map((p) => p.step));
  const isShort = losses.points.length <= few;
  const best = bestOf(evaluations);
  const rates = losses.points.map((p) => p.lr).filter(Number.isFinite);
  return {
    $schema: 'https://vega.github.io/schema/vega/v6.json',
    description: `${title} over ${last} steps`,
    width,
    height: lossHeight + gap + rateHeight,
    // Without fonts Vega overestimates the width of texts.
    autosize: 'none',
    padding: { left: 92, right: 32, top: 62, bottom: 48 },
    background: 'white',
    title: { text: title, subtitle: summary({ losses, evaluations }), anchor: 'start', offset: 12, subtitlePadding: 4 },
    config: {
      axis: { labelColor: grey, titleColor: grey, gridColor: '#e8ebee', domainColor: '#b6bec6', tickColor: '#b6bec6' },
    },
    data: [
      { name: 'losses', values: losses.points.map(({ step, mean, low, high }) => ({ step, mean, low, high })) },
      { name: 'smoothed', values: isShort ? [] : smoothed(losses) },
      {
        name: 'rates',
        values: losses.points.map(({ step, lr }) => ({ step, lr })).filter((p) => Number.isFinite(p.lr)),
      },
      { name: 'evaluations', values: evaluations.points.map(({ step, mean }) => ({ step, mean })) },
      { name: 'best', values: best === undefined ? [] : [{ step: best.step, mean: best.mean }] },
    ],
    scales: [
      { name: 'x', type: 'linear', domain: [0, last], range: [0, width] },
      {
        name: 'colour',
        type: 'ordinal',
        domain: ['training', ...(evaluations.points.length > 0 ? ['evaluation'] : [])],
        range: [blue, orange],
      },
    ],
    legends: [{ fill: 'colour', orient: 'top-right', symbolType: 'circle', labelColor: grey, fillColor: 'white' }],
    marks: [
      panel('loss', 0, lossHeight, lossScale(low, high), [
        ...(losses.width === 1 ? [line('losses', 'mean', blue, isShort ? 1.8 : 0.8, isShort ? 1 : 0.35)] : [band]),
        ...(isShort ? [dots('losses', blue, 16, 'training')] : [line('smoothed', 'value', blue, 1.8, 1)]),
        line('evaluations', 'mean', orange, 1.5, 1),
        ...(evaluations.points.length <= most ? [dots('evaluations', orange, 30, 'evaluation')] : []),
        ring,
      ]),
      panel(
        'learning rate',
        lossHeight + gap,
        rateHeight,
        { type: 'linear', domain: [0, Math.max(...rates, 0) || 1], nice: 2, format: '.2~g' },
        [line('rates', 'lr', grey, 1.5, 1)],
        'step',
      ),
    ],
  };
}

/**
 * The range of the loss axis: all evaluations, the smoothed line and nine tenths of the points around it. A few
 * outliers would make a flat line of everything else.
 */
function rangeOf({ losses, evaluations }: Pick<Curve, 'losses' | 'evaluations'>): readonly [low: number, high: number] {
  const shown = [...smoothed(losses).map((p) => p.value), ...evaluations.points.flatMap((p) => [p.low, p.high])];
  const [lows, highs] = [losses.points.map((p) => p.low), losses.points.map((p) => p.high)].map((a) =>
    a.sort((x, y) => x - y),
  );
  if (lows === undefined || highs === undefined) return [0, 1];
  const cut = losses.points.length <= few ? 0 : Math.floor(losses.points.length / 20);
  return [Math.min(...shown, lows[cut] ?? 0), Math.max(...shown, highs[highs.length - 1 - cut] ?? 0)];
}

/** Losses that fall by a factor of a hundred are legible only on a logarithmic scale. */
function lossScale(low: number, high: number): Panel {
  if (low > 0 && high / low > 100) return { type: 'log', domain: [low, high], nice: true };
  const margin = (high - low || Math.abs(high) || 1) * 0.04;
  return { type: 'linear', domain: [low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin], nice: true };
}

const bestOf = ({ points }: Series): CurvePoint | undefined =>
  points
    .filter((p) => p.step > 0)
    .reduce<CurvePoint | undefined>((a, b) => (a === undefined || b.low < a.low ? b : a), undefined);

/** The most important numbers. */
function summary({ losses, evaluations }: Pick<Curve, 'losses' | 'evaluations'>): string {
  const best = bestOf(evaluations);
  const highest = Math.max(...losses.points.map((p) => p.high));
  const now = smoothed(losses).at(-1)?.value ?? Number.NaN;
  const parts = [
    `${losses.points.at(-1)?.step} steps`,
    `training ${significant(now)}`,
    ...(best === undefined ? [] : [`best evaluation ${significant(best.low)} at step ${best.step}`]),
    ...(losses.width === 1 ? [] : [`each point ${losses.width} steps, lowest to highest`]),
    ...(highest > Math.max(...lossScale(...rangeOf({ losses, evaluations })).domain) * 1.05
      ? [`highest ${significant(highest)}`]
      : []),
  ];
  return parts.join('  ·  ');
}

interface Panel {
  /** The number format of the axis, in d3-format's syntax. */
  readonly format?: string;
  readonly type: 'linear' | 'log';
  readonly domain: [number, number];
  readonly nice: boolean | number;
}

/** Axes and marks over the steps; `under` is the title of the x axis. */
function panel(
  name: string,
  y: number,
  height: number,
  { format, ...scale }: Panel,
  marks: readonly Mark[],
  under?: string,
): Mark {
  const steps = { scale: 'x', orient: 'bottom', gridScale: 'y', format: ',d', tickMinStep: 1, tickCount: 8 } as const;
  return {
    type: 'group',
    name: name.replace(' ', '_'),
    encode: { enter: { y: { value: y }, width: { value: width }, height: { value: height } } },
    scales: [{ ...scale, name: 'y', range: [height, 0] }],
    axes: [
      {
        ...steps,
        grid: true,
        domain: true,
        labels: under !== undefined,
        ...(under === undefined ? {} : { title: under }),
      },
      {
        scale: 'y',
        orient: 'left',
        grid: true,
        gridScale: 'x',
        title: name,
        ...(format === undefined ? {} : { format }),
        tickCount: Math.round(height / 45),
        titlePadding: 8,
      },
    ],
    marks: [...marks],
  };
}

function line(data: string, field: string, stroke: string, strokeWidth: number, opacity: number): Mark {
  const enter = {
    ...{ x: { scale: 'x', field: 'step' }, y: { scale: 'y', field } },
    ...{ stroke: { value: stroke }, strokeWidth: { value: strokeWidth }, strokeOpacity: { value: opacity } },
    strokeJoin: { value: 'round' as const },
  };
  return { type: 'line', name: `line_${data}`, from: { data }, clip: data === 'losses', encode: { enter } };
}

/** From the lowest to the highest step of each point. */
const band: Mark = {
  type: 'area',
  name: 'band',
  clip: true,
  from: { data: 'losses' },
  encode: {
    enter: {
      ...{ x: { scale: 'x', field: 'step' }, y: { scale: 'y', field: 'low' }, y2: { scale: 'y', field: 'high' } },
      ...{ fill: { value: blue }, fillOpacity: { value: 0.2 } },
    },
  },
};

/** Each point has a description for screen readers, and for searches in the file. */
function dots(data: string, fill: string, size: number, what: string): Mark {
  const enter = {
    ...{ x: { scale: 'x', field: 'step' }, y: { scale: 'y', field: 'mean' } },
    ...{ fill: { value: fill }, size: { value: size } },
    description: { signal: `'${what} at step ' + datum.step + ': ' + datum.mean` },
  };
  return { type: 'symbol', name: `dots_${data}`, from: { data }, encode: { enter } };
}

const ring: Mark = {
  type: 'symbol',
  name: 'best',
  from: { data: 'best' },
  encode: {
    enter: {
      ...{ x: { scale: 'x', field: 'step' }, y: { scale: 'y', field: 'mean' }, size: { value: 150 } },
      ...{ stroke: { value: orange }, strokeWidth: { value: 1.5 }, fill: { value: 'transparent' } },
      description: { signal: "'best evaluation, step ' + datum.step" },
    },
  },
};
