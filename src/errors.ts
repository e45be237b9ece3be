/**
 * Errors that users see. Every code has one entry below: a function that makes the error, with the cause and the cure
 * that docs/reference/errors.md prints. This file imports nothing else of the program. Longer than 300 lines because it
 * is one list.
 */

/** The place of an error: the file on disk and the place in the model (node, value, tensor, layer). */
export interface ErrorPlace {
  readonly file?: string | undefined;
  readonly node?: string | undefined;
  /** Free text, such as the path from a node to the loss. */
  readonly where?: string | undefined;
}

export interface ErrorText extends ErrorPlace {
  readonly message: string;
  /** Replaces the catalogue's cure where the remedy depends on the case. */
  readonly hint?: string | undefined;
}

/** An expected failure: printed as `error[CODE]: message`, exit status 1. */
export class LoraifyError extends Error {
  readonly code: string;
  readonly hint: string;
  readonly file: string | undefined;
  readonly node: string | undefined;
  readonly where: string | undefined;

  constructor(code: string, text: ErrorText & { readonly hint: string }, options?: ErrorOptions) {
    super(text.message, options);
    this.name = 'LoraifyError';
    this.code = code;
    this.hint = text.hint;
    this.file = text.file;
    this.node = text.node;
    this.where = text.where;
  }
}

export interface CatalogueEntry {
  readonly code: string;
  readonly cause: string;
  readonly cure: string;
}

const entries = new Map<string, CatalogueEntry>();

/** Every code with its cause and cure, in order of definition: docs/reference/errors.md is generated from it. */
export const catalogue: ReadonlyMap<string, CatalogueEntry> = entries;

function define<A extends readonly unknown[]>(
  code: string,
  cause: string,
  cure: string,
  text: (...args: A) => ErrorText,
): (...args: A) => LoraifyError {
  if (entries.has(code)) throw new Error(`error code ${code} is defined twice`);
  entries.set(code, { code, cause, cure });
  return (...args) => {
    const t = text(...args);
    return new LoraifyError(code, { ...t, hint: t.hint ?? cure });
  };
}

/** `, did you mean "x" or "y"?` for the nearest names, or an empty string. */
export function didYouMean(wanted: string, known: Iterable<string>, most = 3): string {
  const limit = Math.max(2, Math.floor(wanted.length * 0.4));
  const near = [...known]
    .map((name) => ({ name, d: editDistance(wanted.toLowerCase(), name.toLowerCase()) }))
    .filter((c) => c.d <= limit)
    .sort((a, b) => a.d - b.d)
    .slice(0, most)
    .map((c) => `"${c.name}"`);
  return near.length === 0 ? '' : `, did you mean ${near.join(' or ')}?`;
}

/** The number of letters to insert, remove or replace. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + cost));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

// ---------------------------------------------------------------- files

export const fileNotFound = define(
  'FILE_NOT_FOUND',
  'A file that the command line names, or that the package refers to, does not exist or cannot be opened.',
  'check the path and the permissions',
  (file: string, reason: string, hint?: string) => ({ message: `cannot open "${file}": ${reason}`, file, hint }),
);

export const targetExists = define(
  'TARGET_EXISTS',
  'The output already exists.',
  'choose another -o, or add --force to replace it',
  (file: string) => ({ message: `"${file}" already exists`, file }),
);

export const targetNotOurs = define(
  'TARGET_NOT_REPLACEABLE',
  '--force replaces only an empty folder, a package (a folder with a loraify.json), a run folder (with a run.json) or a file of the same kind, and never the source or a folder containing it.',
  'choose another -o',
  (file: string, reason: string) => ({ message: `refusing to replace "${file}": ${reason}`, file }),
);

export const writeFailed = define(
  'WRITE_FAILED',
  'The output could not be written: no space, no permission, or a read-only file system. No partial output is left.',
  'free space or choose another -o; --resume continues a training run from its last checkpoint',
  (file: string, reason: string) => ({
    message: `cannot write "${file}": ${reason}`,
    file,
    hint: writeHints.find(([code]) => code.test(reason))?.[1],
  }),
);

/** Cures by the system's own code. */
const writeHints: readonly (readonly [RegExp, string])[] = [
  [/^(EACCES|EPERM|EROFS|ENOENT)\b/, 'choose another -o, in a folder that this user can write'],
  [/^ENOTDIR\b/, 'choose another -o: a part of this path is a file, not a folder'],
  [/^ENAMETOOLONG\b/, 'choose another -o, with a shorter name'],
];

