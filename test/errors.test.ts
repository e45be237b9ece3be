/** The catalogue of errors and the page made from it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type CatalogueEntry, catalogue } from '../src/errors.ts';

const root = join(import.meta.dirname, '..');
const script: { errorsPage(entries: Iterable<CatalogueEntry>): string } = await import(
  pathToFileURL(join(root, 'scripts/errors-doc.mjs')).href
);

describe('catalogue of errors', () => {
  it('is what docs/reference/errors.md shows (npm run docs writes it)', () => {
    expect(readFileSync(join(root, 'docs/reference/errors.md'), 'utf8')).toBe(script.errorsPage(catalogue.values()));
  });

  it.each([...catalogue.values()].map((e) => [e.code, e] as const))(
    '%s has a name, a cause and a cure',
    (code, entry) => {
      expect(code).toMatch(/^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/);
      expect(entry.cause).toMatch(/^\S.*\.$/);
      // The cure is also the hint on the terminal: a clause without a full stop.
      expect(entry.cure).toMatch(/^\S.*[^.]$/);
    },
  );
});
