/** The process in which run.ts executes tests: a copy of the sources whose mutants `$m` enables. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

let active = Number(process.env.MUTANT ?? -1);
const always = active;
/** Mutants that were reached. */
let reached = new Set();
globalThis.$m = (id) => {
  reached.add(id);
  return id === active;
};

const { sources, tests, together } = JSON.parse(process.env.MUTATION ?? '{}');
for (const file of sources) await import(`./${file}`);
const early = [...reached];
const { checks, finishing, last, within } = await import('./standIn.mjs');
for (const file of tests)
  await within(
    file,
    together.some((name) => file.endsWith(name)),
    () => import(`./${file}`),
  );
const folder = process.env.TMPDIR ?? '';
const loaded = new Set(readdirSync(folder, { recursive: true }));
process.send({ loaded: checks.map((c) => c.name), reached: early });

// Rejections of promises that a test did not wait for.
process.on('unhandledRejection', () => {});
process.on('message', async ({ run, mutant }) => {
  if (run === undefined) {
    for (const hook of last) await hook();
    process.exit(0);
  }
  active = mutant ?? always;
  for (const i of run) {
    reached = new Set();
    const start = performance.now();
    const failure = await failureOf(checks[i]);
    const seconds = (performance.now() - start) / 1000;
    const memory = process.memoryUsage.rss();
    process.send({ check: i, failure, seconds, memory, reached: active < 0 ? [...reached] : [] });
    if (failure !== undefined && active >= 0) break;
  }
  process.send({ done: true });
});

async function failureOf({ before, run }) {
  // Restores the folder to its initial state for the next test.
  for (const file of readdirSync(folder, { recursive: true }))
    if (!loaded.has(file)) rmSync(join(folder, file), { recursive: true, force: true });
  try {
    for (const hook of before) await hook();
    await run();
    return undefined;
  } catch (error) {
    return String(error?.message ?? error).slice(0, 300) || 'an error without a message';
  } finally {
    for (const hook of finishing.splice(0)) await hook();
  }
}