// ---------------------------------------------------------------- the model file

export const badProtobuf = define(
  'BAD_PROTOBUF',
  'The file is not a well-formed ONNX protobuf: truncated, corrupt, or another format.',
  'export or download the model again; onnx.checker.check_model gives details',
  (file: string, reason: string, hint?: string) => ({ message: `not a valid ONNX file: ${reason}`, file, hint }),
);

export const badModel = define(
  'BAD_MODEL',
  'The file decodes, but the graph is invalid: a cycle, a value that is used but never defined, two definitions of one name, an impossible type or shape.',
  'export the model again; onnx.checker.check_model gives details',
  (reason: string, place: ErrorPlace = {}) => ({ message: reason, ...place }),
);

export const noOpset = define(
  'NO_OPSET',
  'The model does not declare the operator set of its nodes (no opset_import), or declares it more than once with different versions.',
  'add one opset_import entry per domain, for example with onnx.helper.make_opsetid, or export again',
  (reason: string, file?: string) => ({ message: reason, file }),
);

export const unsupportedVersion = define(
  'UNSUPPORTED_VERSION',
  'The IR version or an operator-set version is outside the range that this release and ONNX Runtime support (IR 1 to 14, opset 7 to 26).',
  'convert the model with onnx.version_converter.convert_version, or export it with an opset between 18 and 26',
  (what: string, place: ErrorPlace & { readonly hint?: string } = {}) => ({ message: what, ...place }),
);

export const externalDataOutside = define(
  'EXTERNAL_DATA_OUTSIDE',
  "A tensor's external data is outside the model's folder: an absolute path, a path or a link that leads out of it, or a loader's private address. A model that is a link, as in the Hub's cache, also has the folder of the file that it points to.",
  "copy the data file into the model's folder, and store its path from there as the tensor's location",
  (tensor: string, location: string, reason: string, file?: string, hint?: string) => ({
    message: `external data of tensor "${tensor}" at "${location}" is refused: ${reason}`,
    file,
    hint,
  }),
);

export const externalDataBounds = define(
  'EXTERNAL_DATA_BOUNDS',
  "A tensor's external data is missing, reaches beyond the end of its file, or does not have the byte length that its shape requires.",
  'copy the complete data file beside the model',
  (tensor: string, reason: string, file?: string, hint?: string) => ({
    message: `external data of tensor "${tensor}": ${reason}`,
    file,
    hint,
  }),
);

export const badTensor = define(
  'BAD_TENSOR',
  'A tensor is inconsistent: unknown data type, dims that overflow, or a payload whose size does not match its dims.',
  'export the model again',
  (tensor: string, reason: string) => ({ message: `tensor "${tensor}": ${reason}` }),
);

export const textSyntax = define(
  'TEXT_SYNTAX',
  'A text model does not follow the ONNX textual syntax.',
  "see the ONNX project's docs/Syntax.md",
  (reason: string, line: number, column: number) => ({ message: `${line}:${column}: ${reason}` }),
);

export const textUnsupported = define(
  'TEXT_UNSUPPORTED',
  "The model contains something that ONNX's textual syntax cannot express.",
  'use a protobuf viewer such as Netron for this model',
  (what: string, place: ErrorPlace = {}) => ({ message: what, ...place }),
);

