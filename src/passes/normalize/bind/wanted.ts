/** The values of `--bind`. */

import { badOption } from '../../../errors.ts';
import type { Value } from '../../../graph/model.ts';
import { shapeText } from '../../../graph/shapeText.ts';
import { isFloat, numbersOf, type Tensor, tensorOf } from '../../../graph/tensor.ts';
import { allKnown, type Filled, full, type Ground, lengthsOf } from './ground.ts';

/**
 * `zeros`, `ones`: with the input's own shape. `empty`: axes that no other input has get dim 0. `input`: it remains an
 * input, independent of the rules. A tensor: this value, repeated along open axes where its dim is 1.
 */
export type Binding = 'zeros' | 'ones' | 'empty' | 'input' | { readonly file: string; readonly tensor: Tensor };

/** Throws BAD_OPTION if the binding does not fit the input. */
export function asWanted(v: Value, binding: Exclude<Binding, 'input'>, ground: Ground): Filled {
  const { g } = ground;
  const fail = (reason: string): Error => badOption(`--bind ${v.name}: ${reason}`);
  const { dtype, shape } = v;
  if (dtype === undefined || shape === undefined) throw fail('its type or its rank is not known');
  if (typeof binding === 'object') return fromTensor(v, binding, ground, fail);
  const lengths = lengthsOf(v, ground);
  if (binding === 'empty') {
    if (lengths.every((l) => l !== undefined))
      throw fail(`${shapeText(v.shape ?? [])} has no open axis that could be 0`);
    return {
      value: full(
        g,
        dtype,
        0,
        lengths.map((l) => l ?? 0),
      ),
      text: 'length 0',
    };
  }
  const known = allKnown(lengths);
  if (known === undefined)
    throw fail(
      `the dims of ${shapeText(v.shape ?? [])} are not those of another input; give a FILE, or "empty" for dim 0`,
    );
  return { value: full(g, dtype, binding === 'zeros' ? 0 : 1, known), text: binding };
}

function fromTensor(
  v: Value,
  { file, tensor }: Exclude<Binding, string>,
  ground: Ground,
  fail: (reason: string) => Error,
): Filled {
  const { g, symbols } = ground;
  const shape = v.shape ?? [];
  const wrong = (): Error =>
    fail(`"${file}" has the shape [${tensor.dims.join(', ')}], not ${shapeText(v.shape ?? [])}`);
  if (tensor.dims.length !== shape.length) throw wrong();
  const lengths = lengthsOf(v, ground);
  const repeated = tensor.dims.map((n, i) => {
    const d = shape[i] ?? null;
    if (typeof d === 'number' && d !== n) throw wrong();
    const open = typeof d === 'number' ? undefined : lengths[i];
    if (n === 1 && open !== undefined) return open;
    // The file resolves the symbol, here and elsewhere.
    if (typeof d === 'string') symbols.set(d, n);
    return n;
  });
  const constant = g.tensor(`${v.name}.bound`, converted(v, tensor, fail));
  const same = repeated.every((l) => typeof l === 'number');
  return { value: same ? constant : g.Expand(constant, g.vector(repeated)), text: file };
}

/** The tensor in the input's type. Integers must be exact; floats are rounded. */
function converted(v: Value, tensor: Tensor, fail: (reason: string) => Error): Tensor {
  const { dtype } = v;
  if (dtype === undefined || dtype === tensor.dtype) return tensor;
  const values = numbersOf(tensor);
  if (values === undefined || (isFloat(tensor.dtype) && !isFloat(dtype)))
    throw fail(`the file has ${tensor.dtype} values, but the input is ${dtype}`);
  const made = tensorOf(dtype, tensor.dims, values);
  const back = isFloat(dtype) ? undefined : numbersOf(made);
  if (back?.every((x, i) => x === values[i]) === false)
    throw fail(`the file's ${tensor.dtype} values are out of range for ${dtype}`);
  return made;
}
