/** The grammar of ONNX's textual syntax: text -> syntax trees whose names are not resolved yet. */
import { didYouMean } from '../errors.ts';
import { isQualified } from '../formats/onnxText.ts';
import type { Int } from '../graph/model.ts';
import { parseAttr } from './textAttrs.ts';
import type { Name, TextLexer } from './textLexer.ts';
import type {
  AttrSyntax,
  Context,
  FunctionSyntax,
  GraphSyntax,
  Header,
  InfoSyntax,
  ModelSyntax,
  NodeSyntax,
} from './textTree.ts';
import { deepest, integer, nextIsType, parseTensor, parseType, unknownType } from './textTypes.ts';

const modelTexts = ['producer_name', 'producer_version', 'domain', 'doc_string'];
const modelInts = ['ir_version', 'model_version'];

export function parseModel(c: Context): ModelSyntax {
  const header = parseHeader(c.lex, modelTexts, modelInts, true);
  const graph = parseGraph(c);
  const functions: FunctionSyntax[] = [];
  while (!c.lex.atEnd) functions.push(parseFunction(c));
  return { ...header, graph, functions };
}

function parseHeader(lex: TextLexer, texts: readonly string[], ints: readonly string[], metadata: boolean): Header {
  const header = {
    texts: new Map<string, string>(),
    ints: new Map<string, Int>(),
    opsets: [] as Header['opsets'][number][],
    metadata: new Map<string, string>(),
  };
  if (!lex.matches('<')) return header;
  do {
    const at = lex.at;
    const key = lex.word();
    const known = [...texts, ...ints, 'opset_import', ...(metadata ? ['metadata_props'] : [])];
    if (!known.includes(key))
      throw lex.fail(
        key === '' ? `expected a field, found ${lex.found()}` : `"${key}" is not a field here${didYouMean(key, known)}`,
        at,
      );
    lex.expect(':', `after "${key}"`);
    if (texts.includes(key)) header.texts.set(key, lex.string(`as ${key}`));
    else if (ints.includes(key)) header.ints.set(key, integer(lex, lex.literal(`as ${key}`)));
    else {
      lex.expect('[', `after "${key}:"`);
      if (lex.matches(']')) continue;
      do {
        const entryAt = lex.at;
        const name = lex.string(key === 'opset_import' ? 'as a domain' : 'as a key');
        lex.expect(':', `after "${name}"`);
        if (key === 'metadata_props') header.metadata.set(name, lex.string(`as the value of "${name}"`));
        else header.opsets.push({ domain: name, version: integer(lex, lex.literal('as a version')), at: entryAt });
      } while (lex.matches(','));
      lex.expect(']', `after the entries of ${key}`);
    }
  } while (lex.matches(','));
  lex.expect('>', 'after the fields');
  return header;
}

/** name (inputs) => (outputs) <initializers and types> { nodes } */
export function parseGraph(c: Context): GraphSyntax {
  const { lex } = c;
  if (c.depth > deepest) throw lex.fail('graphs are nested too deep');
  const { name } = lex.name('of a graph');
  const inputs = lex.peek() === '(' ? parseInfos(c, '(', ')', 'typed') : [];
  parseArrow(lex);
  const outputs = parseInfos(c, '(', ')', 'bare');
  const infos = lex.peek() === '<' ? parseInfos(c, '<', '>', 'typed') : [];
  return { name, inputs, outputs, infos, nodes: parseNodes(c) };
}

function parseArrow(lex: TextLexer): void {
  lex.expect('=>', 'between inputs and outputs');
}

/** `typed` lists may have values (`= {…}`), `bare` ones may not. */
function parseInfos(c: Context, open: string, close: string, form: 'typed' | 'bare'): InfoSyntax[] {
  const { lex } = c;
  lex.expect(open, 'before a list of values');
  const infos: InfoSyntax[] = [];
  if (lex.matches(close)) return infos;
  do {
    const type = nextIsType(lex) ? parseType(lex) : undefined;
    const { name, at } = lex.name(type === undefined ? 'of a value' : 'after the type');
    const next = lex.peek();
    if (type === undefined && (next === '[' || next === '"' || next === '(' || lex.peekWord() !== ''))
      throw unknownType(lex, name, at);
    const tensor = form === 'typed' && lex.matches('=') ? parseTensor(lex, type, name, c.elided) : undefined;
    infos.push({ name, at, type, tensor });
  } while (lex.matches(','));
  lex.expect(close, `or "," in a list of values`);
  return infos;
}