// ---------------------------------------------------------------- compile

export const sourceRefused = define(
  'SOURCE_REFUSED',
  'ONNX Runtime does not load the model itself, so nothing that is made of it would run.',
  'mend the model or export it again; --no-verify writes the package all the same',
  (file: string, reason: string) => ({ message: `ONNX Runtime refuses the model: ${reason}`, file }),
);

export const graphRefused = define(
  'GRAPH_REFUSED',
  'ONNX Runtime loads the model, but not a graph that the compile made of it: a defect of loraify, or a limit of ONNX Runtime.',
  'please report it with the model; --no-verify writes the package all the same',
  (graph: string, reason: string, file: string) => ({ message: `ONNX Runtime refuses ${graph}: ${reason}`, file }),
);

export const noLayers = define(
  'NO_LAYERS',
  'The model has no MatMul or Gemm with a constant weight, plain or quantized, that could be adapted, and no other layer was selected.',
  'loraify inspect lists the weighted operators and why each was skipped; --target also takes Conv, Gather and Attention layers',
  (reason: string, file?: string) => ({ message: reason, file }),
);

export const noTargets = define(
  'NO_TARGETS',
  'The model has layers, but --target, --exclude or --layers selects none of them.',
  'loraify inspect lists the module paths; a target is an exact path, a suffix after a dot, or a /regular expression/',
  (reason: string) => ({ message: reason }),
);

export const noGradient = define(
  'NO_GRADIENT',
  'An operator between a layer and the loss has no gradient rule.',
  'choose targets after this node (--target), or write only the adapted model with --emit model; loraify inspect --grad lists all nodes that block',
  (reason: string, place: ErrorPlace) => ({ message: reason, ...place }),
);

export const customOperator = define(
  'CUSTOM_OPERATOR',
  'The training graphs contain an operator that is not one of ONNX Runtime, but of a library that has to be registered in it. ONNX Runtime for Node cannot register libraries.',
  'cut the model behind these nodes in Python with onnx.utils.extract_model and compile the rest, or write only the adapted model with --emit model, for a runtime that has the library',
  (reason: string, place: ErrorPlace) => ({ message: reason, ...place }),
);

export const unsupportedShape = define(
  'UNSUPPORTED_SHAPE',
  'A gradient or a loss needs a shape that the model does not declare.',
  'export with static ranks, or run shape inference on the model first',
  (reason: string, place: ErrorPlace = {}) => ({ message: reason, ...place }),
);

export const badLoss = define(
  'BAD_LOSS',
  'The chosen loss does not fit the output it is attached to.',
  'loraify inspect shows the outputs and the loss that would be chosen; choose with --loss and --loss-output',
  (reason: string, place: ErrorPlace = {}) => ({ message: reason, ...place }),
);

export const lossUnreached = define(
  'LOSS_UNREACHED',
  'No gradient of the loss reaches any layer: every path between both passes through an operator without a derivative, such as ArgMax, Round, a comparison or a cast to integers.',
  'put the loss on an output that layers reach through differentiable operators (--loss-output); loraify inspect --grad shows where a gradient stops',
  (reason: string) => ({ message: reason }),
);

export const cacheUnclear = define(
  'CACHE_UNCLEAR',
  'An input is named like a key/value cache, but neither its shape nor the operators that read it determine its value before the first token.',
  'bind it with --bind NAME=empty, zeros, ones or a FILE, or keep it as an input with --bind NAME=input',
  (name: string, reason: string) => ({ message: `input "${name}" looks like a key/value cache, but ${reason}` }),
);

export const existingLora = define(
  'EXISTING_LORA',
  'The model already has LoRA branches, which cannot be trained on or contradict the options.',
  'use --existing-lora keep to leave them as they are, or merge the adapter before the export (merge_and_unload in PEFT)',
  (reason: string, node?: string, hint?: string) => ({ message: reason, node, hint }),
);

