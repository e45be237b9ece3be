/**
 * Prints a Model in ONNX's textual syntax, in one canonical form: the official parser reads it, and reading it back
 * gives equal nodes, attributes, types and tensors. Facts that the syntax has no place for are comments; facts that it
 * cannot express at all are errors.
 */
import { type ErrorPlace, textUnsupported } from '../errors.ts';
import { isIdentifier, isQualified, isTypeWord, nameText, quoted, tensorTypeText } from '../formats/onnxText.ts';
import type { Attr, FunctionDef, Graph, Model, Node, Value } from '../graph/model.ts';
import { attrValue, typed } from './text/textAttr.ts';
import { graphNotes, modelNotes, nodeNotes, provenance, valueRemark } from './text/textComments.ts';
import { contentPieces } from './text/textTensor.ts';

export interface PrintOptions {
  /** Prints all elements of all tensors; otherwise tensors above 64 elements are represented by a hash. */
  readonly full?: boolean;
  /** Prints inferred types, provenance, metadata and doc strings as comments (default true). */
  readonly comments?: boolean;
  /** True for attributes with their default value, which may be left out. */
  readonly isDefault?: (node: Node, name: string, attr: Attr) => boolean;
}

const indent = '   ';
const lineWidth = 120;
/**
 * Comments at line ends start in a fixed column, independent of the longest line, so that one change is one line of a
 * diff.
 */
const commentColumn = 60;

/** The whole text. For models printed with `full`, `printModelPieces` avoids memory in proportion to the weights. */
export function printModel(model: Model, options: PrintOptions = {}): string {
  return [...printModelPieces(model, options)].join('');
}

export function* printModelPieces(model: Model, options: PrintOptions = {}): Iterable<string> {
  yield checked(`${header(modelFields(model))}\n`, { where: 'the header' });
  if (options.comments !== false) yield* commentLines(modelNotes(model), '');
  yield* graphPieces(model.graph, '', options);
  yield '\n';
  for (const f of model.functions) {
    yield '\n';
    yield* functionPieces(f, options);
  }
}

function modelFields(model: Model): string[] {
  const text = (key: string, value: string): string[] => (value === '' ? [] : [`${key}: ${quoted(value)}`]);
  const metadata = [...model.metadata].map(([k, v]) => `${quoted(k)}: ${quoted(v)}`);
  return [
    `ir_version: ${model.irVersion}`,
    opsetField(model.opsets),
    ...text('producer_name', model.producerName),
    ...text('producer_version', model.producerVersion),
    ...text('domain', model.domain),
    ...(Number(model.modelVersion) === 0 ? [] : [`model_version: ${model.modelVersion}`]),
    ...text('doc_string', model.docString),
    ...(metadata.length === 0 ? [] : [`metadata_props: [${metadata.join(', ')}]`]),
  ];
}

const opsetField = (opsets: ReadonlyMap<string, number>): string =>
  `opset_import: [${[...opsets].map(([domain, version]) => `${quoted(domain)} : ${version}`).join(', ')}]`;

function header(fields: readonly string[]): string {
  const line = `<${fields.join(', ')}>`;
  return line.length <= lineWidth ? line : `<\n${fields.map((f) => `${indent}${f}`).join(',\n')}\n>`;
}

function* functionPieces(f: FunctionDef, options: PrintOptions): Iterable<string> {
  const place = { where: `function ${f.domain}.${f.name}` };
  const fields = [
    `domain: ${quoted(f.domain)}`,
    ...(f.overload === '' ? [] : [`overload: ${quoted(f.overload)}`]),
    opsetField(f.opsets),
    ...(f.docString === '' ? [] : [`doc_string: ${quoted(f.docString)}`]),
  ];
  const defaults = [...f.defaults].map(([name, attr]) => {
    if (attr.kind === 'graph') throw textUnsupported(`the default of attribute "${name}" is a graph`, place);
    return `${nameText(name)}${attrValue(attr, `the default of "${name}"`, place, options.full)}`;
  });
  const attrs = [...f.attributes.map(nameText), ...defaults];
  yield checked(`${header(fields)}\n${nameText(f.name)} `, place);
  if (attrs.length > 0) yield checked(`<${attrs.join(', ')}> `, place);
  const typed = (v: Value): string => (v.declared ? valueInfo(v, place) : nameText(v.name));
  yield checked(signature(f.body.inputs.map(typed), f.body.outputs.map(typed), ''), place);
  const interfaceValues = new Set([...f.body.inputs, ...f.body.outputs]);
  const infos = declaredValues(f.body).filter((v) => !interfaceValues.has(v));
  yield* infoList([], infos, '', place, options);
  yield* nodeList(f.body, '', options, f.metadata);
  yield '\n';
}

function* graphPieces(g: Graph, pad: string, options: PrintOptions): Iterable<string> {
  const place = { where: `graph "${g.name}"` };
  if (g.sparseInitializers.length > 0) throw textUnsupported('sparse initializers', place);
  const infos = (values: readonly Value[]): string[] => values.map((v) => valueInfo(v, place));
  yield checked(`${nameText(g.name)} ${signature(infos(g.inputs), infos(g.outputs), pad)}`, place);
  yield* infoList(g.initializers, declaredValues(g), pad, place, options);
  yield* nodeList(g, pad, options);
}

function signature(inputs: readonly string[], outputs: readonly string[], pad: string): string {
  const line = `(${inputs.join(', ')}) => (${outputs.join(', ')})`;
  if (pad.length + line.length <= lineWidth) return `${line}\n`;
  const list = (all: readonly string[]): string =>
    all.length === 0 ? '()' : `(\n${all.map((v) => `${pad}${indent}${v}`).join(',\n')}\n${pad})`;
  return `${list(inputs)} => ${list(outputs)}\n`;
}

