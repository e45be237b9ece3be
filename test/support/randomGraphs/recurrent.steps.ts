/** LSTM, GRU and RNN with smooth activations, of which ONNX Runtime has float32 kernels only. */
import type { Entry } from './draft.ts';
import type { Step } from './step.ts';

const gates = { LSTM: 4, GRU: 3, RNN: 1 } as const;
const smooth = {
  LSTM: ['Sigmoid', 'ScaledTanh', 'Tanh'],
  GRU: ['Sigmoid', 'ScaledTanh'],
  RNN: ['ScaledTanh'],
} as const;

const recurrent = (op: keyof typeof gates): Step => ({
  ops: [op],
  only: 'float32',
  make: (d) => {
    const x = d.pick(
      (e) => e.shape.length === 3 && (e.shape[0] ?? 0) < 4,
      () => [1 + d.draw(3), 1 + d.draw(2), 1 + d.draw(3)],
    );
    const [steps = 1, batch = 1, width = 1] = x.shape;
    if (steps === 0 || batch === 0 || batch > 4) return;
    const hidden = 1 + d.draw(2);
    const direction = d.oneOf(['forward', 'reverse', 'bidirectional']);
    const directions = direction === 'bidirectional' ? 2 : 1;
    const perhaps = (shape: readonly number[]): Entry | undefined => (d.draw(2) === 0 ? d.operand(shape) : undefined);
    const state = [directions, batch, hidden];
    const rows = gates[op] * hidden;
    const [w, r] = [d.operand([directions, rows, width]), d.operand([directions, rows, hidden])];
    const b = perhaps([directions, 2 * rows]);
    const lengths = Array.from({ length: batch }, () => 1 + d.draw(steps));
    const ends = d.draw(3) === 0 ? d.whole(lengths, [batch], { type: 'int32' }) : undefined;
    const h = perhaps(state);
    const [c, p] = op === 'LSTM' ? [perhaps(state), perhaps([directions, 3 * hidden])] : [];
    const own = {
      LSTM: { input_forget: d.draw(4) === 0 ? 1 : 0 },
      GRU: { linear_before_reset: d.draw(2) },
      RNN: {},
    }[op];
    const activations = Array.from({ length: directions }, () => smooth[op]).flat();
    const scaled = { activations, activation_alpha: [1.2, 0.9], activation_beta: [0.8, 1.1] };
    const [y, last, cell] = d.g.node({
      op,
      inputs: [x, w, r, b]
        .map((e) => e?.value)
        .concat(
          ends,
          [h, c, p].slice(0, op === 'LSTM' ? 3 : 1).map((e) => e?.value),
        ),
      attrs: { hidden_size: hidden, direction, ...own, ...(d.draw(3) === 0 ? scaled : {}) },
      outputs: op === 'LSTM' ? 3 : 2,
    });
    // A gate weighs what was against something that the activation bounds.
    const bound = Math.max(1.2, h?.bound ?? 0);
    const which = d.draw(3);
    if (y !== undefined && which !== 1) d.put(y, bound, [steps, ...state]);
    if (last !== undefined && which !== 0) d.put(last, bound, state);
    if (cell !== undefined && which === 2) d.put(cell, 1.2 * steps + (c?.bound ?? 0), state);
  },
});

export const steps: readonly Step[] = [recurrent('LSTM'), recurrent('GRU'), recurrent('RNN')];
