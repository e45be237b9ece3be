/**
 * Evaluates the part of a graph that masks are made of, for one row of tokens of a given length: the attention mask is
 * ones, and what depends on weights is unknown. Shapes come from shape inference, so no hidden state is computed.
 */
import type { Dim, Graph, Value } from '../../../graph/model.ts';
import { elementCount, isFloat, numbersOf } from '../../../graph/tensor.ts';
import { isMaskName, isPositionName, ofAnotherPart } from '../../normalize/bind/names.ts';
import { evaluate } from '../../shapes/dims.ts';
import { filled, known, type Partly, unknown } from './partly.ts';
import { partlyArithmetic } from './partlyArithmetic.ts';
import { partlyMovement } from './partlyMovement.ts';

const operators = new Map([...partlyArithmetic, ...partlyMovement].map(([op, run]) => [String(op), run]));

/** Tokens in the probed row, where the model leaves the length open, and the length of everything else that is open. */
const row = 7;
const other = 5;
/** Larger constants are weights, or masks for sequences longer than 2048. */
const mostRead = 2 ** 22;
/** Chains of operators that are followed: those of masks are shorter. */
const mostDeep = 400;

export class Probe {
  readonly #numbers = new Map<string, number>();
  readonly #tokens: Value;
  readonly #found = new Map<Value, Partly | undefined>();
  /** The number of tokens in the probed row. */
  readonly length: number;
  #depth = 0;

  /** @param steps the number of tokens of the logits, if the graph fixes it. */
  constructor(graph: Graph, tokens: Value, steps?: Dim) {
    this.#tokens = tokens;
    const own = tokens.shape?.[1];
    this.length = [own, steps].find((d) => typeof d === 'number') ?? row;
    // An exporter may give the mask of the tokens a symbol of its own.
    for (const v of [tokens, ...graph.inputs.filter((i) => isBeside(i) && i.shape?.length === 2)])
      for (const [i, d] of (v.shape ?? []).entries())
        if (typeof d === 'string' && i < 2 && !this.#numbers.has(d)) this.#numbers.set(d, i === 0 ? 1 : this.length);
    for (const v of graph.inputs)
      for (const d of v.shape ?? []) if (typeof d === 'string' && !this.#numbers.has(d)) this.#numbers.set(d, other);
  }

  /** The dims of a value; undefined if one is not known. */
  dims(v: Value): readonly number[] | undefined {
    const dims = v.shape?.map((d) => this.#number(d));
    const all = dims?.filter((d) => d !== undefined);
    if (all !== undefined && all.length === v.shape?.length) return all;
    return this.at(v)?.dims;
  }

  #number(d: Dim): number | undefined {
    return evaluate(d, this.#numbers);
  }

  /** The elements that are known; undefined if not even the dims are. */
  at(v: Value): Partly | undefined {
    if (this.#found.has(v)) return this.#found.get(v);
    this.#found.set(v, undefined);
    this.#depth++;
    const found = this.#compute(v) ?? this.#unknown(v);
    this.#depth--;
    this.#found.set(v, found);
    return found;
  }

  #compute(v: Value): Partly | undefined {
    const { producer: node, tensor } = v;
    if (tensor !== undefined) return elementCount(tensor.dims) > mostRead ? undefined : constantOf(v);
    if (node === undefined) return this.#input(v);
    const [x] = node.inputs;
    if (node.domain !== '' || node.outputs[0] !== v || x === undefined || this.#depth > mostDeep) return undefined;
    if (node.op === 'Shape' || node.op === 'Size') return this.#shape(v, x);
    const run = operators.get(node.op);
    if (run === undefined) return undefined;
    const inputs = node.inputs.map((i) => (i === undefined ? undefined : this.at(i)));
    return node.inputs.some((i, n) => i !== undefined && inputs[n] === undefined) ? undefined : run(node, inputs);
  }

  #shape(v: Value, x: Value): Partly | undefined {
    const dims = this.dims(x);
    if (dims === undefined || v.producer === undefined) return undefined;
    if (v.producer.op === 'Size') return filled([], elementCount(dims));
    const [from, to] = ['start', 'end'].map((name) => {
      const attr = v.producer?.attrs.get(name);
      return attr?.kind === 'int' ? Number(attr.value) : undefined;
    });
    const part = dims.slice(from ?? 0, to ?? dims.length);
    return known([part.length], part);
  }

  /** Inputs of a row without padding: ones in masks, positions from 0. */
  #input(v: Value): Partly | undefined {
    const shape = v.shape?.map((d, i) => this.#number(d) ?? (i === 0 ? 1 : this.length));
    if (shape === undefined) return undefined;
    if (isMaskName(v.name)) return filled(shape, 1);
    if (isPositionName(v.name) && shape.length > 0) {
      const length = shape.at(-1) ?? 1;
      return known(
        shape,
        Array.from({ length: elementCount(shape) }, (_, i) => i % length),
      );
    }
    return v === this.#tokens && v.dtype !== undefined && !isFloat(v.dtype) ? filled(shape, 3) : unknown(shape);
  }

  /** The dims alone. */
  #unknown(v: Value): Partly | undefined {
    const dims = v.shape?.map((d) => this.#number(d));
    const all = dims?.filter((d) => d !== undefined);
    return all !== undefined && all.length === v.shape?.length ? unknown(all) : undefined;
  }
}

/** The attention mask or the positions of the tokens. */
const isBeside = ({ name }: Value): boolean => (isMaskName(name) || isPositionName(name)) && !ofAnotherPart(name);

function constantOf(v: Value): Partly | undefined {
  const numbers = v.tensor === undefined ? undefined : numbersOf(v.tensor);
  return v.tensor === undefined || numbers === undefined ? undefined : known(v.tensor.dims, numbers);
}
