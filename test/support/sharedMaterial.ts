/** Large shared test material beside the repository: tests that need it are skipped with a message where it is absent. */

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'vitest';

const root = resolve(import.meta.dirname, '../../../shared');

/** The path of a shared file or folder, such as `parity/bert_cls/init`; it need not exist. */
export function sharedPath(...parts: readonly string[]): string {
  return join(root, ...parts);
}

/**
 * A describe block over shared material. Without the material it is one skipped test that says what is missing, or, with
 * REQUIRE_SHARED=1, one failed test.
 */
export function describeShared(name: string, needs: string | readonly string[], body: () => void): void {
  const missing = [needs].flat().filter((part) => !existsSync(sharedPath(part)));
  if (missing.length === 0) {
    describe(name, body);
    return;
  }
  const message = `shared material is absent: ${missing.map((part) => sharedPath(part)).join(', ')}`;
  describe(name, () => {
    if (process.env.REQUIRE_SHARED === '1') {
      it('has its shared material', () => {
        throw new Error(message);
      });
    } else {
      it.skip(message, () => {});
    }
  });
}
