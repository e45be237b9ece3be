/**
 * The small files of fixtures/cases: one folder for each kind of model or data that was answered wrongly once. `cmd.txt` has the commands,
 * `expected.txt` what is right.
 */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from './temporaryFolder.ts';

export const cases = join(import.meta.dirname, '../../fixtures/cases');

/** A copy of the files of a case that is removed after the test, so that commands can write beside them. */
export function caseFolder(name: string): string {
  const folder = temporaryFolder();
  cpSync(join(cases, name), folder, { recursive: true });
  return folder;
}
