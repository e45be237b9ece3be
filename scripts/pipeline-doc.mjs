// `npm run docs`: writes the list of stages and passes into docs/explain/architecture.md, between its two markers.
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [begin, end] = ['<!-- pipeline -->', '<!-- /pipeline -->'];

/** The list, from the stages of src/passes/training/pipeline.ts. */
export function pipelineText(stages) {
  return stages
    .map(({ name, makes, passes }) =>
      [
        `### ${name}`,
        '',
        `Makes ${makes}.`,
        '',
        '| pass | runs | why |',
        '|---|---|---|',
        ...passes.map((p) => `| \`${p.name}\` | ${p.when?.text ?? 'always'} | ${p.why} |`),
        '',
      ].join('\n'),
    )
    .join('\n');
}

/** The page with the list in its place. */
export function withPipeline(page, stages) {
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`the page lacks ${begin} or ${end}`);
  return `${page.slice(0, from + begin.length)}\n\n${pipelineText(stages)}\n${page.slice(to)}`;
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === self) {
  const { stages } = await import('../dist/passes/index.js');
  const file = new URL('../docs/explain/architecture.md', import.meta.url);
  writeFileSync(file, withPipeline(readFileSync(file, 'utf8'), stages));
}
