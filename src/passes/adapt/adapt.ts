/**
 * The LoRA rewrite, declaratively: each use of a chosen weight becomes one `loraify.Adapted` node with its layer. It is
 * expanded last, by `lower`.
 */

import { badModel } from '../../errors.ts';
import { cloneMap, copyGraph } from '../../graph/clone.ts';
import { trainableMark } from '../../graph/marks.ts';
import {
  constant,
  type FunctionDef,
  freshName,
  type Layer,
  type Model,
  type Node,
  nameGiver,
  namesIn,
  uniqueNames,
  Value,
} from '../../graph/model.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Marked, Product } from '../dialect/layerKind.ts';
import type { Chosen } from '../select/candidates.ts';
import { functionKey } from '../select/findProducts.ts';
import { kindNamed, kindOf } from '../select/layers/index.ts';
import { decompose } from './dora.ts';

/**
 * Replaces every use of the chosen layers with an Adapted node, or inserts a Branch after it, and adds A and B to the
 * main graph. Changes the model in place.
 */
export function adapt(model: Model, chosen: readonly Chosen[]): void {
  const inFunctions = new Map<Node, Item[]>();
  const expands = chosen.some(
    ({ candidate, magnitude }) =>
      magnitude !== undefined ||
      candidate.products.some((p) => p.part !== undefined || kindOf(p.node)?.unfuse !== undefined),
  );
  for (const { candidate, layer, A, B, magnitude } of chosen) {
    const [a, b] = [trainable(layer.A, A), trainable(layer.B, B)];
    const m = layer.magnitude === undefined ? undefined : trainable(layer.magnitude, magnitude ?? missing(layer));
    model.graph.initializers.push(a, b, ...(m === undefined ? [] : [m]));
    for (const product of candidate.products) {
      const flip = product.layout !== layer.layout;
      const item: Item = { product, calls: product.calls, layer, flip, a, b, m };
      const [outermost] = product.calls;
      if (outermost === undefined) mark(product.node, item, model.opsets);
      else inFunctions.set(outermost.node, [...(inFunctions.get(outermost.node) ?? []), item]);
    }
  }
  const variants = new Map<string, Variant>();
  for (const [call, items] of inFunctions) thread(model, call, items, variants);
  const replaced = new Set([...variants.values()].map((v) => v.source));
  dropUncalled(model, replaced);
  // Nodes expanded here get their own names.
  if (expands) for (const graph of [model.graph, ...model.functions.map((f) => f.body)]) uniqueNames(graph);
}

function missing({ path }: Layer): never {
  throw new Error(`layer "${path}" has no magnitude`);
}

/** Removes functions of `which` that are not called any more, and those that only they called. */
function dropUncalled(model: Model, which: ReadonlySet<FunctionDef>): void {
  for (let before = -1; before !== model.functions.length; ) {
    before = model.functions.length;
    const called = new Set(
      [...model.graph.allNodes(), ...model.functions.flatMap((f) => [...f.body.allNodes()])].map((n) => functionKey(n)),
    );
    model.functions = model.functions.filter((f) => !which.has(f) || called.has(functionKey(f)));
  }
}

function trainable(name: string, tensor: Tensor): Value {
  return constant(name, { ...tensor, metadata: new Map([[trainableMark, 'true']]) });
}

interface Item extends Marked {
  /** The remaining calls to follow, from the current scope. */
  readonly calls: Product['calls'];
  readonly a: Value;
  readonly b: Value;
  readonly m: Value | undefined;
}

const factorsOf = ({ a, b, m }: Item): readonly Value[] => (m === undefined ? [a, b] : [a, b, m]);

function mark(node: Node, item: Item, opsets: ReadonlyMap<string, number>): void {
  const { a, b, m, layer } = item;
  const kind = kindNamed(layer.op);
  if (kind === undefined) throw new Error(`no kind of layer is called ${layer.op}`);
  kindOf(node)?.unfuse?.(node, item.product.dtype ?? 'float32');
  const opset = opsets.get('') ?? 0;
  const branch = (): void => kind.mark(node, item, a, b, opset);
  if (m === undefined) branch();
  else decompose(node, item, { a, b, m }, opset, branch);
}

interface Variant {
  readonly source: FunctionDef;
  readonly fn: FunctionDef;
}

/**
 * Functions cannot capture, so A and B are passed as added inputs. A call whose layers differ in kind from another
 * call's gets its own variant of the function.
 */
function thread(model: Model, call: Node, items: readonly Item[], variants: Map<string, Variant>): void {
  const source = items[0]?.calls[0]?.fn;
  if (source === undefined) throw badModel(`call "${call.label}" has no function`, { node: call.label });
  const layers = [...new Set(items.map((i) => i.layer))];
  const signature = JSON.stringify([functionKey(source), items.map((i) => describe(i, layers))]);
  let variant = variants.get(signature);
  if (variant === undefined) {
    variant = { source, fn: build(model, source, items, layers, variants) };
    variants.set(signature, variant);
    model.functions.push(variant.fn);
  }
  const given = new Map(items.map((i) => [i.layer, i]));
  const arity = source.body.inputs.length;
  call.op = variant.fn.name;
  call.overload = variant.fn.overload;
  const values = layers.flatMap((layer) => {
    const item = given.get(layer);
    return item === undefined ? [] : factorsOf(item);
  });
  values.forEach((v, i) => {
    call.setInput(arity + i, v);
  });
}

/** The description that must be equal for two calls to share one variant. */
function describe(item: Item, layers: readonly Layer[]): unknown {
  const way = item.calls.map(({ node }) => node.label);
  const at = [...(item.calls.at(-1)?.fn.body.allNodes() ?? [])].indexOf(item.product.node);
  return [
    way.slice(1),
    at,
    layers.indexOf(item.layer),
    item.layer.rank,
    item.layer.scale,
    item.m !== undefined,
    item.flip,
    item.product.side,
    item.product.part?.from,
    item.product.dtype,
  ];
}

function build(
  model: Model,
  source: FunctionDef,
  items: readonly Item[],
  layers: readonly Layer[],
  variants: Map<string, Variant>,
): FunctionDef {
  const map = cloneMap();
  const body = copyGraph(source.body, map);
  const taken = new Set(model.functions.filter((f) => f.domain === source.domain).map((f) => f.name));
  const freshInput = nameGiver(namesIn(body.allGraphs()));
  const inputs = new Map(
    layers.map((layer): [Layer, Pick<Item, 'a' | 'b' | 'm'>] => {
      const given = (name: string): Value => {
        const v = new Value(freshInput(name));
        body.inputs.push(v);
        return v;
      };
      const [a, b] = [given(layer.A), given(layer.B)];
      return [layer, { a, b, m: layer.magnitude === undefined ? undefined : given(layer.magnitude) }];
    }),
  );
  const nested = new Map<Node, Item[]>();
  for (const item of items) {
    const rest = item.calls.slice(1);
    const [next] = rest;
    const inner = { ...item, calls: rest, ...inputs.get(item.layer) };
    const node = map.nodes.get(next?.node ?? item.product.node);
    if (node === undefined) throw badModel(`function ${source.name} changed while it was copied`);
    if (next === undefined) mark(node, inner, source.opsets);
    else nested.set(node, [...(nested.get(node) ?? []), inner]);
  }
  for (const [node, list] of nested) thread(model, node, list, variants);
  return { ...source, name: freshName(`${source.name}_lora`, taken), body };
}
