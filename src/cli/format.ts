/** Numbers and tables for people. */

import Table from 'cli-table3';
import { type MetricName, metricNames, metrics } from '../graph/choices/metrics.ts';
import type { Evaluation, NodePlacement } from '../index.ts';

/**
 * 1342468 -> 1,342,468, for integers. Node's own way loads the rules of languages first, which takes longer than a
 * summary.
 */
export const count = (n: number): string => String(n).replace(/\B(?=(?:\d{3})+$)/g, ',');

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = n < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(n) / 10));
  const value = n / 2 ** (10 * power);
  // From 1000 on three digits would be written with an exponent.
  return `${power === 0 ? value : value < 999.5 ? value.toPrecision(3) : Math.round(value)} ${units[power]}`;
}

export const percent = (part: number, whole: number): string => `${((100 * part) / whole).toPrecision(3)} %`;

/** Five significant digits; very small numbers with an exponent. */
export const short = (x: number): string => (Number.isFinite(x) ? String(Number(x.toPrecision(5))) : String(x));

export const plural = (n: number, noun: string, many = `${noun}s`): string => `${count(n)} ${n === 1 ? noun : many}`;

/** A table without colours and without lines between rows. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const chars = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
  const made = new Table({ head: [...head], chars, style: { head: [], border: [] } });
  for (const row of rows) made.push([...row]);
  return made.toString();
}

/** Operators that are named one by one. */
const namedOperators = 6;

/** Which nodes of a graph did not run on the device. */
export function placementText({ graph, nodes, onCpu, copies }: NodePlacement): string {
  const all = Object.entries(onCpu);
  const fallen = all.reduce((sum, [, n]) => sum + n, 0);
  const copied = copies === 0 ? '' : `; ${plural(copies, 'copy', 'copies')} between them`;
  if (fallen === 0) return `all ${plural(nodes, 'node')} of ${graph}.onnx on the device${copied}`;
  const named = all.slice(0, namedOperators).map(([op, n]) => (n === 1 ? op : `${n} ${op}`));
  const more = all.length > named.length ? ', …' : '';
  return `${count(fallen)} of ${plural(nodes, 'node')} of ${graph}.onnx on the CPU: ${named.join(', ')}${more}${copied}`;
}

/** The metrics of an evaluation that its loss has. */
export function metricsText(found: Evaluation): string[] {
  return metricNames.flatMap((name) => {
    const value = found[name];
    return value === undefined || name === 'loss' ? [] : [`${metrics[name].label} ${metricValue(name, value)}`];
  });
}

/** A value of a metric with its unit. */
export const metricValue = (name: MetricName, value: number): string =>
  metrics[name].isShare === true ? `${(100 * value).toFixed(2)} %` : short(value);
