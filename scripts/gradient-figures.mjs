// `npm run figures`: runs the numeric gradient checks and records the errors in test/gradients/figures.json, by
// operator.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = mkdtempSync(join(tmpdir(), 'loraify-figures-'));
const file = join(folder, 'errors.jsonl');
writeFileSync(file, '');
const env = { ...process.env, LORAIFY_FIGURES: file };
const run = spawnSync('npx', ['vitest', 'run', 'test/gradients', '--exclude', '**/figures.test.ts'], {
  env,
  stdio: 'inherit',
});
if (run.status !== 0) process.exit(1);

/** Rounds up to one digit: 3.2e-6 is 4e-6. */
const roundedUp = (x) => {
  const power = Math.floor(Math.log10(x));
  return Number(`${Math.ceil(Number((x / 10 ** power).toPrecision(12)))}e${power}`);
};
/**
 * Rounding differs between processors, so one machine may measure three times the error of another; differences below
 * the accuracy of float64 or float32 are not recorded.
 */
const bound = (error) => (3 * error <= 1e-9 ? 1e-9 : Math.max(1e-6, roundedUp(3 * error)));
const found = new Map();
for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
  const [op, error] = JSON.parse(line);
  const before = found.get(op) ?? { cases: 0, error: 0 };
  found.set(op, { cases: before.cases + 1, error: Math.max(before.error, error) });
}
const rows = [...found]
  .sort(([a], [b]) => (a < b ? -1 : 1))
  .map(([op, { cases, error }]) => `  ${JSON.stringify(op)}: { "cases": ${cases}, "error": ${bound(error)} }`);
writeFileSync(new URL('../test/gradients/figures.json', import.meta.url), `{\n${rows.join(',\n')}\n}\n`);
rmSync(folder, { recursive: true });
