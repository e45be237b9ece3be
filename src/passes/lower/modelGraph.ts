/**
 * Lowers adapted layers for model.onnx: the base operator unchanged, with the low-rank branch beside it.
 *
 *   y = base(x, W); y' = y + s·(x·A)·B (right operand; for a left operand W·x: y' = y + s·Bᵀ·(Aᵀ·x))
 *
 * The branch computes in float32 whatever the base's type; base and branch are summed in the wider type of both and
 * cast back, as in PEFT.
 */
import { type Builder, createBuilder } from '../../graph/builder.ts';
import type { Graph, Model, Node } from '../../graph/model.ts';
import { uniqueNames, Value } from '../../graph/model.ts';
import { type DataType, dataTypeFromNumber, dataTypeNumber, tensorOf } from '../../graph/tensor.ts';
import { adaptedForm, isAdapted } from '../dialect/adapted.ts';
import { branchForm, isBranch } from '../dialect/branch.ts';
import { dropDetached } from '../dialect/detach.ts';
import { attrsOf } from '../dialect/nodes.ts';
import { kindNamed } from '../select/layers/index.ts';

/** Expands every Adapted and Branch node of the model, bodies and functions included. In place. */
export function lowerModelGraph(model: Model): void {
  // Scalars of the main graph and its bodies are shared initializers; functions cannot have any, so theirs are Constant
  // nodes.
  const shared = createBuilder();
  const initial = (x: number): Value => {
    const v = shared.float(x);
    if (!model.graph.initializers.includes(v)) model.graph.initializers.push(v);
    return v;
  };
  const inline = (x: number): Value => g.Constant({ value: tensorOf('float32', [], [x]) });
  const made: Node[] = [];
  const g = createBuilder((n) => {
    made.push(n);
  });
  for (const graph of [model.graph, ...model.functions.map((f) => f.body)])
    for (const inner of [...graph.allGraphs()])
      for (const node of [...inner.nodes]) {
        const site = { graph: inner, g, made, scalar: graph === model.graph ? initial : inline };
        if (isAdapted(node)) expand(node, site);
        else if (isBranch(node)) expandBranch(node, site);
      }
  for (const graph of [model.graph, ...model.functions.map((f) => f.body)]) {
    dropDetached(graph);
    uniqueNames(graph);
  }
  // A, B and scalars are initializers that are not inputs: they exist since IR 4.
  model.irVersion = Math.max(model.irVersion, 4);
}

interface Site {
  readonly graph: Graph;
  readonly g: Builder;
  /** Nodes that the builder made since the list was last cleared. */
  readonly made: Node[];
  readonly scalar: (x: number) => Value;
}

function expand(node: Node, site: Site): void {
  const { x, w, a, b, c, scale } = adaptedForm(node);
  if (w === undefined) return;
  const y = node.outputs[0] ?? new Value('y');
  const { alpha, base: op, dtype: number, flip: flipped, side, transA, transB } = attrsOf(node, 'loraify.Adapted');
  const flip = flipped === 1;
  const factor = scale * (op === 'Gemm' ? alpha : 1);
  const dtype = dataTypeFromNumber(number ?? 0) ?? w.dtype ?? y.dtype ?? 'float32';

  // The base operator again, under its own name.
  node.op = op;
  node.domain = '';
  node.layer = undefined;
  for (const name of ['base', 'side', 'flip', 'dtype']) node.attrs.delete(name);
  node.setInput(0, side === 0 ? x : w);
  node.setInput(1, side === 0 ? w : x);
  node.setInput(2, c);
  node.dropInputs(c === undefined ? 2 : 3);
  const base = new Value(`${y.name}.base`, y.type);
  node.replaceOutput(0, base);

  const rule = `lower/${op === 'Gemm' ? 'gemm' : 'matmul'}${side === 0 ? '' : '-left'}`;
  beside(site, node, y, rule, () => {
    const wide = cast(site.g, x, dtype, 'float32');
    // D·x for a vector x is x·Dᵀ, which needs no Transpose before it (providers/columnVectors.ts).
    const rows = side === 0 || x.shape?.length === 1;
    const delta = rows ? right(site.g, wide, a, b, flip, transA) : left(site.g, wide, a, b, flip, transB);
    return sum(site, base, delta, factor, dtype);
  });
}

function expandBranch(node: Node, site: Site): void {
  const { y: base, x, a, b, layer } = branchForm(node);
  const [y] = node.outputs;
  const branch = kindNamed(layer.op)?.branch;
  const { producer, dtype = 'float32' } = base;
  if (y === undefined || producer === undefined || branch === undefined) return;
  const { g, graph } = site;
  beside(site, producer, y, `lower/${layer.op.toLowerCase()}`, () => {
    const wide = (v: Value): Value => cast(g, v, dtype, 'float32');
    return sum(site, base, branch({ g, node, x, a, b, wide }), layer.scale, dtype);
  });
  graph.remove(node);
}

/** The source may not declare value types, so the caller passes `from`. */
const cast = (g: Builder, v: Value, from: DataType, to: DataType): Value =>
  from === to ? v : g.Cast(v, { to: dataTypeNumber(to) });

/** base + factor·delta, computed in the wider type of both and cast to the base's. */
function sum({ g, scalar }: Site, base: Value, delta: Value, factor: number, dtype: DataType): Value {
  const scaled = factor === 1 ? delta : g.Mul(delta, scalar(factor));
  const wider = dtype === 'float64' ? dtype : 'float32';
  return cast(g, g.Add(cast(g, base, dtype, wider), cast(g, scaled, 'float32', wider)), wider, dtype);
}

/** Inserts the nodes of `make` after the base; the last one outputs y. */
function beside({ graph, g, made }: Site, base: Node, y: Value, rule: string, make: () => Value): void {
  made.length = 0;
  const last = g.within({ origin: `${y.name}.lora`, rule }, make).producer;
  if (last === undefined) return;
  const [result] = last.outputs;
  if (result !== undefined) result.producer = undefined;
  last.replaceOutput(0, y);
  last.name = `${base.label}.lora`;
  graph.insertAfter(base, ...made);
}

/** x·D with D = A·B, or its transpose if the MatMul reads the transposed weight. */
function right(g: Builder, x: Value, a: Value, b: Value, flip: boolean, transA: number): Value {
  const rows = transA === 1 ? g.Transpose(x, { perm: [1, 0] }) : x;
  const [first, second] = flip ? [swap(g, b), swap(g, a)] : [a, b];
  return called(g.MatMul(called(g.MatMul(rows, first), 'xA'), second), 'xAB');
}

/** D·x with D = (A·B)ᵀ, or A·B if the MatMul reads the transposed weight. */
function left(g: Builder, x: Value, a: Value, b: Value, flip: boolean, transB: number): Value {
  const columns = transB === 1 ? g.Transpose(x, { perm: [1, 0] }) : x;
  const [first, second] = flip ? [b, a] : [swap(g, a), swap(g, b)];
  return called(g.MatMul(second, called(g.MatMul(first, columns), 'Ax')), 'BAx');
}

function swap(g: Builder, v: Value): Value {
  const out = g.Transpose(v, { perm: [1, 0] });
  return called(out, `T_${v.name}`);
}

/** Names the result of a step of the branch: `<y>.lora.<what>`. */
function called(v: Value, what: string): Value {
  v.name = v.name.replace(/[^.]*$/, what);
  if (v.producer !== undefined) v.producer.name = v.name;
  return v;
}