export const badOption = define(
  'BAD_OPTION',
  'An option has a value that does not work with this model or the other options.',
  'see loraify --help',
  (reason: string, hint?: string) => ({ message: reason, hint }),
);

export const badBatchAxis = define(
  'BATCH_AXIS',
  'The rows of a batch cannot be laid along one axis of the labels.',
  '--batch-axis sets the axis of each input and of the labels that counts rows',
  (reason: string, hint?: string) => ({ message: reason, hint }),
);

/** BAD_OPTION for an option that the value chosen for another one does not take; `takers` are the values that do. */
export const notTaken = (option: string, chosen: string, takers: readonly string[]): LoraifyError =>
  badOption(
    `--${option.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} does not apply to ${chosen}`,
    `leave it out; it is for ${takers.join(', ')}`,
  );

export const precisionRange = define(
  'PRECISION_RANGE',
  'A weight has a value that is out of range for the type that --precision selects: float16 ends at 65504, bfloat16 where float32 does.',
  'use --precision bf16, or leave --precision out',
  (name: string, type: string, value: number) => ({
    message: `weight "${name}" has the value ${value}, which is out of range for ${type}`,
    where: name,
  }),
);

export const opsetTooLow = define(
  'OPSET_TOO_LOW',
  "--opset is lower than the training graphs need: they use the source's opset or 18, whichever is higher, more where an operator needs it.",
  'leave --opset out, or raise it',
  (reason: string) => ({ message: reason }),
);

export const badPattern = define(
  'BAD_PATTERN',
  'A regular expression is malformed, or uses Python syntax without an exact counterpart in JavaScript.',
  'rewrite the pattern with plain groups, classes and quantifiers, or list the module paths instead',
  (pattern: string, what: string, reason: string) => ({ message: `${what} "${pattern}": ${reason}` }),
);

// ---------------------------------------------------------------- adapters and packages

export const badAdapter = define(
  'BAD_ADAPTER',
  'A PEFT adapter directory or an adapter file cannot be read or written: a file is missing or malformed, or a tensor is inconsistent.',
  'a PEFT directory has adapter_config.json and adapter_model.safetensors, as save_pretrained writes them; loraify export writes adapter files',
  (reason: string, file?: string, hint?: string) => ({ message: reason, file, hint }),
);

export const untrained = define(
  'UNTRAINED',
  'A merge without --adapter found no run of the package, and the adapter of the package itself is not trained.',
  'train first: loraify train PACKAGE --data FILE; or name an adapter: --adapter DIR (--adapter start writes the unchanged source)',
  (packageDir: string) => ({
    message: `no run of "${packageDir}" is beside it, and its own adapter is not trained: the merged model would be the source`,
    file: packageDir,
  }),
);

export const adapterMismatch = define(
  'ADAPTER_MISMATCH',
  'The adapter does not fit the model: a layer is missing, a key is unknown, or a shape differs.',
  'compare the keys with the module paths that loraify inspect lists',
  (reason: string, file?: string, hint?: string) => ({
    message: reason,
    file,
    hint,
  }),
);

export const adapterUnsupported = define(
  'ADAPTER_UNSUPPORTED',
  'The adapter uses a PEFT feature that this release cannot represent.',
  'merge this part in PEFT first, or train the adapter without it',
  (feature: string, reason: string, file?: string) => ({
    message: `${feature}: ${reason}`,
    file,
  }),
);

export const badPackage = define(
  'BAD_PACKAGE',
  'The folder is not a loraify package, or one of its files is missing or was changed.',
  'compile the model again: loraify model.onnx -o DIR',
  (reason: string, file?: string, hint?: string) => ({ message: reason, file, hint }),
);

export const badSafetensors = define(
  'BAD_SAFETENSORS',
  'A safetensors file is malformed: its header, an offset or a length is wrong.',
  'write the file again with the safetensors library',
  (reason: string, file?: string) => ({ message: reason, file }),
);

