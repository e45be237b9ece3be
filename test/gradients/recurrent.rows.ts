/** LSTM, GRU and RNN, of which ONNX Runtime has float32 kernels only. */
import { type Case, type Domain, f, int32, type Mode, normal } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

/** Weights that leave the gates where they bend. */
const half: Domain = (next, i, n) => 0.5 * normal(next, i, n);
const gates = { LSTM: 4, GRU: 3, RNN: 1 } as const;
type Op = keyof typeof gates;

interface Form {
  readonly bias?: boolean;
  readonly ends?: readonly number[];
  readonly initial?: boolean;
  readonly peepholes?: boolean;
  /** Steps, batch and units: few where an activation has a kink, which a step of the difference must not cross. */
  readonly sizes?: readonly [number, number, number];
}

function row(op: Op, form: Form, attrs: object = {}, more: Partial<Case> = {}): Case {
  const [steps, batch, hidden] = form.sizes ?? [4, 3, 3];
  const input = 2;
  const directions = 'direction' in attrs && attrs.direction === 'bidirectional' ? 2 : 1;
  const width = gates[op] * hidden;
  const state = form.initial === true ? f([directions, batch, hidden]) : undefined;
  const first: Case['in'] = [
    f([steps, batch, input]),
    f([directions, width, input], half),
    f([directions, width, hidden], half),
    form.bias === true ? f([directions, 2 * width], half) : undefined,
    form.ends === undefined ? undefined : int32(form.ends),
    state,
  ];
  const last = [state, form.peepholes === true ? f([directions, 3 * hidden], half) : undefined];
  const outputs = op === 'LSTM' ? 3 : 2;
  return {
    op,
    in: op === 'LSTM' ? [...first, ...last] : first,
    attrs: { hidden_size: hidden, ...attrs },
    outputs,
    loss: Array.from({ length: outputs }, (_, i) => i),
    dtype: 'float32',
    ...more,
  };
}

const all: Form = { bias: true, initial: true };
const ends = [4, 1, 3];
const both = { direction: 'bidirectional' };
const reverse = { direction: 'reverse' };
const known: Partial<Case> = { modes: ['static'] satisfies Mode[] };
const each = (op: Op): Case[] => [
  row(op, {}),
  row(op, all, reverse, { modes: ['symbolic'] }),
  row(op, { ...all, ends }, {}, { modes: ['unknown'] }),
  row(op, { ...all, ends }, reverse, known),
  row(op, { ...all, ends }, both),
  row(op, { bias: true }, {}, { loss: [0], ...known }),
  row(op, { bias: true }, both, { loss: [1], ...known }),
];
const few: Form = { ...all, sizes: [2, 1, 2] };
const small = (op: Op, attrs: object, is = 'few units'): Case => row(op, few, attrs, { is, ...known });

export const rows: readonly Case[] = [
  ...each('RNN'),
  ...each('GRU'),
  ...each('LSTM'),
  row('GRU', all, { linear_before_reset: 1 }, known),
  row('GRU', {}, { linear_before_reset: 1 }, known),
  row('GRU', { ...all, ends }, { linear_before_reset: 1, ...both }),
  row('LSTM', { ...all, peepholes: true }, {}, known),
  row('LSTM', { ...all, peepholes: true, ends }, both),
  row('LSTM', all, { input_forget: 1 }, known),
  row('LSTM', all, {}, { loss: [2], ...known }),
  small('LSTM', { clip: 0.6 }),
  small('GRU', { clip: 0.6 }),
  small('GRU', { clip: 0.6, linear_before_reset: 1 }),
  small('RNN', { clip: 0.6 }),
  small('RNN', { activations: ['Softsign'] }, 'off zero'),
  small('RNN', {
    activations: ['Affine', 'ScaledTanh'],
    activation_alpha: [0.7, 1.2],
    activation_beta: [0.3, 0.8],
    ...both,
  }),
  small('RNN', { activations: ['Elu', 'LeakyRelu'], activation_alpha: [0.7, 0.2], ...both }),
  small('RNN', { activations: ['Relu', 'Softplus'], ...both }),
  small('RNN', { activations: ['ThresholdedRelu'], activation_alpha: [0.2] }),
  small('GRU', { activations: ['Affine', 'ScaledTanh'] }, 'without alpha and beta'),
  small('LSTM', { activations: ['Elu', 'ThresholdedRelu', 'Affine'] }, 'without alpha'),
  small('GRU', { activations: ['Sigmoid', 'ThresholdedRelu'] }, 'without a threshold'),
  small('GRU', { activations: ['HardSigmoid', 'Elu'], activation_alpha: [0.3, 0.8], activation_beta: [0.4] }),
  small('LSTM', { activations: ['HardSigmoid', 'Softsign', 'Tanh'] }),
  small('LSTM', {
    activations: ['sigmoid', 'tanh', 'ScaledTanh', 'HardSigmoid', 'Softsign', 'Affine'],
    activation_alpha: [1.1, 0.3, 0.7],
    activation_beta: [0.9, 0.4, 0.2],
    ...both,
  }),
  { op: 'RNN', in: [f([4, 0, 2]), f([1, 3, 2]), f([1, 3, 3])], attrs: { hidden_size: 3 }, dtype: 'float32' },
];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  GRU: { empty: 'ONNX Runtime 1.30 ends the process on an empty batch' },
  LSTM: { empty: 'ONNX Runtime 1.30 ends the process on an empty batch' },
};
