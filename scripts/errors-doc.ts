/** Writes docs/errors.md from the catalogue. */
import { writeFileSync } from 'node:fs';
import { catalogue } from '../src/errors.ts';

const rows = [...catalogue.values()].sort((a, b) => a.code.localeCompare(b.code));
const text = [
  '# Error codes',
  '',
  'Errors are printed as `error[CODE]: what happened`, then where, then a hint. The exit status is 1 (2 for wrong usage of the command line).',
  '',
  ...rows.flatMap((r) => [`## ${r.code}`, '', `Cause: ${r.cause}`, '', `Cure: ${r.cure}.`, '']),
].join('\n');
writeFileSync(new URL('../docs/errors.md', import.meta.url), text);
