// Part of the build: dist/bin/, the command line with all that it imports in a few files. A command starts in half the time that
// it takes to find and load some four hundred modules. The library in dist/ stays as the compiler wrote it.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const out = at('../dist/bin');

rmSync(out, { recursive: true, force: true });
const bundle = await rolldown({
  // Threads and processes have entries of their own: formats/compiled.ts finds them by name.
  input: {
    loraify: at('../dist/cli/bin.js'),
    worker: at('../dist/runtime/worker.js'),
    probe: at('../dist/runtime/probe.js'),
    copyWorker: at('../dist/emit/copyWorker.js'),
  },
  platform: 'node',
  // Native code, loaded when a graph runs.
  external: ['onnxruntime-node'],
});
const { output } = await bundle.write({
  dir: out,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: '[name]-[hash].js',
  comments: false,
  minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
});
await bundle.close();

// The licences of what was taken in ask to be told.
const folders = new Set(output.flatMap((o) => (o.type === 'chunk' ? o.moduleIds : [])).flatMap(packageFolder));
const notices = [...folders].sort().map((folder) => {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
  const text = file === undefined ? `${license}\n` : readFileSync(join(folder, file), 'utf8');
  return `${name} ${version} (${license})\n\n${text.trim()}\n`;
});
writeFileSync(join(out, 'THIRD-PARTY-LICENSES.txt'), notices.join(`\n${'-'.repeat(80)}\n\n`));

/** The package in node_modules that a module is a part of. */
function packageFolder(id) {
  if (!id.includes('node_modules')) return [];
  for (let folder = dirname(id); folder.includes('node_modules'); folder = dirname(folder))
    if (
      existsSync(join(folder, 'package.json')) &&
      'name' in JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    )
      return [folder];
  return [];
}
