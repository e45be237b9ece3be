/** The comments of the printer: inferred types, a node's origin, metadata and doc strings. */
import { isIdentifier, typeText } from '../../formats/onnxText.ts';
import type { Graph, Model, Node, Unknown, Value } from '../../graph/model.ts';

const ruleKey = 'loraify.rule';
const gradOfKey = 'loraify.grad_of';

/** A comment ends with its line, so control characters are escaped. */
const oneLine = (s: string): string =>
  s.replace(/\p{Cc}/gu, (c) => (c === '\n' ? '\\n' : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`));

const pairs = (metadata: ReadonlyMap<string, string>): string[] =>
  [...metadata].map(([k, v]) => oneLine(`${k}: ${JSON.stringify(v)}`));

function unknownNote(unknown: Unknown): string[] {
  const bytes = unknown.reduce((n, b) => n + b.length, 0);
  return bytes === 0 ? [] : [`${bytes} bytes of other fields are not shown`];
}

/** The end of a node's line: the types of its outputs, then the rule that made the node. */
export function provenance(n: Node): string {
  const types = n.outputs.map((v) => typeText(v.type) ?? '?');
  const rule = n.metadata.get(ruleKey);
  const gradOf = n.metadata.get(gradOfKey);
  const made = [rule ?? (gradOf === undefined ? [] : 'gradient'), gradOf === undefined ? [] : `of ${gradOf}`].flat();
  return [
    ...(types.every((t) => t === '?') ? [] : [types.join(', ')]),
    ...(made.length === 0 ? [] : [made.join(' ')]),
    ...(n.layer === undefined ? [] : [`layer ${n.layer.path}`]),
  ]
    .map(oneLine)
    .join('  ');
}

/** Lines above a node. */
export function nodeNotes(n: Node): string[] {
  const rest = new Map([...n.metadata].filter(([k]) => k !== ruleKey && k !== gradOfKey));
  const attrs = [...n.attrs].flatMap(([name, a]) => [
    ...(a.kind === 'tensor' && a.name !== '' && !isIdentifier(a.name)
      ? [`${name}: tensor name ${JSON.stringify(a.name)}`]
      : []),
    ...(a.docString ? [`${name}: ${JSON.stringify(a.docString)}`] : []),
  ]);
  const values = n.outputs.flatMap((v) => valueNote(v));
  return [...docNote(n.docString), ...pairs(rest), ...attrs.map(oneLine), ...values, ...unknownNote(n.unknown)];
}

const docNote = (doc: string | undefined): string[] => (doc ? [oneLine(`doc: ${JSON.stringify(doc)}`)] : []);

/** The facts about a value beyond its name and type. */
export function valueRemark(v: Value): string {
  const dims = (v.type?.kind === 'tensor' && v.type.denotations) || [];
  return [
    ...(v.denotation === '' ? [] : [`denotation: ${JSON.stringify(v.denotation)}`]),
    ...(dims.some((d) => d) ? [`dims: ${JSON.stringify(dims.map((d) => d ?? ''))}`] : []),
    ...docNote(v.docString),
    ...docNote(v.tensor?.docString),
    ...pairs(v.metadata),
    ...pairs(v.tensor?.metadata ?? new Map()),
    ...unknownNote(v.unknown),
  ]
    .map(oneLine)
    .join(', ');
}

function valueNote(v: Value): string[] {
  const remark = valueRemark(v);
  return remark === '' ? [] : [oneLine(`${v.name}: ${remark}`)];
}

/** Lines at the start of a graph. */
export function graphNotes(g: Graph, metadata: ReadonlyMap<string, string>): string[] {
  const known = new Set(g.initializers);
  return [
    ...docNote(g.docString),
    ...pairs(metadata),
    ...[...g.inputs.filter((v) => !known.has(v)), ...g.strayInfo].flatMap(valueNote),
    ...g.quantization.flatMap((q) => pairs(q.parameters).map((p) => oneLine(`quantization of ${q.tensor}: ${p}`))),
    ...unknownNote(g.unknown),
  ];
}

export function modelNotes(model: Model): string[] {
  return unknownNote(model.unknown);
}
