/**
 * The import law of src/, written once: docs/explain/architecture.md prints it and rooms.test.ts holds it. A file imports what stands
 * further down in a list, never what stands above it or beside it on the same line.
 */

/** One list for each folder with an inner order; an entry is a folder or a file (its name without .ts) directly inside. */
export const order: Readonly<Record<string, readonly (readonly string[])[]>> = {
  src: [
    ['cli'],
    ['index'],
    ['compile'],
    ['package'],
    ['parser', 'passes', 'emit', 'adapter', 'runtime'],
    ['text'],
    ['proto', 'formats'],
    ['graph'],
    ['errors', 'version'],
  ],
  'src/passes': [
    ['index'],
    ['training'],
    ['providers'],
    ['optimize'],
    ['memory'],
    ['lower'],
    ['autodiff'],
    ['head'],
    ['loss'],
    ['canonicalize'],
    ['normalize'],
    ['precision'],
    ['adapt'],
    ['select'],
    ['shapes'],
    ['dialect'],
    ['common'],
  ],
  'src/runtime': [
    ['index'],
    ['train'],
    ['runFolder'],
    ['evaluate'],
    ['batches'],
    ['worker'],
    ['text'],
    ['data'],
    ['session'],
  ],
};

/** Rooms that other rooms enter through their index.ts only. */
export const closed: ReadonlySet<string> = new Set(['parser', 'passes', 'emit', 'adapter', 'runtime', 'proto']);

/** The modules of formats/ that passes may import: they match names and read no file. */
export const passesMayImport: ReadonlySet<string> = new Set([
  'src/formats/pythonRegex.ts',
  'src/formats/peftPattern.ts',
]);

/** What the command line may import beside the public face and the errors: it loads nothing else. */
export const cliMayImport = /^src\/(?:version\.ts|graph\/choices\/\w+\.ts)$/;

/** npm packages that only some rooms may import. */
export const homes: Readonly<Record<string, readonly string[]>> = {
  protobufjs: ['proto', 'parser', 'emit'],
  'onnxruntime-node': ['runtime'],
  vega: ['runtime'],
  '@huggingface/tokenizers': ['text'],
  '@huggingface/jinja': ['text'],
  flatbuffers: ['adapter'],
  'ml-matrix': ['adapter'],
  yargs: ['cli'],
  'cli-progress': ['cli'],
  'cli-table3': ['cli'],
};

/** Files of one folder, subfolders not counted. */
export const mostFiles = 22;

/** Folders that may hold more, because each file is a table of one family. */
export const families: ReadonlySet<string> = new Set([
  'src/passes/autodiff/gradients',
  'src/passes/shapes',
  'src/passes/select/layers',
  'src/passes/normalize/upgrades',
]);

/** Files directly in src/. */
export const rootFiles: readonly string[] = ['src/errors.ts', 'src/index.ts', 'src/version.ts'];

/** Folders of test/ without a counterpart in src/, and what their tests have in common. All others lie where their subject lies. */
export const testFolders: Readonly<Record<string, string>> = {
  cases: 'files that people really hold (fixtures/cases), from the command line',
  docs: 'the README, the pages of docs/ and their plots',
  golden: 'the text of every graph of small cases (fixtures/), and what the graphs compute',
  gradients: 'every gradient rule against finite differences',
  layout: 'the rules of the repository',
  models: 'whole models of common architectures',
  parity: 'the numbers of PyTorch + PEFT',
  support: 'what tests share; it holds no tests',
};
