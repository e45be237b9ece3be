/** Attribute values in ONNX's textual syntax. */
import { type ErrorPlace, textUnsupported } from '../../errors.ts';
import { float32Text } from '../../formats/floatText.ts';
import { attrTypeName, isIdentifier, kindNames, nameText, tensorTypeText, typeText } from '../../formats/onnxText.ts';
import type { Attr, ValueType } from '../../graph/model.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { contentPieces, stringText } from './textTensor.ts';

/** `: type = value` of any attribute except a graph. */
export function attrValue(
  attr: Exclude<Attr, { kind: 'graph' }>,
  what: string,
  place: ErrorPlace,
  full?: boolean,
): string {
  if (attr.kind === 'ref') {
    const type = attrTypeName(attr.type);
    return `${type === undefined ? '' : `: ${type}`} = @${nameText(attr.value)}`;
  }
  return `: ${kindNames[attr.kind]} = ${attrText(attr, what, place, full)}`;
}

function attrText(
  attr: Exclude<Attr, { kind: 'graph' | 'ref' }>,
  what: string,
  place: ErrorPlace,
  full?: boolean,
): string {
  switch (attr.kind) {
    case 'float':
      return float32Text(attr.value);
    case 'int':
      return String(attr.value);
    case 'string':
      return stringText(attr.value, what, place);
    case 'floats':
      return `[${attr.value.map(float32Text).join(', ')}]`;
    case 'ints':
      return `[${attr.value.join(', ')}]`;
    case 'strings':
      return `[${attr.value.map((s) => stringText(s, what, place)).join(', ')}]`;
    case 'tensor':
      return tensorText(attr.value, attr.name, what, place, full);
    case 'type':
      return typed(attr.value, what, place);
    case 'tensors':
    case 'graphs':
    case 'types':
      if (attr.value.length === 0) return '[]';
      throw textUnsupported(`${what} is a list of ${attr.kind}`, place);
    case 'sparse':
    case 'sparses':
      if (attr.kind === 'sparses' && attr.value.length === 0) return '[]';
      throw textUnsupported(`${what} is a sparse tensor`, place);
  }
}

function tensorText(tensor: Tensor, name: string, what: string, place: ErrorPlace, full?: boolean): string {
  const content = [...contentPieces(tensor, full, what, place)].join('');
  const type = tensorTypeText(tensor.dtype, tensor.dims);
  // Names that would need quotes are not allowed here; they have no effect, and a comment keeps them.
  const label = isIdentifier(name) ? ` ${name}` : '';
  return `${type}${label}${label !== '' || content.startsWith('[') ? ' =' : ''} ${content}`;
}

export function typed(type: ValueType, what: string, place: ErrorPlace): string {
  const text = typeText(type);
  if (text === undefined) throw textUnsupported(`the type of ${what} has no form in the text`, place);
  return text;
}
