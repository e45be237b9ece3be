/**
 * Splits Split and Concat nodes with many values. A WebGPU shader has eight storage buffers at most by default
 * (maxStorageBuffersPerShaderStage of the WebGPU specification), and ONNX Runtime's kernels bind every input and output
 * of a node: wider nodes become a tree.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, Node, Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { numbersOf } from '../../graph/tensor.ts';
import { inferNode } from '../shapes/index.ts';
import { axisIn } from '../shapes/rule.ts';

/** In addition to the one value on the other side. */
const most = 7;

/** In place, bodies included. A Split whose sizes are not constant is not changed. */
export function splitWideNodes(graph: Graph, g: Builder): void {
  for (const own of graph.allGraphs())
    for (const node of [...own.nodes]) {
      if (node.domain !== '') continue;
      const made = node.op === 'Split' ? splits(node, g) : node.op === 'Concat' ? concats(node) : [];
      if (made.length === 0) continue;
      own.insertAfter(node, ...made);
      own.remove(node);
      for (const n of made) for (const o of n.outputs) o.producer = n;
    }
  graph.prune();
}

/** Runs of at most `most` parts, as evenly as possible. */
function runs<T>(list: readonly T[]): T[][] {
  const size = Math.ceil(list.length / most);
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}

function splits(node: Node, g: Builder): Node[] {
  const [x] = node.inputs;
  const sizes = node.outputs.length <= most ? undefined : sizesOf(node);
  if (x === undefined || sizes === undefined) return [];
  const made: Node[] = [];
  const cut = (from: Value, parts: readonly (readonly [Value, number])[]): void => {
    const groups = parts.length <= most ? parts.map((p) => [p]) : runs(parts);
    const outputs = groups.map((group, i): readonly [Value, number] => {
      const [first] = group;
      const total = group.reduce((n, [, size]) => n + size, 0);
      return group.length === 1 && first !== undefined ? first : [new Value(`${from.name}.part${i}`), total];
    });
    made.push(
      derived(
        node,
        'Split',
        [from, g.ints(outputs.map(([, size]) => size))],
        outputs.map(([v]) => v),
      ),
    );
    for (const [i, group] of groups.entries()) {
      const v = outputs[i]?.[0];
      if (v !== undefined && group.length > 1) cut(v, group);
    }
  };
  cut(
    x,
    node.outputs.map((o, i) => [o, sizes[i] ?? 0] as const),
  );
  return made;
}

/** The sizes of the parts; undefined if they are only known at run time. */
function sizesOf(node: Node): readonly number[] | undefined {
  const [x, lengths] = node.inputs;
  if (lengths !== undefined) return lengths.tensor && numbersOf(lengths.tensor);
  // Equal parts, the last of which may be smaller.
  const whole = x?.shape?.[axisIn(attrsOf(node, 'Split').axis, x.shape.length) ?? 0];
  if (typeof whole !== 'number') return undefined;
  const size = Math.ceil(whole / node.outputs.length);
  return node.outputs.map((_, i) => Math.min(size, whole - i * size));
}

function concats(node: Node): Node[] {
  const [y] = node.outputs;
  if (y === undefined || node.inputs.length <= most) return [];
  const made: Node[] = [];
  const join = (parts: readonly (Value | undefined)[], whole: Value): void => {
    const groups = parts.length <= most ? parts.map((p) => [p]) : runs(parts);
    const inputs = groups.map((group, i) => {
      if (group.length === 1) return group[0];
      const v = new Value(`${whole.name}.part${i}`);
      join(group, v);
      return v;
    });
    made.push(derived(node, 'Concat', inputs, [whole]));
  };
  join(node.inputs, y);
  return made;
}

/** A copy of this node over other values. */
function derived(
  node: Node,
  op: 'Split' | 'Concat',
  inputs: readonly (Value | undefined)[],
  outputs: readonly Value[],
): Node {
  const { axis } = attrsOf(node, op);
  const types = outputs.map((o) => o.type);
  const made = new Node({ op, name: node.name, inputs, outputs, attrs: [['axis', { kind: 'int', value: axis ?? 0 }]] });
  for (const [k, v] of node.metadata) made.metadata.set(k, v);
  inferNode(made);
  outputs.forEach((o, i) => {
    o.type = types[i] ?? o.type;
  });
  return made;
}
