// Part of the build: dist/bin/, the command line with all that it imports in a few files, and dist/web/adapter.js, the entry
// loraify/adapter as one file that a page can import as it is. A command starts in half the time that it takes to find and load some
// four hundred modules, and with code that V8 made of them before (code.mjs) in half of that. The library in dist/ stays as the
// compiler wrote it.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

// yargs's help layout includes the character widths of all scripts, which take longer to load than everything else, so
// it is loaded on demand.
const late = `import { createRequire } from 'node:module';
  const help = (name) => (...args) => createRequire(import.meta.url)('./help.js')[name](...args);`;
const helpModules = {
  'loraify:help': `export { default as cliui } from 'cliui'; export { default as stringWidth } from 'string-width';`,
  'loraify:cliui': `${late} export default help('cliui');`,
  'loraify:string-width': `${late} export default help('stringWidth');`,
};
const lateHelp = {
  name: 'late-help',
  resolveId: (id, importer = '') =>
    id in helpModules
      ? id
      : /yargs.lib.platform-shims/.test(importer) && `loraify:${id}` in helpModules
        ? `loraify:${id}`
        : null,
  load: (id) => helpModules[id] ?? null,
};

await bundle(
  at('../dist/bin'),
  // V8's compiled code can be cached only for CommonJS.
  'cjs',
  {
    // Threads and child processes have their own entries: formats/compiled.ts finds them by name, as cli/bin.ts finds
    // main.
    input: {
      loraify: at('../dist/cli/bin.js'),
      main: at('../dist/cli/main.js'),
      worker: at('../dist/runtime/worker/worker.js'),
      probe: at('../dist/runtime/session/probe.js'),
      help: 'loraify:help',
      copyWorker: at('../dist/emit/copyWorker.js'),
    },
    platform: 'node',
    // yargs reads its own path only if options extend others, which these do not.
    checks: { emptyImportMeta: false },
    plugins: [lateHelp],
    // Native code: loaded when a graph runs.
    external: ['onnxruntime-node'],
    resolve: {
      // Only SVG is drawn; the Node build would look for native code that draws pixels.
      alias: { 'vega-canvas': at('../node_modules/vega-canvas/build/vega-canvas.browser.js') },
    },
  },
  { compress: false, mangle: false, codegen: { removeWhitespace: true } },
);
writeFileSync(at('../dist/bin/package.json'), '{ "type": "commonjs" }\n');
execFileSync(process.execPath, [at('code.mjs')], { stdio: 'inherit' });
await bundle(
  at('../dist/web'),
  'esm',
  {
    input: { adapter: at('../dist/adapter/web.js') },
    platform: 'browser',
    // Errors that the entry cannot raise are left out.
    treeshake: { manualPureFunctions: ['define'] },
  },
  true,
);

/** Writes a folder of bundled files, with the licences of the included packages. */
async function bundle(out, format, input, minify) {
  rmSync(out, { recursive: true, force: true });
  const made = await rolldown(input);
  const { output } = await made.write({
    dir: out,
    format,
    // Code cached by V8 cannot import.
    dynamicImportInCjs: false,
    entryFileNames: '[name].js',
    chunkFileNames: '[name]-[hash].js',
    comments: false,
    minify,
  });
  await made.close();
  // Only modules that are not removed entirely.
  const modules = output.flatMap((o) => (o.type === 'chunk' ? Object.entries(o.modules) : []));
  const used = modules.flatMap(([id, { renderedLength }]) => (renderedLength > 0 ? packageFolder(id) : []));
  // The licences require this notice.
  const notices = [...new Set(used)].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
    const text = file === undefined ? `${license}\n` : readFileSync(join(folder, file), 'utf8');
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  });
  writeFileSync(join(out, 'THIRD-PARTY-LICENSES.txt'), notices.join(`\n${'-'.repeat(80)}\n\n`));
}

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
