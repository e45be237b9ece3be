/**
 * Checks graph invariants, so that the pass that breaks one is found:
 *  - every value has one definition (graph input, initializer or node output) and is defined before it is read;
 *  - its name, resolved from the place of use through the enclosing graphs, gives that very value;
 *  - use lists agree with the nodes; a body belongs to one node;
 *  - operators of the default domain have the inputs and outputs of the operator table; every domain is imported.
 */
import { badModel } from '../../errors.ts';
import type { FunctionDef, Graph, Model, Node, Value } from '../../graph/model.ts';
import { operatorRow } from '../../graph/operators.ts';
import { internalDomain } from './internalDomain.ts';

/** The table has each operator's newest form; from this version on newer forms only add optional parts. */
const arityStable = 14;

interface Scope {
  readonly names: Map<string, Value>;
  /** Names of sparse initializers: values that read them have no other definition. */
  readonly sparse: ReadonlySet<string>;
  readonly outer: Scope | undefined;
}

interface Context {
  readonly opsets: ReadonlyMap<string, number>;
  readonly functions: ReadonlySet<string>;
  readonly internal: boolean;
  /** The definition of a value: a node, or an input or initializer of a graph. */
  readonly defined: Map<Value, Node | string>;
  readonly reads: Map<Value, number>;
  /** Every graph, with its parent node. */
  readonly graphs: Map<Graph, string>;
}

/** Throws BAD_MODEL at the first violation. `internal` allows operators that exist only between passes. */
export function verify(model: Model, options: { readonly internal?: boolean } = {}): void {
  const functions = new Set(model.functions.map(functionId));
  const bodies = model.functions.map((f) => ({ graph: f.body, opsets: f.opsets }));
  for (const { graph, opsets } of [model, ...bodies]) {
    const context: Context = {
      opsets,
      functions,
      internal: options.internal ?? false,
      defined: new Map(),
      reads: new Map(),
      graphs: new Map([[graph, 'the model']]),
    };
    checkGraph(graph, undefined, context);
    context.defined.forEach((_, v) => {
      checkUses(v, context);
    });
  }
}

/** The identity of a function: two overloads of a name are two functions. */
export const functionId = (f: Pick<FunctionDef, 'domain' | 'name' | 'overload'>): string =>
  `${f.domain}:${f.name}:${f.overload}`;

function checkGraph(graph: Graph, outer: Scope | undefined, context: Context): void {
  const sparse = new Set(graph.sparseInitializers.map((s) => s.values.name));
  const scope: Scope = { names: new Map(), sparse, outer };
  const inputs = new Set(graph.inputs);
  const asInput = `an input of graph "${graph.name}"`;
  const asInitializer = `an initializer of graph "${graph.name}"`;
  for (const v of graph.inputs) define(v, scope, context, asInput);
  for (const v of graph.initializers) {
    if (v.tensor === undefined) throw badModel(`initializer "${v.name}" of graph "${graph.name}" has no tensor`);
    // An initializer that is also an input is that input's default.
    if (!inputs.delete(v)) define(v, scope, context, asInitializer);
  }
  for (const v of [...graph.inputs, ...graph.initializers])
    if (v.producer !== undefined) throw badModel(`value "${v.name}" is both made by a node and given to the graph`);
  for (const n of graph.nodes) checkNode(n, graph, scope, context);
  for (const v of graph.outputs)
    if (!isDefined(v, scope)) throw badModel(`output "${v.name}" of graph "${graph.name}" is never defined`);
}

function fail(node: Node, reason: string): never {
  throw badModel(`node "${node.label}" (${node.op}) ${reason}`, { node: node.label });
}

function checkNode(node: Node, graph: Graph, scope: Scope, context: Context): void {
  if (node.graph !== graph) fail(node, 'does not refer to the graph that contains it');
  node.inputs.forEach((v) => {
    if (v === undefined) return;
    context.reads.set(v, (context.reads.get(v) ?? 0) + 1);
    if (isDefined(v, scope)) return;
    const hidden = context.defined.has(v);
    fail(
      node,
      `reads "${v.name}", ${hidden ? 'but another value of that name shadows it' : 'which is not defined before it'}`,
    );
  });
  checkDomain(node, context);
  checkArity(node, context);
  node.bodies.forEach((body) => {
    const owner = context.graphs.get(body);
    if (owner !== undefined) fail(node, `has a body that belongs to node "${owner}"`);
    context.graphs.set(body, node.label);
    checkGraph(body, scope, context);
  });
  node.outputs.forEach((v) => {
    if (v.producer !== node) fail(node, `has output "${v.name}", which does not point back to it`);
    if (v.name !== '') define(v, scope, context, node);
    else if (v.uses.size > 0) fail(node, 'has an output that is read but has no name');
  });
}

function checkDomain(node: Node, context: Context): void {
  if (node.domain === internalDomain) {
    if (!context.internal) fail(node, 'is internal to the compiler and was not lowered');
    if ((node.op === 'Adapted' || node.op === 'Branch') && node.layer === undefined) fail(node, 'has lost its layer');
  } else if (!context.opsets.has(node.domain)) fail(node, `is of domain "${node.domain}", which has no opset_import`);
}

function checkArity(node: Node, context: Context): void {
  const row = operatorRow(node.op);
  const opset = context.opsets.get('') ?? 0;
  if (node.domain !== '' || row === undefined || opset < arityStable) return;
  if (
    context.functions.size > 0 &&
    context.functions.has(functionId({ domain: '', name: node.op, overload: node.overload }))
  )
    return;
  if (node.inputs.length > row.in.length && !isOpen(row.in))
    fail(node, `has ${node.inputs.length} inputs, more than ${row.in.length}`);
  if (node.outputs.length > row.out.length && !isOpen(row.out))
    fail(node, `has ${node.outputs.length} outputs, more than ${row.out.length}`);
  row.in.forEach((name, i) => {
    if (node.inputs[i] === undefined && !name.endsWith('?') && !name.startsWith('...'))
      fail(node, `lacks its input "${name}"`);
  });
}

/** Whether the list is variadic. */
const isOpen = (names: readonly string[]): boolean => names.some((n) => n.startsWith('...'));

/** Uses by nodes of other graphs are those of detached nodes' bodies, which may never be adopted; they do not count. */
function checkUses(value: Value, context: Context): void {
  let uses = 0;
  value.uses.forEach(({ node, index }) => {
    if (node.graph === undefined || !context.graphs.has(node.graph)) return;
    uses++;
    if (node.inputs[index] !== value)
      throw badModel(`value "${value.name}" lists a use by node "${node.label}", which does not read it`, {
        node: node.label,
      });
  });
  const reads = context.reads.get(value) ?? 0;
  if (uses !== reads) throw badModel(`value "${value.name}" is read ${reads} times, but lists ${uses} uses`);
}

function define(value: Value, scope: Scope, context: Context, as: Node | string): void {
  const before = context.defined.get(value);
  if (before !== undefined)
    throw badModel(`value "${value.name}" is defined twice: as ${saying(before)} and as ${saying(as)}`);
  if (scope.names.has(value.name)) throw badModel(`two values of one graph are named "${value.name}"`);
  context.defined.set(value, as);
  scope.names.set(value.name, value);
}

const saying = (by: Node | string): string => (typeof by === 'string' ? by : `an output of node "${by.label}"`);

function isDefined(value: Value, scope: Scope): boolean {
  for (let s: Scope | undefined = scope; s !== undefined; s = s.outer) {
    const found = s.names.get(value.name);
    if (found !== undefined) return found === value;
    if (s.sparse.has(value.name)) return true;
  }
  return false;
}
