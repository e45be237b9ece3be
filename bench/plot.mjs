/**
 * Draws the plots of docs/plots with Vega: losses of several runs, and ratios of step times. Equal data give equal
 * texts.
 */
import { parse, resetSVGDefIds, View } from 'vega';

const [grey, faint] = ['#5f6b76', '#e8ebee'];
const colours = [
  '#1f6fb2',
  '#d9480f',
  '#2b8a3e',
  '#9c36b5',
  '#e0a100',
  '#0b7285',
  '#c2255c',
  '#5f6b76',
  '#74b816',
  '#364fc7',
];
const axisStyle = {
  labelColor: grey,
  titleColor: grey,
  gridColor: faint,
  domainColor: '#b6bec6',
  tickColor: '#b6bec6',
};

async function svgOf(spec) {
  // The counter is global to the process.
  resetSVGDefIds();
  const base = { $schema: 'https://vega.github.io/schema/vega/v6.json', background: 'white', autosize: 'none' };
  const view = new View(parse({ ...base, config: { axis: axisStyle }, ...spec }), { renderer: 'none' });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}

// ---------------------------------------------------------------- losses

/** The run that the others are compared with. */
export function referenceOf({ runs }, name) {
  const found = runs.find((r) => (name === undefined ? r.name.startsWith('CPU fp32') : r.name === name)) ?? runs[0];
  if (found === undefined || (name !== undefined && found.name !== name))
    throw new Error(`no run "${name ?? ''}" among: ${runs.map((r) => r.name).join('; ')}`);
  return found;
}

/** The distance of each loss, relative to the reference's. */
export const distances = (run, reference) =>
  run.losses.map((x, i) => Math.abs(x - reference.losses[i]) / Math.abs(reference.losses[i]));

/** Plots losses, and below them the distance of each run from the reference, on a logarithmic scale. */
export function curvesSvg(data, reference) {
  const [width, high, low, gap] = [640, 240, 200, 30];
  const names = data.runs.map((r) => r.name);
  const points = data.runs.flatMap((run) => run.losses.map((loss, i) => ({ run: run.name, step: i + 1, loss })));
  // Equal losses cannot be shown on a logarithmic scale.
  const off = data.runs.flatMap((run) =>
    distances(run, reference).flatMap((d, i) => (d > 0 ? [{ run: run.name, step: i + 1, off: d }] : [])),
  );
  const line = (from, field) => ({
    type: 'group',
    from: { facet: { name: `${field}s`, data: from, groupby: 'run' } },
    marks: [
      {
        type: 'line',
        from: { data: `${field}s` },
        encode: {
          enter: {
            x: { scale: 'x', field: 'step' },
            y: { scale: 'y', field },
            stroke: { scale: 'colour', field: 'run' },
            strokeWidth: { value: 1.4 },
          },
        },
      },
    ],
  });
  const panel = (y, height, scale, format, from, field, title, last) => ({
    type: 'group',
    name: field,
    encode: { enter: { y: { value: y }, width: { value: width }, height: { value: height } } },
    scales: [{ name: 'y', range: [height, 0], domain: { data: from, field }, nice: true, ...scale }],
    axes: [
      { scale: 'x', orient: 'bottom', grid: true, gridScale: 'y', labels: last, ...(last ? { title: 'step' } : {}) },
      { scale: 'y', orient: 'left', grid: true, gridScale: 'x', title, tickCount: 5, titlePadding: 8, ...format },
    ],
    marks: [line(from, field)],
  });
  return svgOf({
    description: `losses of ${data.workload} over ${data.steps} steps`,
    width,
    height: high + gap + low,
    padding: { left: 76, right: 190, top: 44, bottom: 44 },
    title: { text: `${data.workload}: ${data.steps} steps, one batch, rate ${data.rate}`, anchor: 'start', offset: 12 },
    data: [
      { name: 'losses', values: points },
      { name: 'distances', values: off },
    ],
    scales: [
      { name: 'x', type: 'linear', domain: [0, data.steps], range: [0, width] },
      { name: 'colour', type: 'ordinal', domain: names, range: colours },
    ],
    legends: [
      { stroke: 'colour', symbolType: 'stroke', orient: 'right', offset: 12, labelColor: grey, labelLimit: 170 },
    ],
    marks: [
      panel(0, high, { type: 'linear', zero: false }, {}, 'losses', 'loss', 'loss', false),
      panel(
        high + gap,
        low,
        { type: 'log' },
        { format: '.0e' },
        'distances',
        'off',
        `distance to ${reference.name}`,
        true,
      ),
    ],
  });
}

// ---------------------------------------------------------------- ratios

const middle = (list) => {
  const sorted = [...list].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};

/** Time of a step as a fraction of each peer's, by row of a table: ratio of medians. */
export const ratios = ({ rows }) =>
  rows.flatMap(({ workload, loraify, peers }) =>
    Object.entries(peers).map(([peer, ms]) => ({ workload, peer, ratio: middle(loraify) / middle(ms) })),
  );

/** A dot for each peer, in a row for each workload; to the left of the line the step is faster than the peer's. */
export function ratiosSvg(table) {
  const points = ratios(table);
  const names = table.rows.map((r) => r.workload);
  const [width, height] = [420, 30 * names.length];
  const at = { x: { scale: 'x', field: 'ratio' }, y: { scale: 'y', field: 'workload', band: 0.5 } };
  return svgOf({
    description: `step times of ${table.title} as parts of PyTorch's`,
    width,
    height,
    padding: { left: 330, right: 150, top: 44, bottom: 44 },
    title: { text: `${table.title}: time of a step / time of PyTorch's`, anchor: 'start', offset: 12 },
    data: [{ name: 'ratios', values: points.map((p) => ({ ...p, text: p.ratio.toFixed(2) })) }],
    scales: [
      {
        name: 'x',
        type: 'linear',
        domain: [0, Math.max(1.2, ...points.map((p) => p.ratio * 1.08))],
        range: [0, width],
      },
      { name: 'y', type: 'band', domain: names, range: [0, height] },
      { name: 'colour', type: 'ordinal', domain: [...new Set(points.map((p) => p.peer))], range: colours },
    ],
    axes: [
      { scale: 'x', orient: 'bottom', grid: true, title: 'below 1: faster than the peer' },
      { scale: 'y', orient: 'left', domain: false, ticks: false, labelLimit: 320, labelPadding: 8 },
    ],
    legends: [{ fill: 'colour', symbolType: 'circle', orient: 'right', offset: 12, labelColor: grey }],
    marks: [
      {
        type: 'rule',
        encode: {
          enter: {
            x: { scale: 'x', value: 1 },
            y: { value: 0 },
            y2: { value: height },
            stroke: { value: grey },
            strokeDash: { value: [4, 3] },
          },
        },
      },
      {
        type: 'symbol',
        from: { data: 'ratios' },
        encode: {
          enter: {
            ...at,
            fill: { scale: 'colour', field: 'peer' },
            size: { value: 80 },
            description: { signal: "datum.workload + ', ' + datum.peer + ': ' + datum.text" },
          },
        },
      },
      {
        type: 'text',
        from: { data: 'ratios' },
        encode: {
          enter: {
            ...at,
            text: { field: 'text' },
            dx: { value: 7 },
            baseline: { value: 'middle' },
            fontSize: { value: 10 },
            fill: { value: grey },
          },
        },
      },
    ],
  });
}
