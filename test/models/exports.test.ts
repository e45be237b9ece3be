/** Files of PyTorch's exporters against PyTorch + PEFT: paths, chosen loss, loss and gradients (fixtures/exports). */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const packs = join(root, 'fixtures/exports');

it('every export pack is right: loss, gradients, five steps, module paths and the loss that auto chooses', async () => {
  const count = readdirSync(packs, { withFileTypes: true }).filter((e) => e.isDirectory()).length;
  // A pack that is wrong makes the script fail, with the pack and the reason on stderr.
  const { stdout } = await promisify(execFile)(process.execPath, [join(root, 'bench/exports/check.mjs'), packs]);
  expect(stdout).toContain(`${count} of ${count} usable files right (0 not usable)`);
});
