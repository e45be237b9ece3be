/**
 * Parses ONNX's textual syntax to a Model and resolves names to values, through the scopes of graphs and their bodies.
 */
import { badModel, didYouMean, noOpset } from '../errors.ts';
import { domainOf } from '../formats/onnxText.ts';
import { type Attr, constant, type FunctionDef, Graph, type Model, Node, Value } from '../graph/model.ts';
import { sort } from './graphs.ts';
import { type Name, TextLexer } from './textLexer.ts';
import { parseModel } from './textSyntax.ts';
import type { AttrSyntax, FunctionSyntax, GraphSyntax, Header, InfoSyntax } from './textTree.ts';
import type { ElidedOption } from './textTypes.ts';

export type { ElidedOption, ElidedTensor } from './textTypes.ts';

export interface TextOptions {
  /**
   * The content of an elided large tensor: zeros, or the result of the function. By default elided tensors are an
   * error.
   */
  readonly elided?: ElidedOption;
}

/** Reads a model as written by `printModel`, by the official printer, or by hand in the official grammar. */
export function parseText(text: string, options: TextOptions = {}): Model {
  const lex = new TextLexer(text);
  const tree = parseModel({ lex, elided: options.elided, depth: 0 });
  const build = (g: GraphSyntax): Graph => buildGraph(lex, g, undefined);
  return {
    irVersion: Number(tree.ints.get('ir_version') ?? 0),
    opsets: opsetsOf(tree, lex),
    graph: build(tree.graph),
    functions: tree.functions.map((f) => functionOf(lex, f)),
    producerName: tree.texts.get('producer_name') ?? '',
    producerVersion: tree.texts.get('producer_version') ?? '',
    domain: tree.texts.get('domain') ?? '',
    modelVersion: tree.ints.get('model_version') ?? 0,
    docString: tree.texts.get('doc_string') ?? '',
    metadata: new Map(tree.metadata),
    unknown: [],
  };
}

function opsetsOf(header: Header, lex: TextLexer): Map<string, number> {
  const opsets = new Map<string, number>();
  for (const { domain: written, version, at } of header.opsets) {
    const domain = domainOf(written);
    const before = opsets.get(domain);
    if (before !== undefined && before !== version)
      throw noOpset(`${place(lex, at)}: domain "${domain}" is imported in versions ${before} and ${version}`);
    opsets.set(domain, version);
  }
  return opsets;
}

function functionOf(lex: TextLexer, f: FunctionSyntax): FunctionDef {
  const body = buildGraph(lex, f.body, undefined);
  // All types of a function are annotations; its interface consists of names only.
  for (const v of [...body.inputs, ...body.outputs]) v.declared = v.declared || v.type !== undefined;
  return {
    domain: domainOf(f.texts.get('domain') ?? ''),
    name: f.body.name,
    overload: f.texts.get('overload') ?? '',
    body,
    attributes: f.attributes,
    defaults: new Map([...f.defaults].map(([name, a]) => [name, attrOf(lex, a, undefined)])),
    opsets: opsetsOf(f, lex),
    docString: f.texts.get('doc_string') ?? '',
    metadata: new Map(),
    unknown: [],
  };
}

const place = (lex: TextLexer, at: number): string => {
  const { line, column } = lex.position(at);
  return `${line}:${column}`;
};

/** Names that a graph defines, then those of the enclosing graphs. */
class Scope {
  readonly own = new Map<string, Value>();
  readonly #outer: Scope | undefined;
  readonly #lex: TextLexer;

  constructor(lex: TextLexer, outer: Scope | undefined) {
    this.#lex = lex;
    this.#outer = outer;
  }

  define(value: Value, at: number): Value {
    if (value.name === '') throw badModel('a value has no name', { where: place(this.#lex, at) });
    if (this.own.has(value.name))
      throw badModel(`"${value.name}" is defined twice in one graph`, { where: place(this.#lex, at) });
    this.own.set(value.name, value);
    return value;
  }

  find(name: string): Value | undefined {
    return this.own.get(name) ?? this.#outer?.find(name);
  }

  resolve({ name, at }: Name, reader: string, node?: string): Value {
    const value = this.find(name);
    if (value !== undefined) return value;
    throw badModel(`${reader} "${name}", which is not defined${didYouMean(name, this.#visible())}`, {
      where: place(this.#lex, at),
      node,
    });
  }

  *#visible(): Iterable<string> {
    yield* this.own.keys();
    if (this.#outer !== undefined) yield* this.#outer.#visible();
  }
}

function buildGraph(lex: TextLexer, tree: GraphSyntax, outer: Scope | undefined): Graph {
  const graph = new Graph(tree.name);
  const scope = new Scope(lex, outer);
  for (const info of tree.inputs) graph.inputs.push(scope.define(new Value(info.name, info.type), info.at));
  for (const info of [...tree.inputs, ...tree.infos]) addInitializer(graph, scope, info);
  // All outputs are defined before inputs are resolved: in some files a node precedes its inputs.
  const outputs = tree.nodes.map((n) =>
    n.outputs.map((o) => (o.name === '' ? new Value('') : scope.define(new Value(o.name), o.at))),
  );
  for (const info of tree.outputs) {
    const value = scope.resolve(info, 'the graph returns');
    value.type ??= info.type;
    graph.outputs.push(value);
  }
  for (const info of tree.infos) if (info.tensor === undefined) declare(graph, scope, info);
  for (const [i, n] of tree.nodes.entries()) {
    const label = n.name || n.outputs[0]?.name || n.op;
    const node = new Node({
      op: n.op,
      domain: domainOf(n.domain),
      overload: n.overload,
      name: n.name,
      inputs: n.inputs.map((name) =>
        name.name === '' ? undefined : scope.resolve(name, `node "${label}" reads`, label),
      ),
      outputs: outputs[i] ?? [],
      attrs: [...n.attrs].map(([name, a]) => [name, attrOf(lex, a, scope)] as const),
    });
    graph.append(node);
  }
  sort(graph);
  return graph;
}

/** A tensor for a graph input makes that input optional; any other is a constant. */
function addInitializer(graph: Graph, scope: Scope, info: InfoSyntax): void {
  if (info.tensor === undefined) return;
  const input = scope.own.get(info.name);
  if (input === undefined || input.tensor !== undefined)
    graph.initializers.push(scope.define(constant(info.name, info.tensor), info.at));
  else {
    input.tensor = info.tensor;
    graph.initializers.push(input);
  }
}

/** A type in the list after the interface. */
function declare(graph: Graph, scope: Scope, info: InfoSyntax): void {
  const value = scope.own.get(info.name);
  if (value === undefined) {
    graph.strayInfo.push(new Value(info.name, info.type));
    return;
  }
  // For interface values the interface's type wins; for all others the list's, even over a constant's own type.
  const stated = graph.inputs.includes(value) || graph.outputs.includes(value);
  value.type = stated ? (value.type ?? info.type) : info.type;
  value.declared = true;
}

function attrOf(lex: TextLexer, attr: AttrSyntax, scope: Scope | undefined): Attr {
  return attr.kind === 'body' ? { kind: 'graph', value: buildGraph(lex, attr.value, scope) } : attr;
}
