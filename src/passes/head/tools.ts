/** Makes nodes of a head in the forms of the source's opset. */
import type { Builder } from '../../graph/builder.ts';
import type { Value } from '../../graph/model.ts';
import { type DataType, dataTypeNumber } from '../../graph/tensor.ts';

/** The versions of the standard since which axes are an input. */
const axesAsInput = { ReduceSum: 13, Unsqueeze: 13, ReduceMean: 18, ReduceMax: 18, ReduceL2: 18 } as const;
type OfAxes = keyof typeof axesAsInput;

export interface HeadTools {
  readonly b: Builder;
  readonly opset: number;
  reduce(op: Exclude<OfAxes, 'Unsqueeze'>, x: Value, axis: number, keepdims: 0 | 1): Value;
  unsqueeze(x: Value, axis: number): Value;
  cast(x: Value, to: DataType): Value;
  scalar(dtype: DataType, value: number): Value;
}

export function headTools(b: Builder, opset: number): HeadTools {
  const overAxis = (op: OfAxes, x: Value, axis: number, attrs: Readonly<Record<string, number>> = {}): Value => {
    const asInput = opset >= axesAsInput[op];
    const [y] = b.node({
      op,
      inputs: asInput ? [x, b.ints([axis])] : [x],
      attrs: asInput ? attrs : { axes: [axis], ...attrs },
      outputs: 1,
    });
    if (y === undefined) throw new Error(`${op} has no output`);
    return y;
  };
  return {
    b,
    opset,
    reduce: (op, x, axis, keepdims) => overAxis(op, x, axis, { keepdims }),
    unsqueeze: (x, axis) => overAxis('Unsqueeze', x, axis),
    cast: (x, to) => (x.dtype === to ? x : b.Cast(x, { to: dataTypeNumber(to) })),
    scalar: (dtype, value) => b.constant(dtype, [], [value]),
  };
}
