/** Syntax trees of the textual form: what was written, before names become values. */
import type { Attr, Int, ValueType } from '../graph/model.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { Name, TextLexer } from './textLexer.ts';
import type { ElidedOption } from './textTypes.ts';

/** An attribute's value; the bodies it may hold are syntax still. */
export type AttrSyntax = Exclude<Attr, { kind: 'graph' }> | { readonly kind: 'body'; readonly value: GraphSyntax };

/** A name in an interface or value list, with what stands beside it. */
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

/** What stands in angle brackets before a model or function. */
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

/** What the rules of the grammar share. */
export interface Context {
  readonly lex: TextLexer;
  readonly elided: ElidedOption | undefined;
  /** How many graphs this one is nested in. */
  readonly depth: number;
}
