/** What the README says is so: commands, links, codes, copied programs, and the demo. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { catalogue } from '../../src/errors.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const root = join(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const readme = read('README.md');
const pages = ['README.md', 'docs/architecture.md', 'docs/errors.md', 'docs/operators.md', 'CHANGELOG.md'];

describe('README', () => {
  it('starts with two commands: one runs the demo, one the tests', () => {
    const quick = readme.split('\n## Quick start\n')[1]?.split('\n## ')[0] ?? '';
    const [shell] = [...quick.matchAll(/```(\w*)\n([\s\S]*?)```/g)];
    expect(shell?.[1]).toBe('sh');
    const [demo, test] = shell?.[2]?.trim().split('\n') ?? [];
    expect(demo).toBe('npm ci && npm run demo');
    expect(test).toBe('npm ci && npm test');
  });

  it('names scripts that package.json has', () => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(read('package.json'));
    const named = pages.flatMap((p) => [...read(p).matchAll(/npm run ([\w:-]+)/g)].map((m) => m[1] ?? ''));
    expect(named.filter((s) => scripts[s] === undefined)).toEqual([]);
  });

  it.each(pages)('%s links to files that exist', (page) => {
    const links = [...read(page).matchAll(/\]\((?!https?:)([^)#]+)/g)].map((m) => m[1] ?? '');
    expect(links.filter((l) => !existsSync(join(root, dirname(page), l)))).toEqual([]);
  });

  it('names codes of the catalogue', () => {
    const limits = readme.split('\n## Limits\n')[1]?.split('\n- ')[0] ?? '';
    const codes = [...limits.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map((m) => m[1] ?? '');
    expect(codes.length).toBeGreaterThan(10);
    expect(codes.filter((c) => !catalogue.has(c))).toEqual([]);
  });

  it('states the size of the browser entry', () => {
    const kilobytes = statSync(join(root, 'dist/web/adapter.js')).size / 1000;
    const stated = Number(/(\d+) KB, of which \d+ travel/.exec(readme)?.[1]);
    expect(Math.abs(kilobytes - stated)).toBeLessThan(1);
  });

  it('shows the Python example as it is', () => {
    expect(readme).toContain(`\`\`\`python\n${read('examples/train.py')}\`\`\``);
  });
});

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
