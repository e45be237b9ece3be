/** The constants that a builder makes for one graph. */
import { constant, type Value } from './model.ts';
import { bytesOf, type DataType, type Tensor, tensorOf } from './tensor.ts';

export interface ConstantPool {
  /** A constant; equal constants of one pool are one value. */
  constant(dtype: DataType, dims: readonly number[], values: readonly number[]): Value;
  /** A constant over a tensor that exists already. */
  tensor(name: string, tensor: Tensor): Value;
  /** int64 vector. */
  ints(values: readonly number[]): Value;
  /** int64 scalar. */
  int(value: number): Value;
  /** float32 scalar. */
  float(value: number): Value;
  /** Constants that belong to the graph at hand. */
  readonly local: ReadonlySet<Value>;
}

/** Equal constants are one value; one of `existing` where that has the same name and content. */
export function constantPool(existing: readonly Value[]): ConstantPool {
  const constants = new Map<string, Value>();
  const named = new Map(existing.map((v) => [v.name, v]));
  const local = new Set<Value>();
  const pool: ConstantPool = {
    local,
    constant: (dtype, dims, values) => {
      const key = `${dtype}[${dims.join(',')}]${values.map((v) => (Object.is(v, -0) ? '-0' : v)).join(',')}`;
      const found = constants.get(key);
      if (found !== undefined) return found;
      const name = constantName(dtype, dims, values);
      const tensor = tensorOf(dtype, dims, values);
      const before = named.get(name);
      const value = before?.tensor !== undefined && sameTensor(before.tensor, tensor) ? before : constant(name, tensor);
      if (dtype === 'int64' && dims.length <= 1) value.elements = values;
      constants.set(key, value);
      local.add(value);
      return value;
    },
    tensor: (name, t) => {
      const value = constant(name, t);
      local.add(value);
      return value;
    },
    ints: (values) => pool.constant('int64', [values.length], values),
    int: (value) => pool.constant('int64', [], [value]),
    float: (value) => pool.constant('float32', [], [value]),
  };
  return pool;
}

/** `const.int64x2.1_-1`: type, dims, and the elements, or their count where there are many. */
function constantName(dtype: DataType, dims: readonly number[], values: readonly number[]): string {
  const text =
    values.length <= 8
      ? values.map((v) => (dtype === 'float32' ? shortest(v) : String(v))).join('_')
      : `${values.length}`;
  return `const.${dtype}${dims.length > 0 ? `x${dims.join('x')}` : ''}.${text}`;
}

const sameTensor = (a: Tensor, b: Tensor): boolean =>
  a.dtype === b.dtype && a.dims.join() === b.dims.join() && bytesOf(a).every((x, i) => x === bytesOf(b)[i]);

/** The shortest decimal that is the same float32. */
function shortest(value: number): string {
  const wanted = Math.fround(value);
  for (let digits = 1; digits < 9; digits++) {
    const text = String(Number(wanted.toPrecision(digits)));
    if (Math.fround(Number(text)) === wanted) return text;
  }
  return String(Number(wanted.toPrecision(9)));
}
