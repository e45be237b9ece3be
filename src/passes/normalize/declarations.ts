/**
 * Types that a file declares for values that nodes compute (value_info, outputs, inputs of bodies), compared with
 * inference. Exporters leave lengths of their example behind: torch declares [batch, 5, 8] after an LSTM over `seq`
 * steps. ONNX Runtime ignores such a declaration; here it would be written into gradients.
 */

import type { Graph, Node, TensorType, Value, ValueType } from '../../graph/model.ts';
import { shapeText } from '../../graph/shapeText.ts';
import { symbolsOf } from '../shapes/dims.ts';
import { refine, sameType } from '../shapes/types.ts';

/**
 * Takes the declared types out of a graph and its bodies, and returns a function that infers a node's types by `infer`
 * and then completes them by what was declared. Where inference is certain, it wins, and `report` gets a sentence.
 * Nodes are visited in order, so that the inputs are right already.
 */
export function declarationChecker(
  graph: Graph,
  infer: (node: Node) => void,
  report: (text: string) => void,
): (node: Node) => void {
  const symbols = new Set(graph.inputs.flatMap((v) => (v.shape ?? []).flatMap(symbolsOf)));
  const declared = takeDeclared(graph);
  /** Lengths of the exporter's example: declared as numbers where inference has a symbol. */
  const examples = new Set<number>();
  const reported = new Set<Value>();

  /** Returns whether the type has become more than what was inferred. */
  const complete = (v: Value): boolean => {
    const known = declared.get(v);
    const { type: inferred } = v;
    if (known === undefined) return false;
    if (known.kind !== 'tensor' || inferred?.kind !== 'tensor') v.type = refine(known, inferred);
    else if (contradicts(known, inferred, symbols)) {
      for (const n of numbersInstead(known, inferred)) examples.add(n);
      // The type of a body's value is compared in every pass over the body.
      if (!reported.has(v))
        report(
          `the model declares "${v.name}" as ${shapeText(known.shape ?? [])}, but it is ${shapeText(inferred.shape ?? [])}: the declaration is ignored`,
        );
      reported.add(v);
    } else v.type = refine(withoutExamples(known, examples), inferred);
    return !sameType(v.type, inferred);
  };

  /** Values of bodies are inferred again from the types that the node gives to its bodies. */
  const inferBodies = (node: Node): void => {
    const bodies = node.bodies.flatMap((b) => b.allGraphs());
    const values = bodies.flatMap((g) => [...g.inputs, ...g.nodes.flatMap((n) => n.outputs)]);
    for (const v of values) {
      v.type = undefined;
      v.elements = undefined;
    }
    infer(node);
    if (values.map(complete).includes(true)) infer(node);
  };

  return (node) => {
    if (node.bodies.length === 0) infer(node);
    else inferBodies(node);
    node.outputs.forEach(complete);
  };
}

/**
 * The declared types of computed values, which are removed from them, and of inputs of bodies, which keep them until
 * the node with the body is inferred.
 */
function takeDeclared(graph: Graph): ReadonlyMap<Value, ValueType> {
  const declared = new Map<Value, ValueType>();
  for (const g of graph.allGraphs()) {
    const computed = g.nodes.flatMap((n) => n.outputs);
    for (const v of g === graph ? computed : [...g.inputs, ...computed])
      if (v.type !== undefined && v.tensor === undefined) declared.set(v, v.type);
    for (const v of computed) v.type = undefined;
  }
  return declared;
}

/**
 * Whether a declared shape differs from an inferred one where that is a number, or follows from the inputs' lengths.
 */
function contradicts(known: TensorType, inferred: TensorType, symbols: ReadonlySet<string>): boolean {
  const [a, b] = [known.shape, inferred.shape];
  if (a === undefined || b === undefined) return false;
  if (a.length !== b.length) return true;
  return b.some((d, i) => {
    const own = a[i];
    if (typeof own !== 'number' || own === d || d === null) return false;
    return typeof d === 'number' || symbolsOf(d).every((s) => symbols.has(s));
  });
}

/** Declared numbers of axes that inference has a symbol for. */
const numbersInstead = (known: TensorType, inferred: TensorType): number[] =>
  (known.shape ?? []).filter((d, i) => typeof d === 'number' && typeof inferred.shape?.[i] === 'string').map(Number);

/** A number that was the example's length elsewhere is not believed where nothing confirms it. */
const withoutExamples = (known: TensorType, examples: ReadonlySet<number>): TensorType =>
  known.shape?.some((d) => typeof d === 'number' && examples.has(d)) === true
    ? { ...known, shape: known.shape.map((d) => (typeof d === 'number' && examples.has(d) ? null : d)) }
    : known;
