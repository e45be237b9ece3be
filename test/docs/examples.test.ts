/** The programs in examples/ do what the pages show. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const root = join(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

describe('the page', () => {
  const html = read('examples/browser/index.html');
  it('imports what the build and the development packages have', () => {
    const { imports }: { imports: Record<string, string> } = JSON.parse(
      /<script type="importmap">([\s\S]*?)<\/script>/.exec(html)?.[1] ?? '',
    );
    expect(Object.keys(imports)).toEqual(['onnxruntime-web', 'loraify/adapter']);
    expect(Object.values(imports).filter((file) => !existsSync(join(root, file)))).toEqual([]);
  });

  it('has the elements that its program asks for', () => {
    const ids = [...read('examples/browser/page.mjs').matchAll(/\bat\('([\w-]+)'\)/g)].map((m) => m[1]);
    expect(ids.length).toBeGreaterThan(5);
    expect(ids.filter((id) => !html.includes(`id="${id}"`))).toEqual([]);
  });
});

describe('examples, on the build in dist/', () => {
  const cwd = temporaryFolder();
  const node = (file: string, ...args: readonly string[]): string =>
    execFileSync(process.execPath, [join(root, 'examples', file), ...args], { cwd, encoding: 'utf8' });

  it('the demo repairs the model, and the merged file runs by itself', () => {
    const out = node('demo.mjs');
    const share = (line: string): number =>
      Number(new RegExp(`^${line} +([\\d.]+) %`, 'm').exec(out)?.[1] ?? Number.NaN);
    expect(share('source model, turned digits')).toBeLessThan(20);
    expect(share('base \\+ adapter, turned digits')).toBeGreaterThan(90);
    expect(share('merged model, turned digits')).toBe(share('base \\+ adapter, turned digits'));
    const served = node('serve.mjs', 'demo.run/digits-turned.onnx', 'demo.run/turned-test.csv');
    expect(served).toMatch(/^(label \d, read as \d\n){8}$/);
  });

  it('one session serves the model and three adapters', () => {
    const out = node('swap.mjs');
    const table = new Map(
      [...out.matchAll(/^([a-z-]+) +([\d.]+) % +([\d.]+) % +([\d.]+) % +([\d.]+) %$/gm)].map(([, name, ...shares]) => [
        name,
        shares.map(Number),
      ]),
    );
    for (const [i, name] of ['base', 'right', 'upside-down', 'left'].entries()) {
      const shares = table.get(name) ?? [];
      expect(shares[i], name).toBeGreaterThan(90);
      // Paper that is turned in another way is not what it was trained on.
      expect(shares.filter((_, j) => j !== i && shares[j] !== undefined).every((s) => s < 60)).toBe(true);
    }
    const differences = [...out.matchAll(/logits as merged, within (\S+) of the largest$/gm)].map(([, d]) => Number(d));
    expect(differences).toHaveLength(3);
    // float32: the branch is added to the output in place of the weight.
    expect(Math.max(...differences)).toBeLessThan(1e-5);
  });
});
