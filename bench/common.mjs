/** What the benchmarks share. */
import { cpus, loadavg } from 'node:os';

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const last = sorted.length - 1;
  return (sorted[Math.floor(last / 2)] + sorted[Math.ceil(last / 2)]) / 2;
}

/** Numbers are rounded to whole ones; what needs digits comes as text. */
export function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map((c) => (typeof c === 'number' ? c.toFixed(0) : c)));
  const widths = head.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  for (const row of cells) console.log(row.map((c, i) => c.padStart(widths[i])).join('  '));
}

/** Numbers taken beside other work mean little. */
export function warnOfLoad() {
  const [load] = loadavg();
  if (load > 0.5)
    console.error(`warning: the load average is ${load.toFixed(1)} on ${cpus().length} cores; run on an idle machine`);
}
