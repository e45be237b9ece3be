/**
 * Recognizes files that are given in place of another: what they are, and how to get the file that is needed. Only
 * signatures that a model or a safetensors file cannot begin with.
 */
import type { ByteSource } from '../graph/tensor.ts';
import { signatures } from './signatures.ts';

export interface FileKind {
  /** `a git-lfs pointer`. */
  readonly name: string;
  readonly cure: string;
}

interface Signature extends FileKind {
  readonly matches: (file: Content) => boolean;
}

interface Content {
  readonly bytes: Uint8Array;
  /** The first bytes, one character each. */
  readonly head: string;
  /** The last bytes, where an archive has the names of its files. */
  readonly tail: string;
}

const headBytes = 4096;
const tailBytes = 64 << 10;

const at =
  (offset: number, text: string) =>
  ({ head }: Content): boolean =>
    head.startsWith(text, offset);
const begins =
  (pattern: RegExp) =>
  ({ head }: Content): boolean =>
    pattern.test(head.replace(/^\u00ef\u00bb\u00bf/, ''));
const zip =
  (pattern: RegExp) =>
  (file: Content): boolean =>
    isZip(file) && (pattern.test(file.tail) || pattern.test(file.head));
const isZip = at(0, signatures.zip);

const fromTorch = 'export the model in Python with torch.onnx.export(model, args, "model.onnx", dynamo=True)';
const fromTensorFlow = 'convert it with tf2onnx (python -m tf2onnx.convert), and give the .onnx file';
const unpack = 'unpack it and give the file inside';
const fromHub = 'give the .onnx file; optimum-cli export onnx makes one from a model of the Hugging Face Hub';

