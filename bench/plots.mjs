/**
 * Draws the plots of docs/plots from the recorded data of bench/results: `curves-*.json` are losses (curves.mjs --out),
 * the others tables (all.mjs --out).
 *
 *   node bench/plots.mjs [--out docs/plots]
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { curvesSvg, ratiosSvg, referenceOf } from './plot.mjs';

const root = join(import.meta.dirname, '..');
const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'docs/plots') } } });
const results = join(root, 'bench/results');
mkdirSync(values.out, { recursive: true });
for (const file of readdirSync(results).sort()) {
  const data = JSON.parse(readFileSync(join(results, file), 'utf8'));
  const svg = file.startsWith('curves-') ? await curvesSvg(data, referenceOf(data)) : await ratiosSvg(data);
  writeFileSync(join(values.out, file.replace(/\.json$/, '.svg')), svg);
}
