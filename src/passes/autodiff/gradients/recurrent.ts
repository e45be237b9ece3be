/**
 * LSTM, GRU and RNN as a Scan over one cell: the MatMuls with the input are one Gemm over all steps, the recurrence
 * runs step by step. https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html and onnx__RNN.html
 */
import type { Builder } from '../../../graph/builder.ts';
import { type Node, tensorType, Value } from '../../../graph/model.ts';
import { asInt64, type Length } from '../../common/dimArithmetic.ts';
import { type Body, decompose } from '../rules.ts';
import { type G, parts } from './attend.ts';
import { type Activation, activationsOf, type CellAttrs } from './cells.ts';

interface Attrs extends CellAttrs {
  readonly direction: string;
  readonly hidden_size: number | undefined;
}

interface Site {
  readonly node: Node;
  readonly inputs: readonly [Value, Value, Value, ...(Value | undefined)[]];
  readonly attrs: Attrs;
  readonly g: G;
}

/** The weights of one direction. */
interface Direction {
  readonly r: Value;
  /** Biases of the MatMuls with the input and with the state, all gates concatenated. */
  readonly biases: readonly [Value, Value] | undefined;
  readonly activations: readonly Activation[];
  readonly hidden: Length;
  /** The direction's own part of a tensor that has both, with these dims. */
  readonly part: (v: Value, lengths: readonly Length[]) => Value;
}

interface Cell {
  /** Added to the MatMuls with the input. */
  readonly bias: Value | undefined;
  /** The states after a step, h first, from the previous ones and the gates' MatMuls with the input. */
  readonly step: (b: Builder, products: Value, before: readonly Value[]) => readonly [Value, ...Value[]];
}

interface Kind {
  readonly gates: number;
  /** Default functions of one direction. */
  readonly usual: readonly string[];
  readonly states: number;
  readonly cell: (direction: Direction) => Cell;
}

/** Y, then the last states: [directions, batch, hidden]. The batch-first layout was converted to this one. */
function recurrent({ node, inputs, attrs, g }: Site, { gates, usual, states, cell }: Kind): Body {
  const [x, w, r, bias, ends, ...starts] = inputs;
  const [steps, batch, depth] = [g.length(x, 0), g.length(x, 1), g.length(w, 2)];
  const hidden = attrs.hidden_size ?? g.length(r, 2);
  const width = g.times(gates, hidden);
  const ways = attrs.direction === 'bidirectional' ? ['forward', 'reverse'] : [attrs.direction];
  const activations = activationsOf(
    node,
    attrs,
    ways.flatMap(() => usual),
  );
  const rows = g.shaped(x, [g.times(steps, batch), depth]);
  const valid = ends === undefined ? undefined : within(g, ends, steps, batch);

  const runs = ways.map((way, i) => {
    const part = (v: Value, lengths: readonly Length[]): Value =>
      g.shaped(ways.length === 1 ? v : g.Gather(v, g.ints([i]), { axis: 0 }), lengths);
    const { bias: added, step } = cell({
      r: part(r, [width, hidden]),
      biases: bias === undefined ? undefined : parts(g, part(bias, [g.times(2, width)]), 0, [width, width]),
      activations: activations.slice(i * usual.length),
      hidden,
      part,
    });
    const products = g.Gemm(rows, part(w, [width, depth]), added, { transB: 1 });
    const before = Array.from({ length: states }, (_, j) => {
      const start = starts[j];
      const lengths = [batch, hidden];
      return start === undefined ? g.Expand(g.like(x, 0), g.vector(lengths)) : part(start, lengths);
    });
    return scan(g, before, g.shaped(products, [steps, batch, width]), { step, valid, reverse: way === 'reverse' });
  });
  const both = (i: number, axis: number): Value =>
    g.Concat(
      runs.flatMap((run) => run[i] ?? []).map((v) => g.Unsqueeze(v, g.ints([axis]))),
      { axis },
    );
  return [both(states, 1), ...Array.from({ length: states }, (_, i) => both(i, 0))];
}

/** A bool [steps, batch, 1]: the step is before the end of its sequence. */
function within(g: G, ends: Value, steps: Length, batch: Length): Value {
  const line = g.Range(g.int(0), g.scalar(steps), g.int(1));
  return g.Less(g.Unsqueeze(line, g.ints([1, 2])), g.shaped(asInt64(g, ends), [batch, 1]));
}

interface Run {
  readonly step: Cell['step'];
  readonly valid: Value | undefined;
  readonly reverse: boolean;
}

