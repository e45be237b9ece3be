// `npm run docs`: writes docs/reference/errors.md from the compiled catalogue of errors.
import { realpathSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The page, from the entries { code, cause, cure } of the catalogue. */
export function errorsPage(entries) {
  const rows = [...entries].sort((a, b) => (a.code < b.code ? -1 : 1));
  const head = [
    '# Error codes',
    '',
    'An expected failure is printed on stderr as `error[CODE]: what happened`, then the place in the model, then',
    '`hint: what to do`. The exit status is 1. In the library the same failure is a `LoraifyError` with `code`, `message`,',
    '`hint` and the node or file. Wrong usage of the command line has no code and exits with 2; an interrupted run exits',
    'with 130.',
    '',
    'This page is generated from the catalogue in src/errors.ts by `npm run docs`.',
    '',
  ];
  const body = rows.flatMap(({ code, cause, cure }) => [`## ${code}`, '', `Cause: ${cause}`, '', `Cure: ${cure}.`, '']);
  return [...head, ...body].join('\n');
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === self) {
  const { catalogue } = await import('../dist/errors.js');
  writeFileSync(new URL('../docs/reference/errors.md', import.meta.url), errorsPage(catalogue.values()));
}
