/**
 * What the compiler knows about one operator whose constant weight can be a layer. Finding, rewriting and lowering ask the table
 * in index.ts; nothing outside it names an operator.
 */
import type { Builder } from '../../graph/builder.ts';
import type { LayerOpName } from '../../graph/layers.ts';
import type { FunctionDef, Graph, Layer, Node, Value } from '../../graph/model.ts';
import type { DataType } from '../../graph/tensor.ts';
import type { Traced, WeightView } from '../common/constantOperand.ts';

/** A weight that a node of this kind reads. */
export interface Found {
  /** Position of the weight in a product: the right or the left factor. */
  readonly side: 'right' | 'left';
  readonly weight: WeightView;
  readonly in: number;
  readonly out: number;
  /** How the stored tensor lies, as this node uses it. */
  readonly layout: 'in_out' | 'out_in';
  /** Element type of the node's result, where it is known. */
  readonly dtype: DataType | undefined;
  /** The window of a convolution. */
  readonly kernel?: readonly number[];
  /** Where the weight of the layer is some columns of the stored one. */
  readonly part?: Part;
}

/** Columns of a weight [in, of] that holds those of several modules side by side. */
export interface Part {
  /** The module's own name, behind that of what holds it. */
  readonly name: string;
  /** Other names that models give such a module. */
  readonly alias: string;
  /** The first column. */
  readonly from: number;
  /** Columns of the whole. */
  readonly of: number;
}

/** One use of a constant weight: a product, or what is one of rows or windows. */
export interface Product extends Found {
  readonly node: Node;
  /** The graph (main, body, or function body) that holds the node. */
  readonly graph: Graph;
  /** Calls that lead here, outermost first; empty outside functions. */
  readonly calls: readonly Call[];
}

export interface Call {
  readonly node: Node;
  readonly fn: FunctionDef;
}

export interface Skipped {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

export interface Marked {
  readonly product: Product;
  readonly layer: Layer;
  /** The product reads the transpose of the layer's matrix. */
  readonly flip: boolean;
}

/** A branch to be written out. */
export interface BranchSite {
  readonly g: Builder;
  /** The `loraify.Branch` node, with the base's attributes. */
  readonly node: Node;
  readonly x: Value;
  readonly a: Value;
  readonly b: Value;
  /** The same in float32. */
  readonly wide: (v: Value) => Value;
}

export interface LayerKind {
  /** The operator as the manifest names it, and its domain. */
  readonly op: LayerOpName;
  readonly domain: string;
  /**
   * The constant weight that the node reads, or the parts of one; a sentence where it has none that can be adapted; undefined where the node is none of
   * this kind at all. `traceConstant` follows an operand to its constant.
   */
  readonly find: (
    node: Node,
    traceConstant: (operand: Value) => Traced,
  ) => Found | readonly Found[] | string | undefined;
  /** Joins A and B to the node: makes it `Adapted`, puts a `Branch` behind it, or adds them to its weight. */
  readonly mark: (node: Node, marked: Marked, a: Value, b: Value, opset: number) => void;
  /** The branch without its scale in plain operators, for a `Branch`. */
  readonly branch?: (site: BranchSite) => Value;
  /** PEFT has dropout on its input. The branch of an embedding reads numbers of rows, which it leaves as they are. */
  readonly drops?: boolean;
  /** The branch is a product over the last axis of x: training computes it as an `Adapted` node without a base. */
  readonly overLastAxis?: boolean;
}
