/** Control flow (If, Loop, Scan, SequenceMap): bodies are inferred with the facts that hold in every iteration. */
import type { Dim, Graph, Value, ValueType } from '../../graph/model.ts';
import { elementsOf, scalarIn } from './elements.ts';
import { axisIn, dimAt, out, type Shape, type Site, shape, type Typed } from './rule.ts';
import { common, refine, sameType } from './types.ts';

const tensor = (dtype: Value['dtype'], dims: Shape): ValueType => ({ kind: 'tensor', dtype, shape: dims });

shape('If', ({ inputs: [condition], attrs: { then_branch, else_branch }, infer, count }) => {
  for (const b of [then_branch, else_branch]) if (b !== undefined) infer(b);
  const taken = scalarIn(condition);
  const one = taken === 1 ? then_branch : taken === 0 ? else_branch : undefined;
  return Array.from({ length: count }, (_, i): Typed => {
    const [a, b] = [(one ?? then_branch)?.outputs[i], (one ?? else_branch)?.outputs[i]];
    const [p, q] = [elementsOf(a), elementsOf(b)];
    const elements = p?.length === q?.length ? p?.map((d, j) => (d === q?.[j] ? d : null)) : undefined;
    return { type: common(typeOf(a), typeOf(b)), elements };
  });
});

const typeOf = (v: Value | undefined): ValueType | undefined =>
  v?.type ?? (v?.tensor === undefined ? undefined : tensor(v.tensor.dtype, v.tensor.dims));

interface Known {
  readonly type: ValueType | undefined;
  readonly elements: readonly Dim[] | undefined;
}

/** Saves the inferred facts of every value defined in a body, so that an assumption can be undone. */
function snapshot(body: Graph): () => void {
  const before = new Map<Value, Known>();
  for (const g of body.allGraphs())
    for (const v of [...g.inputs, ...g.nodes.flatMap((n) => n.outputs)])
      before.set(v, { type: v.type, elements: v.elements });
  return () => {
    for (const [v, known] of before) {
      v.type = known.type;
      v.elements = known.elements;
    }
  };
}

/**
 * The maximum number of passes until loop-carried types stop changing: each pass only removes dims, so a few suffice.
 */
const mostPasses = 8;

/**
 * Infers a body that has loop-carried values first: their types are what holds before the first iteration and after
 * every one. `from` and `to` are the positions of these values among the body's inputs and outputs.
 */
function settleCarried(
  site: Site<unknown>,
  body: Graph,
  initial: readonly (Value | undefined)[],
  from: number,
  to: number,
): (ValueType | undefined)[] {
  const restore = snapshot(body);
  let carried = initial.map(typeOf);
  for (let pass = 0; ; pass++) {
    carried.forEach((t, i) => {
      const v = body.inputs[from + i];
      if (v !== undefined) v.type = refine(v.type, t);
    });
    site.infer(body);
    const next = carried.map((t, i) => common(t, typeOf(body.outputs[to + i])));
    if (next.every((t, i) => sameType(t, carried[i]))) return carried;
    restore();
    // If the types never settle, only the element type is kept.
    carried = pass < mostPasses ? next : next.map((t) => (t?.kind === 'tensor' ? tensor(t.dtype, undefined) : t));
    if (pass > mostPasses + 1) return carried.map(() => undefined);
  }
}

shape('Loop', (site) => {
  const { inputs, attrs, count } = site;
  const [limit, condition, ...initial] = inputs;
  const { body } = attrs;
  if (body === undefined) return [];
  const [iteration, going] = body.inputs;
  if (iteration !== undefined) iteration.type = refine(iteration.type, tensor('int64', []));
  if (going !== undefined) {
    going.type = refine(going.type, tensor('bool', []));
    // The body runs only while the condition holds.
    going.elements = [1];
  }
  const carried = settleCarried(site, body, initial, 2, 1);
  // The loop runs to its limit if the condition cannot become false.
  const open = condition === undefined || scalarIn(condition) === 1;
  const runs = open && scalarIn(body.outputs[0]) === 1 && limit !== undefined ? scalarIn(limit) : null;
  return Array.from({ length: count }, (_, i): Typed => {
    if (i < carried.length) return { type: carried[i] };
    const each = body.outputs[i + 1];
    return out(
      each?.dtype,
      each?.shape === undefined ? undefined : [typeof runs === 'number' ? Math.max(0, runs) : runs, ...each.shape],
    );
  });
});

shape('Scan', (site) => {
  const { inputs, attrs, count } = site;
  const { body, num_scan_inputs: scans = 0, scan_input_axes, scan_output_axes } = attrs;
  if (body === undefined) return [];
  const states = inputs.length - scans;
  let length: Dim = null;
  inputs.slice(states).forEach((v, i) => {
    const [dims, inner] = [v?.shape, body.inputs[states + i]];
    const axis = dims === undefined ? undefined : axisIn(scan_input_axes?.[i] ?? 0, dims.length);
    if (axis !== undefined && typeof length !== 'number') length = dimAt(dims, axis) ?? length;
    const slice = axis === undefined ? undefined : dims?.filter((_, j) => j !== axis);
    if (inner !== undefined) inner.type = refine(inner.type, tensor(v?.dtype, slice));
  });
  const carried = settleCarried(site, body, inputs.slice(0, states), 0, 0);
  return Array.from({ length: count }, (_, i): Typed => {
    if (i < carried.length) return { type: carried[i] };
    const each = body.outputs[i];
    const dims = each?.shape;
    const axis = dims === undefined ? undefined : axisIn(scan_output_axes?.[i - states] ?? 0, dims.length + 1);
    if (dims === undefined || axis === undefined) return out(each?.dtype, undefined);
    return out(each?.dtype, [...dims.slice(0, axis), length, ...dims.slice(axis)]);
  });
});

shape('SequenceMap', ({ inputs, attrs: { body }, infer }) => {
  if (body === undefined) return [];
  body.inputs.forEach((v, i) => {
    const given = typeOf(inputs[i]);
    v.type = refine(v.type, given?.kind === 'sequence' ? given.elem : given);
  });
  infer(body);
  return body.outputs.map((v): Typed => ({ type: { kind: 'sequence', elem: v.type } }));
});
