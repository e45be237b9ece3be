/**
 * `loraify.Dropout` (table.ts): LoRA dropout on a branch's input (peft/tuners/lora/layer.py, `lora_dropout`), as one
 * node from the training form of a layer until dropoutMask.ts lowers it.
 *
 * The node is linear in x and its own transpose: the gradient is another one over dy, so the mask is recomputed instead
 * of kept. 1/(1-p) is in the branch's scale, or in `factor`.
 */
import { badModel } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, replaceUses, tensorType, Value } from '../../graph/model.ts';
import { stream } from '../../graph/random.ts';
import { dataTypeNumber } from '../../graph/tensor.ts';
import { asType } from '../common/computeType.ts';
import { gradTools } from '../common/shapeTools.ts';
import { isAdapted, plainInputs } from './adapted.ts';
import { attrsOf, dialectNode, formOf, isA } from './nodes.ts';

export interface DropoutForm {
  readonly x: Value;
  readonly seed: Value | undefined;
  readonly of: Value;
  /** p, the share of elements that are dropped. */
  readonly ratio: number;
  /** An odd int32 that makes the masks of different places differ. */
  readonly key: number;
  /** The axes of `of` before this one count the rows of the mask, the others its columns. */
  readonly axis: number;
  /** The factor on the elements that are kept. */
  readonly factor: number;
}

const rule = 'canonical/dropout';

export const isDropout = (node: Node): boolean => isA(node, 'loraify.Dropout');

export function dropoutForm(node: Node): DropoutForm {
  const {
    inputs: [x, seed, of],
    attrs: { ratio, key, axis, factor },
  } = formOf(node, 'loraify.Dropout');
  return { x, seed, of, ratio, key, axis, factor };
}

/** `again`: a separate mask, so that the one of the forward is not kept for the backward. */
function made(g: Builder, form: DropoutForm, again = false): Value {
  const { x, seed, of, ratio, key, axis, factor } = form;
  const attrs = { ratio, key, axis, factor, again: again ? 1 : undefined };
  const node = dialectNode('loraify.Dropout', attrs, { inputs: [x, seed, of], outputs: [new Value('')] });
  return g.own(node).outputs[0] ?? x;
}

/** The same mask applied to another value of the shape. */
export const masked = (g: Builder, node: Node, x: Value): Value => made(g, { ...dropoutForm(node), x });

/** For the backward: the result of a dropout recomputed from its input; any other value unchanged. */
export function droppedAgain(g: Builder, v: Value): Value {
  return v.producer === undefined || !isDropout(v.producer) ? v : made(g, dropoutForm(v.producer), true);
}

export interface Dropper {
  /**
   * The input of a MatMul's branch instead of x [..., depth]: its rows [R, depth] in float32, some elements dropped.
   */
  rows(g: Builder, x: Value, depth: number, path: string): Value;
  /** The input [N, C, ...] of a convolution branch, with the factor 1/(1-p) applied (inverted dropout). */
  image(g: Builder, x: Value, path: string): Value;
}

