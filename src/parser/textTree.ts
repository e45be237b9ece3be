/** Syntax trees of the textual form, before names are resolved to values. */
import type { Attr, Int, ValueType } from '../graph/model.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { Name, TextLexer } from './textLexer.ts';
import type { ElidedOption } from './textTypes.ts';

/** An attribute's value; its bodies are still syntax trees. */
export type AttrSyntax = Exclude<Attr, { kind: 'graph' }> | { readonly kind: 'body'; readonly value: GraphSyntax };

/** A name in an interface or value list, with its type and value. */
export interface InfoSyntax extends Name {
  readonly type: ValueType | undefined;
  readonly tensor: Tensor | undefined;
}

export interface NodeSyntax {
  readonly name: string;
  readonly op: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly Name[];
  readonly outputs: readonly Name[];
  readonly attrs: ReadonlyMap<string, AttrSyntax>;
  readonly at: number;
}

export interface GraphSyntax {
  readonly name: string;
  readonly inputs: readonly InfoSyntax[];
  readonly outputs: readonly InfoSyntax[];
  readonly infos: readonly InfoSyntax[];
  readonly nodes: readonly NodeSyntax[];
}

export interface FunctionSyntax extends Header {
  readonly attributes: readonly string[];
  readonly defaults: ReadonlyMap<string, AttrSyntax>;
  readonly body: GraphSyntax;
}

/** The content of the angle brackets before a model or function. */
export interface Header {
  readonly texts: ReadonlyMap<string, string>;
  readonly ints: ReadonlyMap<string, Int>;
  readonly opsets: readonly { readonly domain: string; readonly version: number; readonly at: number }[];
  readonly metadata: ReadonlyMap<string, string>;
}

export interface ModelSyntax extends Header {
  readonly graph: GraphSyntax;
  readonly functions: readonly FunctionSyntax[];
}

/** The state that the rules of the grammar share. */
export interface Context {
  readonly lex: TextLexer;
  readonly elided: ElidedOption | undefined;
  /** The number of enclosing graphs. */
  readonly depth: number;
}