function parseNodes(c: Context): NodeSyntax[] {
  const nodes: NodeSyntax[] = [];
  c.lex.expect('{', 'before the nodes');
  while (!c.lex.matches('}')) nodes.push(parseNode(c));
  return nodes;
}

/** [label] outputs = domain.Op:overload <attributes> (inputs), the attributes also after the inputs. */
function parseNode(c: Context): NodeSyntax {
  const { lex } = c;
  const at = lex.at;
  let name = '';
  if (lex.matches('[')) {
    name = lex.optionalName()?.name ?? '';
    lex.expect(']', "after a node's name");
  }
  const outputs = parseNames(lex);
  lex.expect('=', outputs.length === 0 ? 'in a node, or "}" after the last one' : "after a node's outputs");
  let op = lex.word();
  const parts: string[] = [];
  while (lex.matches('.')) {
    parts.push(op);
    op = lex.word();
  }
  const domain = parts.join('.');
  if (!isQualified(domain === '' ? op : `${domain}.${op}`))
    throw lex.fail(`expected an operator, found ${lex.found()}`);
  const overload = lex.matches(':') ? lex.word() : '';
  let attrs = parseAttrs(c);
  lex.expect('(', `before the inputs of ${op}`);
  const inputs = parseNames(lex);
  lex.expect(')', `after the inputs of ${op}`);
  if (attrs.size === 0) attrs = parseAttrs(c);
  return { name, op, domain, overload, inputs, outputs, attrs, at };
}

/** Names in a node; a name that is left out, or "", is an absent optional value. */
function parseNames(lex: TextLexer): Name[] {
  const names: Name[] = [];
  do {
    const at = lex.at;
    const name = lex.optionalName() ?? (lex.peek() === ',' ? { name: '', at } : undefined);
    if (name === undefined) break;
    names.push(name);
  } while (lex.matches(','));
  return names;
}

function parseAttrs(c: Context): Map<string, AttrSyntax> {
  const attrs = new Map<string, AttrSyntax>();
  if (!c.lex.matches('<')) return attrs;
  do {
    const at = c.lex.at;
    const name = c.lex.word();
    if (name === '') throw c.lex.fail(`expected an attribute, found ${c.lex.found()}`);
    addAttr(c, attrs, name, at);
  } while (c.lex.matches(','));
  c.lex.expect('>', 'or "," after an attribute');
  return attrs;
}

function addAttr(c: Context, attrs: Map<string, AttrSyntax>, name: string, at: number): void {
  if (attrs.has(name)) throw c.lex.fail(`attribute "${name}" occurs twice`, at);
  attrs.set(
    name,
    parseAttr(c, name, () => parseGraph({ ...c, depth: c.depth + 1 })),
  );
}

/** <header> name <attributes> (inputs) => (outputs) <types> { nodes } */
function parseFunction(c: Context): FunctionSyntax {
  const { lex } = c;
  const header = parseHeader(lex, ['domain', 'overload', 'doc_string'], [], false);
  const { name } = lex.name('of a function');
  const attributes: string[] = [];
  const defaults = new Map<string, AttrSyntax>();
  if (lex.matches('<')) {
    do {
      const attr = lex.name('of an attribute');
      if (lex.peek() === ':' || lex.peek() === '=') addAttr(c, defaults, attr.name, attr.at);
      else attributes.push(attr.name);
    } while (lex.matches(','));
    lex.expect('>', "after a function's attributes");
  }
  const inputs = parseInfos(c, '(', ')', 'bare');
  parseArrow(lex);
  const outputs = parseInfos(c, '(', ')', 'bare');
  const infos = lex.peek() === '<' ? parseInfos(c, '<', '>', 'bare') : [];
  return { ...header, attributes, defaults, body: { name, inputs, outputs, infos, nodes: parseNodes(c) } };
}
