/**
 * GELU as exporters write it, y = h·x·(a + erf(k·x)) with constants h, a, k: five nodes, whose derivatives one after another pass
 * over the tensor ten times. The forward stays as it is; an internal node behind it carries y on, and has a gradient of its own.
 */
import { type Graph, Node, replaceUses, Value } from '../graph/model.ts';
import { internalDomain } from './adapted.ts';

/** In place. `loraify.Gelu` has inputs x, v = k·x, t = a + erf(v), y and h, and one output, y again. */
export function compactGelu(graph: Graph): void {
  for (const erf of graph.nodes.filter((n) => n.op === 'Erf' && n.domain === '')) {
    const found = match(erf);
    const after = found?.y.producer;
    if (found === undefined || after?.graph !== graph) continue;
    const { x, v, t, y, h } = found;
    const out = new Value(`${y.name}.gelu`, y.type);
    const node = new Node({
      op: 'Gelu',
      domain: internalDomain,
      name: `${after.label}.gelu`,
      inputs: [x, v, t, y, h],
      outputs: [out],
    });
    node.metadata.set('loraify.grad_of', after.label);
    replaceUses(y, out);
    graph.insertAfter(after, node);
  }
}

/** Takes the internal nodes out again: what they carried on is read where it is. */
export function removeGelu(graph: Graph): void {
  const gone = new Set(graph.nodes.filter((n) => n.domain === internalDomain && n.op === 'Gelu'));
  for (const { inputs, outputs } of gone) {
    const [y, out] = [inputs[3], outputs[0]];
    if (y !== undefined && out !== undefined) replaceUses(out, y);
  }
  graph.removeAll(gone);
}

interface Found {
  readonly x: Value;
  readonly v: Value;
  readonly t: Value;
  readonly y: Value;
  readonly h: Value;
}

function match(erf: Node): Found | undefined {
  const [v] = erf.inputs;
  const [e] = erf.outputs;
  const x = v?.producer === undefined ? undefined : scaled(v.producer)?.[0];
  if (x === undefined || v === undefined || e === undefined) return undefined;
  for (const t of results(e, 'Add', isScalar))
    for (const { node, other, result } of products(t)) {
      // x·t, halved behind
      if (other === x) {
        for (const last of products(result))
          if (isScalar(last.other)) return { x, v, t, y: last.result, h: last.other };
        // t halved, times x
      } else if (isScalar(other)) {
        for (const last of products(result)) if (last.other === x) return { x, v, t, y: last.result, h: other };
        // x halved, times t
      } else if (other.producer?.op === 'Mul') {
        const [base, h]: readonly (Value | undefined)[] = scaled(other.producer) ?? [];
        if (base === x && h !== undefined) return { x, v, t, y: node.outputs[0] ?? result, h };
      }
    }
  return undefined;
}

/** The value and the constant of value·constant or value/constant. */
function scaled({ op, domain, inputs: [a, b] }: Node): readonly [Value, Value] | undefined {
  if (a === undefined || b === undefined || domain !== '' || (op !== 'Mul' && op !== 'Div')) return undefined;
  if (isScalar(b)) return [a, b];
  return op === 'Mul' && isScalar(a) ? [b, a] : undefined;
}

interface Step {
  readonly node: Node;
  readonly other: Value;
  readonly result: Value;
}

function steps(value: Value, op: string): Step[] {
  return [...value.uses].flatMap(({ node, index }) => {
    const [other, result] = [node.inputs[1 - index], node.outputs[0]];
    return node.op !== op || node.domain !== '' || other === undefined || result === undefined
      ? []
      : [{ node, other, result }];
  });
}

const products = (value: Value): Step[] => steps(value, 'Mul');
const results = (value: Value, op: string, fits: (other: Value) => boolean): Value[] =>
  steps(value, op).flatMap(({ other, result }) => (fits(other) ? [result] : []));

/** A constant that changes no shape. */
const isScalar = (v: Value): boolean => v.tensor !== undefined && v.tensor.dims.length === 0;
