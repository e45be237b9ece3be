/** Sets of operators that several passes use. */
import type { Node } from '../../graph/model.ts';
import { numbersOf } from '../../graph/tensor.ts';

/** Operators that compute each element independently, with broadcasting. */
export const elementwise: ReadonlySet<string> = new Set([
  ...[
    'Add',
    'Sub',
    'Mul',
    'Div',
    'Pow',
    'Neg',
    'Abs',
    'Sign',
    'Exp',
    'Log',
    'Sqrt',
    'Reciprocal',
    'Erf',
    'Tanh',
    'Sigmoid',
  ],
  ...[
    'Relu',
    'LeakyRelu',
    'Elu',
    'Softplus',
    'Gelu',
    'Swish',
    'HardSwish',
    'HardSigmoid',
    'Mish',
    'Clip',
    'Cast',
    'Where',
  ],
  ...[
    'Equal',
    'Greater',
    'GreaterOrEqual',
    'Less',
    'LessOrEqual',
    'And',
    'Or',
    'Not',
    'Max',
    'Min',
    'Sum',
    'Sin',
    'Cos',
  ],
]);
export const contributed: ReadonlySet<string> = new Set(['Gelu', 'FastGelu', 'BiasGelu', 'QuickGelu']);
/** Operators along one axis, which must be the last. */
export const alongAxis = new Set([
  'LayerNormalization',
  'RMSNormalization',
  'SimplifiedLayerNormalization',
  'Softmax',
  'LogSoftmax',
  'Split',
  'Concat',
]);
export const normalizations: ReadonlySet<string> = new Set([
  'LayerNormalization',
  'RMSNormalization',
  'SimplifiedLayerNormalization',
]);

/** The axes of a reduction, if they are constant. */
export function axesOf({ inputs: [, axes] }: Node): readonly number[] | undefined {
  return axes?.tensor === undefined ? undefined : numbersOf(axes.tensor);
}