/** Values whose types the source declares in value_info, in the order of the nodes. */
function declaredValues(g: Graph): Value[] {
  const own = [...g.inputs, ...g.initializers, ...g.nodes.flatMap((n) => n.outputs)].filter((v) => v.declared);
  return [...new Set([...own, ...g.strayInfo])];
}

function valueInfo(v: Value, place: ErrorPlace): string {
  return v.type === undefined ? nameText(v.name) : `${typed(v.type, `value "${v.name}"`, place)} ${nameText(v.name)}`;
}

function* infoList(
  initializers: readonly Value[],
  infos: readonly Value[],
  pad: string,
  place: ErrorPlace,
  options: PrintOptions,
): Iterable<string> {
  const entries = [
    ...initializers.map((v) => ({ v, tensor: v.tensor })),
    ...infos.map((v) => ({ v, tensor: undefined })),
  ];
  for (const [i, { v, tensor }] of entries.entries()) {
    yield `${pad}${i === 0 ? '<' : ' '}`;
    if (tensor === undefined) yield checked(valueInfo(v, place), place);
    else {
      yield checked(`${tensorTypeText(tensor.dtype, tensor.dims)} ${nameText(v.name)} = `, place);
      for (const piece of contentPieces(tensor, options.full, `tensor "${v.name}"`, place)) yield checked(piece, place);
    }
    const remark = options.comments === false || tensor === undefined ? '' : valueRemark(v);
    yield `${i + 1 < entries.length ? ',' : '>'}${remark === '' ? '' : `  # ${remark}`}\n`;
  }
}

function* nodeList(
  g: Graph,
  pad: string,
  options: PrintOptions,
  metadata: ReadonlyMap<string, string> = g.metadata,
): Iterable<string> {
  yield `${pad}{\n`;
  const inner = pad + indent;
  if (options.comments !== false) yield* commentLines(graphNotes(g, metadata), inner);
  for (const n of g.nodes) yield* nodePieces(n, inner, options);
  yield `${pad}}`;
}

function* commentLines(notes: readonly string[], pad: string): Iterable<string> {
  for (const note of notes) yield `${pad}# ${note}\n`;
}

function* nodePieces(n: Node, pad: string, options: PrintOptions): Iterable<string> {
  const place = { node: n.label };
  if (!isIdentifier(n.op)) throw textUnsupported(`the operator "${n.op}" is not an identifier`, place);
  if (n.domain !== '' && !isQualified(n.domain))
    throw textUnsupported(`the domain "${n.domain}" is not made of identifiers`, place);
  if (n.overload !== '' && !isIdentifier(n.overload))
    throw textUnsupported(`the overload "${n.overload}" is not an identifier`, place);
  const comments = options.comments !== false;
  if (comments) yield* commentLines(nodeNotes(n), pad);

  const attrs = [...n.attrs]
    .filter(([name, attr]) => options.isDefault?.(n, name, attr) !== true)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [name] of attrs)
    if (!isIdentifier(name)) throw textUnsupported(`the attribute name "${name}" is not an identifier`, place);
  const label = n.name === '' ? '' : `[${nameText(n.name)}] `;
  const outputs = n.outputs.map((v) => nameText(v.name)).join(', ');
  const op = `${n.domain === '' ? '' : `${n.domain}.`}${n.op}${n.overload === '' ? '' : `:${n.overload}`}`;
  const inputs = `(${n.inputs.map((v) => nameText(v?.name ?? '')).join(', ')})`;
  const start = `${pad}${label}${outputs}${outputs === '' ? '' : ' '}= ${op}`;
  const remark = comments ? provenance(n) : '';

  const flat = attrs.flatMap(([name, attr]) =>
    attr.kind === 'graph' ? [] : [`${name}${attrValue(attr, `attribute "${name}"`, place, options.full)}`],
  );
  if (flat.length === attrs.length) {
    const list = flat.length === 0 ? '' : ` <${flat.join(', ')}>`;
    yield `${withRemark(checked(`${start}${list} ${inputs}`, place), remark)}\n`;
    return;
  }
  yield `${withRemark(checked(`${start} ${inputs} <`, place), remark)}\n`;
  const inner = pad + indent;
  for (const [i, [name, attr]] of attrs.entries()) {
    yield `${inner}${name}`;
    if (attr.kind === 'graph') {
      checkBodyName(attr.value, n);
      yield ': graph = ';
      yield* graphPieces(attr.value, inner, options);
    } else yield checked(attrValue(attr, `attribute "${name}"`, place, options.full), place);
    yield i + 1 < attrs.length ? ',\n' : '\n';
  }
  yield `${pad}>\n`;
}

/** The name of a body cannot be quoted, and words that begin a type or a number would be read as such. */
function checkBodyName(g: Graph, n: Node): void {
  if (!isIdentifier(g.name) || isTypeWord(g.name) || /^(nan|inf|infinity)(?![a-z0-9])/i.test(g.name))
    throw textUnsupported(`the graph name "${g.name}" is not allowed in an attribute`, { node: n.label });
}

function withRemark(line: string, remark: string): string {
  if (remark === '') return line;
  const width = line.length - (line.lastIndexOf('\n') + 1);
  return `${line}${' '.repeat(Math.max(2, commentColumn - width))}# ${remark}`;
}

/** The official parser ends its input at the first NUL. */
function checked(text: string, place: ErrorPlace): string {
  if (text.includes('\0')) throw textUnsupported('a string contains the character U+0000', place);
  return text;
}
