/** Reverse-mode differentiation of ONNX graphs. Importing it registers every family of rules. */
import './gradients/activations.ts';
import './gradients/attention.ts';
import './gradients/contribAttention.ts';
import './gradients/contribFused.ts';
import './gradients/contribNorm.ts';
import './gradients/control.ts';
import './gradients/conv.ts';
import './gradients/einsum.ts';
import './gradients/elementwise.ts';
import './gradients/gelu.ts';
import './gradients/indexing.ts';
import './gradients/joined.ts';
import './gradients/layout.ts';
import './gradients/linear.ts';
import './gradients/losses.ts';
import './gradients/norm.ts';
import './gradients/pool.ts';
import './gradients/quantized.ts';
import './gradients/recurrent.ts';
import './gradients/reduce.ts';
import './gradients/sampling.ts';
import './gradients/signal.ts';
import './gradients/spatial.ts';

export { pending, renamed } from './pending.ts';
export { type GradientObserver, gradientState, stopReason } from './rules.ts';
export { type GradientRequest, gradients, opName } from './walk.ts';
export { writtenOut } from './writtenOut.ts';
