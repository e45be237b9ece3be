/** LSTM, GRU and RNN: the sequence of states, then the last states. */
import { dimAt, out, type Site, shape, type Typed } from './rule.ts';

interface Recurrent {
  readonly direction: string;
  readonly hidden_size: number | undefined;
  readonly layout: number;
}

function states({ inputs: [x, , r], attrs }: Site<Recurrent>): [Typed, Typed] {
  const directions = attrs.direction === 'bidirectional' ? 2 : 1;
  const hidden = attrs.hidden_size ?? dimAt(r?.shape, 2);
  const [first, second] = [dimAt(x?.shape, 0), dimAt(x?.shape, 1)];
  // Layout 0 is [sequence, batch, input], layout 1 [batch, sequence, input].
  if (attrs.layout === 1)
    return [out(x?.dtype, [first, second, directions, hidden]), out(x?.dtype, [first, directions, hidden])];
  return [out(x?.dtype, [first, directions, second, hidden]), out(x?.dtype, [directions, second, hidden])];
}

shape(['GRU', 'RNN'], states);
shape('LSTM', (site) => {
  const [all, last] = states(site);
  return [all, last, last];
});
