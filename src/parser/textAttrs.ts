/** Attributes of the textual syntax. */
import { didYouMean } from '../errors.ts';
import { float32FromText } from '../formats/floatText.ts';
import { type AttrTypeName, attrTypes, isAttrTypeName, kindNames } from '../formats/onnxText.ts';
import type { Int } from '../graph/model.ts';
import type { Literal, TextLexer } from './textLexer.ts';
import type { AttrSyntax, Context, GraphSyntax } from './textTree.ts';
import { nextIsType, parseTensor, parseType } from './textTypes.ts';

/** The part after an attribute's name: `: type = value`. The type is required only for empty lists and references. */
export function parseAttr(c: Context, name: string, parseBody: () => GraphSyntax): AttrSyntax {
  const { lex } = c;
  let type: AttrTypeName | undefined;
  if (lex.matches(':')) {
    const at = lex.at;
    const word = lex.word();
    if (!isAttrTypeName(word))
      throw lex.fail(`"${word}" is not an attribute type${didYouMean(word, Object.keys(attrTypes))}`, at);
    type = word;
  }
  lex.expect('=', `after attribute "${name}"`);
  const at = lex.at;
  const value = lex.matches('[') ? parseList(lex, name, type, at) : parseSingle(c, name, type, parseBody);
  const found = value.kind === 'ref' ? type : value.kind === 'body' ? 'graph' : kindNames[value.kind];
  if (type !== undefined && found !== type) throw lex.fail(`attribute "${name}" is ${found}, not ${type}`, at);
  return value;
}

function parseSingle(
  c: Context,
  name: string,
  type: AttrTypeName | undefined,
  parseBody: () => GraphSyntax,
): AttrSyntax {
  const { lex } = c;
  if (lex.matches('@'))
    return {
      kind: 'ref',
      value: lex.name('after "@"').name,
      type: type === undefined ? 0 : attrTypes[type],
    };
  if (nextIsType(lex)) {
    const value = parseType(lex);
    const word = lex.peekWord();
    if (word === '' && lex.peek() !== '{' && lex.peek() !== '=') return { kind: 'type', value };
    const label = lex.word();
    lex.matches('=');
    return { kind: 'tensor', value: parseTensor(lex, value, label, c.elided), name: label };
  }
  const word = lex.peekWord();
  if (word !== '' && !/^(inf|infinity|nan)$/i.test(word)) return { kind: 'body', value: parseBody() };
  const literal = lex.literal(`of attribute "${name}"`);
  if (literal.kind === 'string') return { kind: 'string', value: encode(literal) };
  if (literal.kind === 'float' || type === 'float') return { kind: 'float', value: float32(lex, literal) };
  return { kind: 'int', value: int64(lex, literal) };
}

function parseList(lex: TextLexer, name: string, type: AttrTypeName | undefined, at: number): AttrSyntax {
  if (lex.matches(']')) return emptyList(lex, name, type, at);
  const items: Literal[] = [];
  do {
    if (nextIsType(lex) || lex.peek() === '@')
      throw lex.fail(
        'a list can only hold numbers or strings here: the syntax has no lists of tensors, types or graphs',
      );
    items.push(lex.literal(`in the list "${name}"`));
  } while (lex.matches(','));
  lex.expect(']', `or "," in the list "${name}"`);
  const strings = items.filter((i) => i.kind === 'string').length;
  const floats = items.filter((i) => i.kind === 'float').length;
  if (strings === items.length) return { kind: 'strings', value: items.map(encode) };
  if (strings > 0) throw lex.fail(`the list "${name}" mixes strings and numbers`, at);
  if (type === 'floats' || floats === items.length) return { kind: 'floats', value: items.map((i) => float32(lex, i)) };
  if (floats > 0) throw lex.fail(`the list "${name}" mixes integers and floats: write "${name}: floats"`, at);
  return { kind: 'ints', value: items.map((i) => int64(lex, i)) };
}

function emptyList(lex: TextLexer, name: string, type: AttrTypeName | undefined, at: number): AttrSyntax {
  switch (type) {
    case 'ints':
    case 'floats':
    case 'strings':
    case 'tensors':
    case 'graphs':
      return { kind: type, value: [] };
    case 'type_protos':
      return { kind: 'types', value: [] };
    case 'sparse_tensors':
      return { kind: 'sparses', value: [] };
    case undefined:
      throw lex.fail(`the empty list "${name}" needs a type, for example "${name}: ints = []"`, at);
    default:
      throw lex.fail(`attribute "${name}" is a list, not ${type}`, at);
  }
}

const encoder = new TextEncoder();
const encode = (literal: Literal): Uint8Array => encoder.encode(literal.text);

function float32(lex: TextLexer, literal: Literal): number {
  const x = float32FromText(literal.text);
  if (x === undefined) throw lex.fail(`${literal.text} does not fit a float`, literal.at);
  return x;
}

const [least, most] = [-(1n << 63n), (1n << 63n) - 1n];

function int64(lex: TextLexer, literal: Literal): Int {
  const n = BigInt(literal.text);
  if (n < least || n > most) throw lex.fail(`${literal.text} does not fit an int`, literal.at);
  return Number.isSafeInteger(Number(n)) ? Number(n) : n;
}
