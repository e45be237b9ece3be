/** Constants as arithmetic on other constants, for the compiler to fold as ONNX Runtime would compute it. */
import type { Builder } from '../../../src/graph/builder.ts';
import type { Value } from '../../../src/graph/model.ts';
import { type DataType, dataTypeNumber, isFloat, tensorOf } from '../../../src/graph/tensor.ts';
import type { Decide } from './draft.ts';

type Shape = readonly number[];
interface Site {
  readonly g: Builder;
  readonly draw: Decide;
  readonly dtype: DataType;
}

/** A value of these elements: an initializer, the output of a Constant node, or computed. */
export function constantValue(site: Site, shape: Shape, values: readonly number[], depth = 2): Value {
  const { g, draw, dtype } = site;
  const plain = (): Value => g.constant(dtype, shape, values);
  if (draw(4) > 0 || depth === 0) return plain();
  if (draw(3) === 0) return g.Constant({ value: tensorOf(dtype, shape, values) });
  const again = (list: readonly number[], dims: Shape = shape): Value => constantValue(site, dims, list, depth - 1);
  const ints = (list: readonly number[]): Value => g.ints(list);
  const [n = 0, ...rest] = shape;
  const forms: (() => Value)[] = [
    () => g.Identity(again(values)),
    () => g.Reshape(again(values, [values.length]), ints(shape), values.length === 0 ? { allowzero: 1 } : {}),
    () => g.Squeeze(again(values, [1, ...shape]), ints([0])),
  ];
  if (shape.length > 0 && n > 0) {
    const width = values.length / n;
    const rows = Array.from({ length: n }, (_, i) => values.slice(i * width, (i + 1) * width));
    const back = again(rows.toReversed().flat());
    forms.push(
      () => g.Slice(back, ints([-1]), ints([-(2 ** 40)]), ints([0]), ints([-1])),
      () => g.Gather(back, ints(rows.map((_, i) => (i % 2 === 0 ? n - 1 - i : -1 - i)))),
      () =>
        n === 1
          ? g.Unsqueeze(again(values, rest), ints([0]))
          : g.Concat([again(rows[0] ?? [], [1, ...rest]), again(rows.slice(1).flat(), [n - 1, ...rest])], { axis: 0 }),
    );
    if (shape.length === 2) {
      const [, m = 1] = shape;
      const turned = Array.from({ length: m }, (_, j) => rows.map((row) => row[j] ?? 0));
      forms.push(() => g.Transpose(again(turned.flat(), [m, n]), { perm: [1, 0] }));
    }
  }
  if (dtype !== 'bool') {
    const shift = 1 + draw(3);
    // Halves and small integers are exact; what a float sum rounds, both sides round.
    forms.push(
      () => g.Where(g.constant('bool', [], [1]), again(values), again(values.map(() => 1))),
      () => g.Neg(again(values.map((v) => -v))),
      () => g.Add(again(values.map((v) => v - shift)), g.constant(dtype, [], [shift])),
      () => g.Sub(again(values.map((v) => v + shift)), g.constant(dtype, [], [shift])),
      () =>
        g.Mul(
          again(isFloat(dtype) ? values.map((v) => v / 2) : values),
          g.constant(dtype, [], [isFloat(dtype) ? 2 : 1]),
        ),
      () => g.Div(again(values.map((v) => 2 * v)), g.constant(dtype, [], [2])),
      () => g.Max([again(values), again(values.map((v) => v - shift))]),
      () => g.Min([again(values.map((v) => v + shift)), again(values)]),
    );
    if (!isFloat(dtype) && values.every((v) => Math.abs(v) < 2 ** 31)) {
      const wide = dtype === 'int64' ? 'int32' : 'int64';
      forms.push(() =>
        g.Cast(constantValue({ ...site, dtype: wide }, shape, values, depth - 1), { to: dataTypeNumber(dtype) }),
      );
    }
  }
  return forms[draw(forms.length)]?.() ?? plain();
}