/** In the order in which they are tried. */
const kinds: readonly Signature[] = [
  {
    name: 'a git-lfs pointer, not the file itself',
    cure: 'run git lfs pull in its repository, or download the file itself',
    matches: at(0, 'version https://git-lfs.github.com/spec/'),
  },
  {
    name: 'a page of HTML',
    cure: 'download the file itself: the link led to a page about it, or to a login',
    matches: begins(/^\s*(<!doctype html|<html|<head|<!--)/i),
  },
  {
    name: 'an XML file',
    cure: 'give the .onnx file that it was made from',
    matches: begins(/^\s*<\?xml|^\s*<net\b/i),
  },
  {
    name: "the text of an ONNX model, in ONNX's own syntax",
    cure: 'make a model of it in Python: onnx.save(onnx.parser.parse_model(open(FILE).read()), "model.onnx")',
    matches: begins(/^\s*<\s*ir_version\s*:/),
  },
  { name: 'a JSON file', cure: fromHub, matches: begins(/^\s*(\{\s*("|\})|\[\s*["{[\d\]-])/) },
  {
    name: 'a model in the ORT format',
    cure: 'give the .onnx file that it was converted from: the ORT format has no weights that can be changed',
    matches: at(4, 'ORTM'),
  },
  { name: 'a TensorFlow Lite model', cure: fromTensorFlow, matches: at(4, 'TFL3') },
  {
    name: 'a GGUF file',
    cure: 'it is for llama.cpp; give an .onnx export of the original model',
    matches: at(0, 'GGUF'),
  },
  { name: 'a safetensors file', cure: `it has weights without a graph; ${fromHub}`, matches: isSafetensors },
  { name: 'an HDF5 file, as Keras writes it', cure: fromTensorFlow, matches: at(0, `${signatures.hdf5}\r\n`) },
  {
    name: 'a Keras model',
    cure: 'export it in Python with model.export("model.onnx", format="onnx")',
    matches: zip(/model\.weights\.h5/),
  },
  { name: 'a TorchScript model', cure: fromTorch, matches: zip(/\/(constants\.pkl|code\/__torch__)/) },
  { name: 'a file of torch.export', cure: fromTorch, matches: zip(/archive_format|serialized_exported_program/) },
  { name: 'a file of torch.save', cure: fromTorch, matches: zip(/\/data\.pkl|\/byteorder/) },
  { name: 'an npz file', cure: 'give the .onnx file; data go to --data', matches: zip(/\.npyPK|\.npy/) },
  { name: 'a ZIP archive', cure: unpack, matches: isZip },
  { name: 'a gzip archive', cure: unpack, matches: at(0, signatures.gzip) },
  { name: 'an xz archive', cure: unpack, matches: at(0, signatures.xz) },
  { name: 'a zstd archive', cure: unpack, matches: at(0, signatures.zstd) },
  { name: 'a bzip2 archive', cure: unpack, matches: begins(new RegExp(`^${signatures.bzip2}[1-9]1AY`)) },
  { name: 'a 7z archive', cure: unpack, matches: at(0, '7z\xbc\xaf\x27\x1c') },
  { name: 'a tar archive', cure: unpack, matches: at(257, 'ustar') },
  {
    name: 'a file of torch.save',
    cure: fromTorch,
    matches: ({ bytes, head }) => isPickle(bytes) && head.startsWith('\u008a\nl\u00fc\u009cF', 2),
  },
  {
    name: 'a Python pickle',
    cure: 'export its model: skl2onnx for scikit-learn, torch.onnx.export for PyTorch',
    matches: ({ bytes }) => isPickle(bytes),
  },
  { name: 'a Parquet file', cure: 'give the .onnx file; data go to --data', matches: at(0, signatures.parquet) },
  { name: 'a PNG, JPEG or PDF file', cure: fromHub, matches: begins(/^(.PNG\r\n|\u00ff\u00d8\u00ff|%PDF-)/) },
  { name: 'a program', cure: fromHub, matches: begins(/^(.ELF|#!)/) },
];

/** Protocols 2 to 5, and an opcode that pickles begin with. */
const isPickle = ([first, protocol = 0, opcode = 0]: Uint8Array): boolean =>
  first === 0x80 && protocol >= 2 && protocol <= 5 && pickleOpcodes.has(opcode);
const pickleOpcodes: ReadonlySet<number> = new Set([0x95, 0x8a, 0x8c, 0x63, 0x71, 0x7d, 0x5d, 0x28, 0x58]);

/** A header length, then JSON. */
function isSafetensors({ bytes, head }: Content): boolean {
  if (bytes.length < 10) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view.getBigUint64(0, true) < 100_000_000n && /^\{\s*["}]/.test(head.slice(8));
}

/** TensorFlow's protobufs begin like an ONNX file; the names of its operators tell them apart. */
const tensorFlow = /saved_model_main_op|saver_filename|serving_default|VarHandleOp|StatefulPartitionedCall|Placeholder/;

/**
 * The kind of a file that does not hold a protobuf. `broken`: it could not be read as the format that was expected, so
 * weaker signs count too.
 */
export function fileKind(source: ByteSource, broken = false): FileKind | undefined {
  const bytes = source.read(0, Math.min(headBytes, source.size)).slice();
  const from = Math.max(0, source.size - tailBytes);
  const head = binary(bytes);
  const tail = isZip({ bytes, head, tail: '' }) ? binary(source.read(from, source.size - from)) : '';
  const file: Content = { bytes, head, tail };
  const found = kinds.find((s) => s.matches(file));
  if (found !== undefined) return { name: found.name, cure: found.cure };
  if (!broken) return undefined;
  if (tensorFlow.test(binary(source.read(0, Math.min(tailBytes, source.size)))))
    return { name: "a model of TensorFlow's own format", cure: fromTensorFlow };
  if (bytes.length > 0 && bytes.every((b) => b >= 0x20 || (b >= 9 && b <= 13)))
    return { name: `a text file that begins with ${JSON.stringify(file.head.slice(0, 40))}`, cure: fromHub };
  return undefined;
}

/** TextDecoder's latin1 is windows-1252, which has other characters for 0x80 to 0x9f. */
const binary = (bytes: Uint8Array): string => Array.from(bytes, (b) => String.fromCharCode(b)).join('');
