/**
 * Evaluates the part of a graph that masks are made of, for one row of tokens of a given length: the attention mask is
 * ones, and what depends on weights is unknown. Shapes come from shape inference, so no hidden state is computed.
 */
import type { Dim, Graph, Value } from '../../../graph/model.ts';
import { attrsOf } from '../../../graph/operators.ts';
import { elementCount, isFloat, numbersOf } from '../../../graph/tensor.ts';
import { isMaskName, isPositionName, ofAnotherPart } from '../../normalize/bind/names.ts';
import { axisIn } from '../../normalize/fold/evaluator.ts';
import { evaluate } from '../../shapes/dims.ts';
import { filled, gathered, known, listOf, most, type Partly, unknown } from './partly.ts';
import { partlyArithmetic } from './partlyArithmetic.ts';
import { partlyMovement } from './partlyMovement.ts';

const operators = new Map([...partlyArithmetic, ...partlyMovement].map(([op, run]) => [String(op), run]));

/** Tokens in the probed row, where the model leaves the length open, and the length of everything else that is open. */
const row = 7;
const other = 5;
/** Chains of operators that are followed: those of masks are shorter. */
const mostDeep = 400;

export class Probe {
  readonly #numbers = new Map<string, number>();
  readonly #tokens: Value;
  readonly #states: ReadonlySet<Value>;
  readonly #found = new Map<Value, Partly | undefined>();
  /** Values that are unknown because an operator is not evaluated here, and what is computed from them. */
  readonly #doubtful = new Set<Value>();
  /** The number of tokens in the probed row. */
  readonly length: number;
  #depth = 0;

  /**
   * @param states the values that depend on the tokens: floats among them are hidden states, and unknown on purpose.
   * @param steps the number of tokens of the logits, if the graph fixes it.
   */
  constructor(graph: Graph, tokens: Value, states: ReadonlySet<Value>, steps?: Dim) {
    this.#tokens = tokens;
    this.#states = states;
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
    const computed = this.#compute(v);
    const found = computed ?? this.#unknown(v);
    this.#depth--;
    const isState = v.dtype !== undefined && isFloat(v.dtype) && (this.#states.has(v) || v.tensor !== undefined);
    const { producer } = v;
    const isShape = producer?.op === 'Shape' || producer?.op === 'Size';
    const reads = computed === undefined || isShape ? [] : (producer?.inputs ?? []);
    if ((computed === undefined && !isState) || reads.some((x) => x !== undefined && this.#doubtful.has(x)))
      this.#doubtful.add(v);
    this.#found.set(v, found);
    return found;
  }

  /** Whether what is unknown of a value may be a mask. */
  isDoubtful(v: Value): boolean {
    return this.#doubtful.has(v);
  }

  #compute(v: Value): Partly | undefined {
    const { producer: node, tensor } = v;
    if (tensor !== undefined) return elementCount(tensor.dims) > most ? undefined : constantOf(v);
    if (node === undefined) return this.#input(v);
    const [x] = node.inputs;
    if (node.domain !== '' || x === undefined || this.#depth > mostDeep) return undefined;
    if (node.op === 'Split') return this.#part(v, x);
    if (node.outputs[0] !== v) return undefined;
    if (node.op === 'Shape' || node.op === 'Size') return this.#shape(v, x);
    const run = operators.get(node.op);
    if (run === undefined) return undefined;
    const inputs = node.inputs.map((i) => (i === undefined ? undefined : this.at(i)));
    return node.inputs.some((i, n) => i !== undefined && inputs[n] === undefined) ? undefined : run(node, inputs);
  }

  /** One output of a Split. */
  #part(v: Value, x: Value): Partly | undefined {
    const node = v.producer;
    const whole = this.at(x);
    const [, split] = node?.inputs ?? [];
    if (node === undefined || whole === undefined) return undefined;
    const axis = axisIn(attrsOf(node, 'Split').axis, whole.dims.length);
    const equal = Math.ceil((whole.dims[axis] ?? 0) / node.outputs.length);
    const lengths = split === undefined ? node.outputs.map(() => equal) : listOf(this.at(split));
    const n = node.outputs.indexOf(v);
    const length = lengths?.[n];
    if (lengths === undefined || length === undefined) return undefined;
    const first = lengths.slice(0, n).reduce((a, b) => a + b, 0);
    return gathered(
      whole,
      whole.dims.map((d, i) => (i === axis ? Math.min(length, d - first) : d)),
      (at) => at.map((p, i) => (i === axis ? p + first : p)),
    );
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
    // A mask [batch, 1, tokens, tokens] is the caller's: it may hide anything.
    if (isMaskName(v.name) && shape.length <= 2) return filled(shape, 1);
    if (isPositionName(v.name) && shape.length > 0) {
      const length = shape.at(-1) ?? 1;
      return known(
        shape,
        Array.from({ length: elementCount(shape) }, (_, i) => i % length),
      );
    }
    return v === this.#tokens && v.dtype !== undefined && !isFloat(v.dtype) ? filled(shape, 3) : undefined;
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