/** Each use of a layer has its own mask, as each call of a module has in PEFT. `ratio` is above 0. */
export function dropper(ratio: number): Dropper {
  const uses = new Map<string, number>();
  const keyOf = (path: string): number => {
    const use = uses.get(path) ?? 0;
    uses.set(path, use + 1);
    return (2 * stream(0, `dropout/${path}${use === 0 ? '' : `#${use}`}`).integer(2 ** 31) + 1) | 0;
  };
  const within = (g: Builder, path: string, make: () => Value): Value =>
    g.within({ origin: `${path}.dropout`, rule }, make);
  return {
    rows: (g, x, depth, path) =>
      within(g, path, () => {
        const rows = x.shape?.length === 2 ? x : g.Reshape(x, g.ints([-1, depth]));
        const form = { seed: undefined, of: x, ratio, key: keyOf(path), axis: -1, factor: 1 };
        return made(g, { ...form, x: asType(g, rows, 'float32') });
      }),
    image: (g, x, path) =>
      within(g, path, () =>
        made(g, { x, seed: undefined, of: x, ratio, key: keyOf(path), axis: 2, factor: 1 / (1 - ratio) }),
      ),
  };
}

/** The graph without dropout, as evaluation runs it. In place. */
export function withoutDropout(graph: Graph): void {
  for (const own of graph.allGraphs()) {
    for (const node of own.nodes) if (isAdapted(node)) plainInputs(node);
    for (const node of own.nodes) {
      const [y] = node.outputs;
      if (isDropout(node) && y !== undefined) replaceUses(y, dropoutForm(node).x);
    }
    own.removeAll(new Set(own.nodes.filter((n) => n.metadata.get('loraify.rule') === rule)));
  }
}

/** Odd, so that no two iterations of a body have the same seed. */
const perRun = 0x85ebca6b | 0;

/**
 * Sets the seed of every dropout in the graph: in a body of Loop or Scan one per iteration, derived from the iteration
 * number. In place; new nodes of the main graph stay detached until `graph.adopt()`.
 */
export function seedDropout(graph: Graph, g: Builder, seed: Value, place?: (before: Node) => void): void {
  for (const node of [...graph.nodes]) {
    if (isDropout(node)) node.setInput(1, seed);
    for (const body of node.bodies) {
      const [first] = body.nodes;
      if (first === undefined || ![...body.allNodes()].some(isDropout)) continue;
      const inside = g.inside(body);
      const run = runOf(node, body, g, inside.g);
      const own = run === undefined ? seed : mixed(inside.g, seed, run);
      inside.place(first);
      seedDropout(body, inside.g, own, inside.place);
    }
    place?.(node);
  }
}

const mixed = (g: Builder, seed: Value, run: Value): Value =>
  g.within({ origin: 'dropout.seed', rule }, () => g.Add(seed, g.Mul(run, g.constant('int32', [], [perRun]))));

/** The iteration number, int32, as the body of a Loop or Scan reads it; a Scan gets one more input that counts. */
function runOf(node: Node, body: Graph, g: Builder, inner: Builder): Value | undefined {
  const mark = { origin: 'dropout.run', rule };
  if (node.op === 'Loop') {
    const [iteration] = body.inputs;
    if (iteration === undefined) return undefined;
    const int32 = { to: dataTypeNumber('int32') };
    return inner.within(mark, () => inner.Reshape(inner.Cast(iteration, int32), inner.ints([])));
  }
  if (node.op !== 'Scan') return undefined;
  const attrs = attrsOf(node, 'Scan');
  const count = attrs.num_scan_inputs ?? 0;
  const slices = node.inputs.slice(node.inputs.length - count);
  const [slice] = slices;
  if (slice === undefined) return undefined;
  const runs = g.within(mark, () => {
    const tools = gradTools(g, (v) => {
      throw badModel(`the rank of "${v.name}" is not known`, { node: node.label });
    });
    return counting(g, tools.length(slice, attrs.scan_input_axes?.[0] ?? 0));
  });
  const run = new Value('dropout.run', tensorType('int32', []));
  body.inputs.push(run);
  node.setInput(node.inputs.length, runs);
  node.attrs.set('num_scan_inputs', { kind: 'int', value: count + 1 });
  for (const name of ['scan_input_axes', 'scan_input_directions'] as const)
    if (node.attrs.has(name)) node.attrs.set(name, { kind: 'ints', value: [...(attrs[name] ?? []), 0] });
  return run;
}

/** int32 vector 0, 1, ... */
export function counting(g: Builder, length: number | Value): Value {
  const int = (n: number): Value => g.constant('int32', [], [n]);
  const limit = typeof length === 'number' ? int(length) : g.Cast(g.Squeeze(length), { to: dataTypeNumber('int32') });
  return g.Range(int(0), limit, int(1));
}