/** The last states, then h of each step. Outside its sequence a batch entry keeps its states and has zeros for h. */
function scan(g: Builder, start: readonly Value[], products: Value, { step, valid, reverse }: Run): Value[] {
  const slices = valid === undefined ? [products] : [products, valid];
  const before = start.map((v, i) => new Value(['h', 'c'][i] ?? '', v.type));
  const now = new Value('gates', tensorType(products.dtype, products.shape?.slice(1)));
  const inside = slices.slice(1).map((v) => new Value('valid', tensorType('bool', v.shape?.slice(1))));
  const body = g.body('cell', [...before, now, ...inside], (b) => {
    const after = step(b, now, before);
    const [seen] = inside;
    if (seen === undefined) return [...after, after[0]];
    return [...after.map((v, i) => b.Where(seen, v, before[i] ?? v)), b.Where(seen, after[0], b.like(after[0], 0))];
  });
  const directions = reverse ? { scan_input_directions: slices.map(() => 1), scan_output_directions: [1] } : {};
  return g.node({
    op: 'Scan',
    inputs: [...start, ...slices],
    attrs: { body, num_scan_inputs: slices.length, ...directions },
    outputs: start.length + 1,
  });
}

/** `v` split along its last axis into the sizes in an int64 vector. */
const cut = (b: Builder, v: Value, lengths: Value, count: number): Value[] =>
  b.node({ op: 'Split', inputs: [v, lengths], attrs: { axis: -1 }, outputs: count });

const none: Activation = (_, v) => v;
const sumOf = (g: Builder, biases: Direction['biases']): Value | undefined => biases && g.Add(...biases);

// h' = f(x·Wᵀ + h·Rᵀ + b)
decompose('RNN', (site) =>
  recurrent(site, {
    gates: 1,
    usual: ['Tanh'],
    states: 1,
    cell: ({ r, biases, activations: [f = none] }) => ({
      bias: sumOf(site.g, biases),
      step: (b, x, [h = x]) => [f(b, b.Gemm(h, r, x, { transB: 1 }))],
    }),
  }),
);

// Gates z, r, n: h' = (1 - z)·n + z·h with n = g(xₙ + (r·h)·Rₙᵀ), or g(xₙ + r·(h·Rₙᵀ)) where linear_before_reset is
// set.
decompose('GRU', (site) =>
  recurrent(site, {
    gates: 3,
    usual: ['Sigmoid', 'Tanh'],
    states: 1,
    cell: ({ r, biases, activations: [f = none, tanh = none], hidden }) => {
      const { g, attrs } = site;
      const linear = attrs.linear_before_reset !== 0;
      const sizes = [g.times(2, hidden), hidden] as const;
      const [rGates, rNew] = parts(g, r, 0, sizes);
      // With the reset after the MatMul, the state's bias of n is multiplied by it too.
      const [bGates, bNew] = linear && biases !== undefined ? parts(g, biases[1], 0, sizes) : [];
      const kept = bGates === undefined ? biases?.[1] : g.Pad(bGates, g.vector([0, hidden]));
      const [two, halves] = [g.vector(sizes), g.vector([hidden, hidden])];
      return {
        bias: biases === undefined || kept === undefined ? undefined : g.Add(biases[0], kept),
        step: (b, x, [h = x]) => {
          const [xGates = x, xNew = x] = cut(b, x, two, 2);
          const [z = x, reset = x] = cut(b, f(b, b.Gemm(h, rGates, xGates, { transB: 1 })), halves, 2);
          const before = linear
            ? b.Add(xNew, b.Mul(reset, b.Gemm(h, rNew, bNew, { transB: 1 })))
            : b.Gemm(b.Mul(reset, h), rNew, xNew, { transB: 1 });
          const n = tanh(b, before);
          return [b.Add(n, b.Mul(z, b.Sub(h, n)))];
        },
      };
    },
  }),
);

// Gates i, o, f, n: c' = f·c + i·n and h' = o·h(c'); peepholes let i and f see c, o see c'.
decompose('LSTM', (site) =>
  recurrent(site, {
    gates: 4,
    usual: ['Sigmoid', 'Tanh', 'Tanh'],
    states: 2,
    cell: ({ r, biases, activations: [f = none, tanh = none, out = none], hidden, part }) => {
      const { g, inputs, attrs } = site;
      const peepholes = inputs[7];
      const three = g.times(3, hidden);
      const [pInput, pOutput, pForget] =
        peepholes === undefined ? [] : parts(g, part(peepholes, [three]), 0, [hidden, hidden, hidden]);
      const gates = g.vector([hidden, hidden, hidden, hidden]);
      return {
        bias: sumOf(g, biases),
        step: (b, x, [h = x, c = x]) => {
          const [i = x, o = x, forget = x, n = x] = cut(b, b.Gemm(h, r, x, { transB: 1 }), gates, 4);
          const gate = (v: Value, peephole: Value | undefined, state: Value): Value =>
            f(b, peephole === undefined ? v : b.Add(v, b.Mul(peephole, state)));
          const input = gate(i, pInput, c);
          const keep = attrs.input_forget === 0 ? gate(forget, pForget, c) : b.Sub(b.like(input, 1), input);
          const next = b.Add(b.Mul(keep, c), b.Mul(input, tanh(b, n)));
          return [b.Mul(gate(o, pOutput, next), out(b, next)), next];
        },
      };
    },
  }),
);
