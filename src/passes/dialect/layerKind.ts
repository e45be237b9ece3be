/**
 * The facts about one operator whose constant weight can be adapted. Finding, rewriting and lowering use the table in
 * select/layers; no other code names an operator.
 */
import type { Builder } from '../../graph/builder.ts';
import type { LayerOpName } from '../../graph/layers.ts';
import type { FunctionDef, Graph, Layer, Node, Value } from '../../graph/model.ts';
import type { DataType } from '../../graph/tensor.ts';
import type { Traced, WeightView } from '../common/constantOperand.ts';

/** A weight that a node of this kind reads. */
export interface Found {
  /** Position of the weight in a MatMul: the right or the left operand. */
  readonly side: 'right' | 'left';
  readonly weight: WeightView;
  readonly in: number;
  readonly out: number;
  /** The layout of the stored tensor, as this node uses it. */
  readonly layout: 'in_out' | 'out_in';
  /** Element type of the node's result, if it is known. */
  readonly dtype: DataType | undefined;
  /** The kernel shape of a convolution. */
  readonly kernel?: readonly number[];
  /** The columns of the stored weight that the layer has, if not all. */
  readonly part?: Part;
}

/** Columns of a weight [in, of] that concatenates those of several modules. */
export interface Part {
  /** The module's own name, appended to the path of its parent. */
  readonly name: string;
  /** Its path, where the whole weight belongs to no module. */
  readonly path?: string | undefined;
  /** Other names that models give such a module; absent for a part of a packed module, whose siblings are named. */
  readonly aliases?: readonly string[];
  /** The first column. */
  readonly from: number;
  /** The number of columns of the whole weight. */
  readonly of: number;
}

/** One use of a constant weight: a MatMul, a convolution or a lookup of rows. */
export interface Product extends Found {
  readonly node: Node;
  /** The graph (main, body, or function body) that contains the node. */
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
  /** The node reads the transpose of the layer's matrix. */
  readonly flip: boolean;
}

/** A branch to be lowered. */
export interface BranchSite {
  readonly g: Builder;
  /** The `loraify.Branch` node, with the base's attributes. */
  readonly node: Node;
  readonly x: Value;
  readonly a: Value;
  readonly b: Value;
  /** The value in float32. */
  readonly wide: (v: Value) => Value;
}

export interface LayerKind {
  /** The operator and its domain. */
  readonly op: string;
  readonly domain: string;
  /** The operator that is adapted, as the manifest names it. */
  readonly layerOp: LayerOpName;
  /** Writes a fused node as the operator that is adapted, followed by the rest. In place. */
  readonly unfuse?: (node: Node, dtype: DataType) => void;
  /**
   * The constant weight that the node reads, or the parts of one; a sentence if it has none that can be adapted;
   * undefined if the node is not of this kind. `traceConstant` traces an operand to its constant.
   */
  readonly find: (
    node: Node,
    traceConstant: (operand: Value) => Traced,
  ) => Found | readonly Found[] | string | undefined;
  /** Attaches A and B to the node: makes it `Adapted`, inserts a `Branch` after it, or adds them to its weight. */
  readonly mark: (node: Node, marked: Marked, a: Value, b: Value, opset: number) => void;
  /** The branch without its scale in plain operators, for a `Branch`. */
  readonly branch?: (site: BranchSite) => Value;
  /**
   * PEFT applies dropout to its input. The branch of an embedding reads row indices, which dropout leaves unchanged.
   */
  readonly drops?: boolean;
  /** The branch is a MatMul over the last axis of x: training computes it as an `Adapted` node without a base. */
  readonly overLastAxis?: boolean;
}

/** The branch of a layer that multiplies the last axis of x by a matrix. */
export const overLastAxis = {
  drops: true,
  branch: ({ g, x, a, b, wide }: BranchSite): Value => g.MatMul(g.MatMul(wide(x), a), b),
  overLastAxis: true,
} as const satisfies Partial<LayerKind>;