export const notMergeable = define(
  'NOT_MERGEABLE',
  "A layer's weight is stored in a type or form that the merge cannot write.",
  'keep the adapter as a branch: loraify export --format onnx writes such a model',
  (layer: string, reason: string) => ({ message: `layer "${layer}": ${reason}` }),
);

export const sourceNeeded = define(
  'SOURCE_NEEDED',
  'A package compiled with --precision has rounded weights. A merge or a model export needs the original ones, but the source file is missing or has changed.',
  'restore the source, or give its path with --source FILE (of merge and export)',
  (file: string, reason: string) => ({ message: `the weights of the source "${file}" are needed: ${reason}`, file }),
);

export const mergeMismatch = define(
  'MERGE_MISMATCH',
  'The merged model does not compute what base + adapter computes within tolerance, or its outputs are not finite.',
  'check the adapter for very large values, or use --no-verify to keep the result',
  (reason: string) => ({ message: reason }),
);

// ---------------------------------------------------------------- data and runs

export const badData = define(
  'BAD_DATA',
  "A data file does not match the package's inputs and labels, or is malformed.",
  'loraify.json of the package lists the inputs and labels with types and shapes',
  (reason: string, file?: string, hint?: string) => ({ message: reason, file, hint }),
);

export const badTokenizer = define(
  'BAD_TOKENIZER',
  'A tokenizer file is malformed, or has a part that is not supported.',
  'save the tokenizer again with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER), which writes tokenizer.json; or --tokenizer none, and rows of token ids',
  (reason: string, file?: string, hint?: string) => ({
    message: `not a tokenizer that can be used: ${reason}`,
    file,
    hint,
  }),
);

export const chatTemplate = define(
  'CHAT_TEMPLATE',
  'The chat template of the tokenizer cannot be read, refuses a conversation, or does not show what the assistant wrote.',
  'change the conversation to what the template takes, or the template: chat_template.jinja in the folder of the tokenizer, and compile again',
  (reason: string, hint?: string, file?: string) => ({ message: reason, hint, file }),
);

export const providerMissing = define(
  'PROVIDER_MISSING',
  'The chosen execution provider cannot start on this machine.',
  'use --ep cpu, or run loraify doctor, which shows how to get it (docs/guide/gpu.md)',
  (provider: string, reason: string, hint?: string) => ({
    message: `execution provider "${provider}" cannot start: ${reason}`,
    hint,
  }),
);

export const providerGap = define(
  'PROVIDER_GAP',
  'The execution provider of --for would compute an operator of the model wrongly.',
  'compile for another provider, or without --for and train on the CPU',
  (provider: string, reason: string, place: ErrorPlace) => ({
    message: `${provider} cannot train this model: ${reason}`,
    ...place,
  }),
);

export const runtimeFailed = define(
  'RUNTIME_FAILED',
  'ONNX Runtime refused to load or run a graph.',
  'run loraify doctor; if loraify wrote the graph, report the message with the package manifest',
  (reason: string, file?: string, hint?: string) => ({
    message: reason,
    file,
    hint,
  }),
);

export const nonFinite = define(
  'NON_FINITE',
  'The loss or the gradient became infinite or not a number.',
  'lower the learning rate, keep --max-grad-norm on, and check the data for extreme values',
  (reason: string) => ({ message: reason }),
);

export const badCheckpoint = define(
  'BAD_CHECKPOINT',
  'There is no checkpoint to resume from, or it belongs to another package, data file or set of options.',
  'start a new run with another -o, or resume with the options of the first run',
  (reason: string, file?: string) => ({ message: reason, file }),
);

export const runLocked = define(
  'RUN_LOCKED',
  'Another process is writing to this run folder.',
  'wait until it ends, or choose another -o',
  (file: string, owner: string, hint?: string) => ({
    message: `"${file}" is in use by ${owner}`,
    file,
    hint,
  }),
);
