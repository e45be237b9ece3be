/**
 * Types that a file declares for intermediate values (value_info) and outputs, compared with inference. Exporters leave
 * lengths of their example behind: torch declares [batch, 5, 8] after an LSTM over `seq` steps. ONNX Runtime ignores
 * such a declaration; here it would be written into gradients.
 */
import type { Dim, Graph, Node, TensorType, Value, ValueType } from '../../graph/model.ts';
import { refine } from '../shapes/types.ts';

/**
 * Infers a node's types by `infer`. A declaration completes what inference does not know; where inference is certain,
 * it wins, and `report` gets a sentence. Nodes are visited in order, so that the inputs are right already.
 */
export function declarationChecker(
  graph: Graph,
  infer: (node: Node) => void,
  report: (text: string) => void,
): (node: Node) => void {
  const symbols = new Set(graph.inputs.flatMap((v) => v.shape ?? []).filter((d) => typeof d === 'string'));
  const outputs = new Set(graph.outputs);
  return (node) => {
    const declared = node.outputs.filter((v) => v.type !== undefined && (v.declared || outputs.has(v)));
    const types = new Map<Value, ValueType | undefined>(declared.map((v) => [v, v.type]));
    for (const v of declared) v.type = undefined;
    infer(node);
    for (const [v, known] of types) {
      const { type: inferred } = v;
      const isStale = known?.kind === 'tensor' && inferred?.kind === 'tensor' && contradicts(known, inferred, symbols);
      if (isStale) report(`${described(v, known)} ${described(undefined, inferred)}`);
      v.type = isStale ? inferred : refine(known, inferred);
    }
  };
}

/** Whether a declared shape differs from an inferred one where that is a number, or a length that an input leaves open. */
function contradicts(known: TensorType, inferred: TensorType, symbols: ReadonlySet<string>): boolean {
  const [a, b] = [known.shape, inferred.shape];
  if (a === undefined || b === undefined) return false;
  if (a.length !== b.length) return true;
  return b.some((d, i) => {
    const own = a[i];
    return typeof own === 'number' && own !== d && (typeof d === 'number' || (d !== null && symbols.has(d)));
  });
}

const shapeText = (shape: readonly Dim[] | undefined): string => `[${(shape ?? []).map((d) => d ?? '?').join(', ')}]`;

const described = (v: Value | undefined, { shape }: TensorType): string =>
  v === undefined
    ? `but it is ${shapeText(shape)}: the declaration is ignored`
    : `the model declares "${v.name}" as ${shapeText(shape)},`;
