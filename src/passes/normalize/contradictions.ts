/**
 * Models whose types or shapes contradict each other. ONNX Runtime loads some of them, because it infers less from the
 * declared inputs, and fails when they run; the graphs of a package would not load. Only dims that are numbers count.
 */

import { badModel } from '../../errors.ts';
import type { Dim, Model, Node } from '../../graph/model.ts';
import { attrsOf, factsOf } from '../../graph/operators.ts';
import { shapeText } from '../../graph/shapeText.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { attrsOf as dialectAttrs, layerOf } from '../dialect/nodes.ts';
import { wrongTypes } from './operandTypes.ts';

type Shape = readonly Dim[] | undefined;

/** Throws BAD_MODEL at the first node whose operands do not fit. */
export function checkOperands(model: Model): void {
  for (const node of model.graph.allNodes()) {
    const wrong = wrongTypes(node) ?? shapesOf(node);
    const op = isAdapted(node) ? layerOf(node).op : node.op;
    if (wrong !== undefined) throw badModel(`${op} "${node.label}" ${wrong}`, { node: node.label });
  }
}

const text = (shape: Shape): string => shapeText(shape ?? []);
const differ = (a: Dim | undefined, b: Dim | undefined): boolean =>
  typeof a === 'number' && typeof b === 'number' && a !== b;

function shapesOf(node: Node): string | undefined {
  if (isAdapted(node)) return adapted(node);
  if (node.domain !== '') return undefined;
  const [a, b, c] = node.inputs.map((v) => v?.shape);
  if (factsOf(node)?.broadcasts === true) return broadcast(node.inputs.map((v) => v?.shape));
  switch (node.op) {
    case 'MatMul':
      return matMul(a, b);
    case 'Gemm':
      return gemm(node, a, b, c);
    case 'Conv':
      return conv(node, a, b);
    case 'Concat':
      return concat(node);
    default:
      return undefined;
  }
}

function broadcast(shapes: readonly Shape[]): string | undefined {
  for (const [i, a] of shapes.entries())
    for (const b of shapes.slice(i + 1)) {
      if (a === undefined || b === undefined) continue;
      for (let k = 1; k <= Math.min(a.length, b.length); k++) {
        const [x, y] = [a.at(-k), b.at(-k)];
        if (differ(x, y) && x !== 1 && y !== 1) return `has operands that do not broadcast: ${text(a)} and ${text(b)}`;
      }
    }
  return undefined;
}

function matMul(a: Shape, b: Shape): string | undefined {
  if (a === undefined || b === undefined) return undefined;
  const depth = b.length === 1 ? b[0] : b.at(-2);
  if (a.length === 0 || b.length === 0 || differ(a.at(-1), depth))
    return `has operands whose inner dims differ: ${text(a)} and ${text(b)}`;
  return broadcast([a.slice(0, -2), b.slice(0, -2)]) === undefined
    ? undefined
    : `has operands whose batch dims do not broadcast: ${text(a)} and ${text(b)}`;
}

function gemm(node: Node, a: Shape, b: Shape, c: Shape): string | undefined {
  if (a === undefined || b === undefined) return undefined;
  const { transA, transB } = attrsOf(node, 'Gemm');
  if (a.length !== 2 || b.length !== 2) return `has operands that are not matrices: ${text(a)} and ${text(b)}`;
  if (differ(a[transA === 0 ? 1 : 0], b[transB === 0 ? 0 : 1]))
    return `has operands whose inner dims differ: ${text(a)} and ${text(b)}`;
  const product = [a[transA === 0 ? 0 : 1] ?? null, b[transB === 0 ? 1 : 0] ?? null];
  return c === undefined ? undefined : broadcast([product, c]);
}

function conv(node: Node, x: Shape, w: Shape): string | undefined {
  if (x === undefined || w === undefined) return undefined;
  if (x.length !== w.length || x.length < 3) return `has an input ${text(x)} and a weight ${text(w)} of other ranks`;
  const { group } = attrsOf(node, 'Conv');
  const channels = typeof w[1] === 'number' ? w[1] * group : null;
  return differ(x[1], channels) ? `has an input ${text(x)} and a weight ${text(w)} for other channels` : undefined;
}

function concat(node: Node): string | undefined {
  const shapes = node.inputs.flatMap((v) => (v?.shape === undefined ? [] : [v.shape]));
  const [first] = shapes;
  const { axis = 0 } = attrsOf(node, 'Concat');
  if (first === undefined) return undefined;
  const along = axis < 0 ? axis + first.length : axis;
  const other = shapes.find((s) => s.length !== first.length || s.some((d, i) => i !== along && differ(d, first[i])));
  return other === undefined ? undefined : `joins ${text(first)} and ${text(other)}`;
}

/** A layer on the right reads as many features as its weight has inputs. */
function adapted(node: Node): string | undefined {
  const { base, side, transA, flip } = dialectAttrs(node, 'loraify.Adapted');
  const [x, w] = [node.inputs[0]?.shape, node.inputs[1]?.shape];
  const layer = layerOf(node);
  if (x === undefined || side !== 0) return undefined;
  if (base === 'Gemm' && x.length !== 2) return `reads ${text(x)}, which is not a matrix`;
  const depth = flip === 1 ? layer.out : layer.in;
  if (differ(x.at(transA === 1 ? -2 : -1), depth)) return `reads ${text(x)}, but its weight is ${text(w)}`;
  const width = flip === 1 ? layer.in : layer.out;
  const added = node.inputs[4]?.shape?.at(-1);
  return differ(added, width) && added !== 1 ? `adds ${text(node.inputs[4]?.shape)} to ${width} columns` : undefined;
}
